"""A tiny random model of each family that the layouts are tested with, with its own processor, in memory.

The processors are the families' own; the tokenizer is the one-token-a-character one of `tiny` with the family's image
tokens, since the real vocabularies are files that would have to be downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
import transformers as tf
from transformers.models.smolvlm import processing_smolvlm

from sclvlm.models import Policy
from sclvlm.pictures import load_images
from sclvlm.records import ModelRef, PreferencePair, text_message
from sclvlm.rendering import Renderer
from tests import tiny
from tests.text_families import READING, Parts, gemma3_settings, mamba, qwen3_next
from tests.tiny import llava_processor, settle, text_config, tokenizer
from tests.token_families import ernie, mllama

TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def _clip(**settings: Any) -> tf.CLIPVisionConfig:
    return tf.CLIPVisionConfig(**TOWER, image_size=64, patch_size=32, projection_dim=32, **settings)


def _siglip(**settings: Any) -> tf.SiglipVisionConfig:
    return tf.SiglipVisionConfig(**TOWER, image_size=64, patch_size=32, vision_use_head=False, **settings)


def _id(words: Any, token: str) -> int:
    number: int = words.convert_tokens_to_ids(token)
    return number


def llava() -> Parts:
    """LLaVA-1.5: CLIP's class token is dropped."""
    words = tokenizer()
    config = tf.LlavaConfig(
        vision_config=_clip(),
        text_config=tf.LlamaConfig(**text_config(words)),
        image_token_index=_id(words, "<image>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    pictures = tf.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    settings = {"patch_size": 32, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return tf.LlavaForConditionalGeneration(config), llava_processor(words, pictures, **settings)


def llava_next() -> Parts:
    """LLaVA-NeXT: a picture in tiles, as many as its shape asks for."""
    words, grid = tokenizer(), [[64, 128], [128, 64], [128, 128]]
    config = tf.LlavaNextConfig(
        vision_config=_clip(),
        text_config=tf.LlamaConfig(**text_config(words)),
        image_token_index=_id(words, "<image>"),
        image_grid_pinpoints=grid,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    processor = tf.LlavaNextProcessor(
        tf.LlavaNextImageProcessor(
            size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}, image_grid_pinpoints=grid
        ),
        words,
        patch_size=32,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=words.chat_template,
    )
    return tf.LlavaNextForConditionalGeneration(config), processor


def llava_onevision() -> Parts:
    """LLaVA-OneVision: one picture in tiles, several pictures whole."""
    words, grid = tokenizer(more=["<video>"]), [[64, 64], [64, 128], [128, 64]]
    config = tf.LlavaOnevisionConfig(
        vision_config=_siglip(),
        text_config=tf.Qwen2Config(**text_config(words)),
        image_token_index=_id(words, "<image>"),
        video_token_index=_id(words, "<video>"),
        image_grid_pinpoints=grid,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )
    processor = tf.LlavaOnevisionProcessor(
        tf.LlavaOnevisionImageProcessor(size={"height": 64, "width": 64}, image_grid_pinpoints=grid),
        words,
        tf.LlavaOnevisionVideoProcessor(),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=words.chat_template,
    )
    return tf.LlavaOnevisionForConditionalGeneration(config), processor


def fast_vlm() -> Parts:
    """FastVLM with the convolutional tower of the demo's model."""
    words = tokenizer()
    tower = tf.MobileNetV2Config(depth_multiplier=0.25, tf_padding=False, finegrained_output=True, image_size=64)
    tower.hidden_size = 1280
    config = tf.FastVlmConfig(
        vision_config=tower,
        text_config=tf.Qwen2Config(**text_config(words)),
        image_token_index=_id(words, "<image>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    model = tf.FastVlmForConditionalGeneration(config)
    settle(model.model.vision_tower)
    settings = {"patch_size": 32, "vision_feature_select_strategy": "full", "num_additional_image_tokens": 0}
    return model, llava_processor(words, tiny.image_processor(), **settings)


def _qwen_words() -> Any:
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    return tokenizer(image, image_token="<|image_pad|>", video_token="<|video_pad|>")


def _mrope(words: Any, **settings: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2], **settings}
    return {**text_config(words), "rope_parameters": rope}


def _qwen_numbers(words: Any) -> dict[str, int]:
    return {f"{name}_token_id": _id(words, token) for name, token in tiny.QWEN_TOKENS.items()}


def qwen2_vl() -> Parts:
    """Qwen2-VL: positions in three dimensions, pictures of any size."""
    words = _qwen_words()
    tower = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 14}
    config = tf.Qwen2VLConfig(
        text_config=_mrope(words), vision_config=tower, **_qwen_numbers(words), tie_word_embeddings=False
    )
    pictures = tf.Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=56 * 84)
    processor = tf.Qwen2VLProcessor(pictures, words, tf.Qwen2VLVideoProcessor(), chat_template=words.chat_template)
    return tf.Qwen2VLForConditionalGeneration(config), processor


def qwen2_5_vl() -> Parts:
    """Qwen2.5-VL: windows in the tower."""
    words = _qwen_words()
    tower = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
    config = tf.Qwen2_5_VLConfig(
        text_config=_mrope(words),
        vision_config={**tower, "window_size": 56, "fullatt_block_indexes": [1]},
        **_qwen_numbers(words),
        tie_word_embeddings=False,
    )
    pictures = tf.Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=56 * 84)
    processor = tf.Qwen2_5_VLProcessor(pictures, words, tf.Qwen2VLVideoProcessor(), chat_template=words.chat_template)
    return tf.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl() -> Parts:
    """Qwen3-VL: features of several tower layers are added inside the language model."""
    words = _qwen_words()
    tower = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
    config = tf.Qwen3VLConfig(
        text_config={**_mrope(words, mrope_interleaved=True), "head_dim": 8},
        vision_config={**tower, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]},
        **_qwen_numbers(words),
        tie_word_embeddings=False,
    )
    pictures = tf.Qwen2VLImageProcessor(patch_size=16, size={"shortest_edge": 64 * 64, "longest_edge": 64 * 96})
    processor = tf.Qwen3VLProcessor(pictures, words, tf.Qwen3VLVideoProcessor(), chat_template=words.chat_template)
    return tf.Qwen3VLForConditionalGeneration(config), processor


SPLIT = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>"]
SPLIT += [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]


def _split_pictures(kind: Any) -> Any:
    return kind(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})


def smolvlm() -> Parts:
    """SmolVLM: a picture in tiles and as a whole, pixels shuffled."""
    words = tokenizer(more=SPLIT)
    tower = {**TOWER, "image_size": 32, "patch_size": 8}
    config = tf.SmolVLMConfig(
        vision_config=tower,
        text_config=tf.LlamaConfig(**text_config(words)),
        image_token_id=_id(words, "<image>"),
        pad_token_id=words.pad_token_id,
        scale_factor=2,
    )
    pictures, videos = _split_pictures(tf.SmolVLMImageProcessor), tf.SmolVLMVideoProcessor()
    with patch.object(processing_smolvlm, "num2words", str):  # a package that spells numbers, for videos only
        processor = tf.SmolVLMProcessor(pictures, words, videos, image_seq_len=4, chat_template=words.chat_template)
    return tf.SmolVLMForConditionalGeneration(config), processor


def idefics3() -> Parts:
    """Idefics3, of which SmolVLM descends."""
    words = tokenizer(more=SPLIT)
    tower = {**TOWER, "image_size": 32, "patch_size": 8}
    config = tf.Idefics3Config(
        vision_config=tower,
        text_config=tf.LlamaConfig(**text_config(words)),
        image_token_id=_id(words, "<image>"),
        pad_token_id=words.pad_token_id,
        scale_factor=2,
    )
    pictures = _split_pictures(tf.Idefics3ImageProcessor)
    processor = tf.Idefics3Processor(pictures, words, image_seq_len=4, chat_template=words.chat_template)
    return tf.Idefics3ForConditionalGeneration(config), processor


def internvl() -> Parts:
    """InternVL: pixels shuffled, a Qwen2 behind them."""
    words = tokenizer(
        "<IMG_CONTEXT>",
        more=["<img>", "</img>", "<IMG_CONTEXT>", "<video>"],
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = tf.InternVLConfig(
        vision_config={**TOWER, "image_size": [64, 64], "patch_size": [16, 16]},
        text_config=tf.Qwen2Config(**text_config(words)),
        image_token_id=_id(words, "<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    pictures = tf.GotOcr2ImageProcessor(
        size={"height": 64, "width": 64}, crop_to_patches=True, min_patches=1, max_patches=4
    )
    processor = tf.InternVLProcessor(
        pictures, words, tf.InternVLVideoProcessor(), image_seq_length=4, chat_template=words.chat_template
    )
    return tf.InternVLForConditionalGeneration(config), processor


def mistral3() -> Parts:
    """Mistral 3: a Pixtral tower, pictures of any size."""
    tokens = ["[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    words = tokenizer("[IMG]", more=tokens)
    config = tf.Mistral3Config(
        vision_config=tf.PixtralVisionConfig(**TOWER, image_size=64, patch_size=16),
        text_config=tf.MistralConfig(**text_config(words), head_dim=8, sliding_window=None),
        image_token_index=_id(words, "[IMG]"),
        spatial_merge_size=2,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    pictures = tf.PixtralImageProcessor(patch_size={"height": 16, "width": 16}, size={"longest_edge": 64})
    processor = tf.PixtralProcessor(
        pictures, words, patch_size=16, spatial_merge_size=2, chat_template=words.chat_template
    )
    return tf.Mistral3ForConditionalGeneration(config), processor


def gemma3() -> Parts:
    """Gemma 3: the tokens of a picture see one another."""
    words = tokenizer(
        "<boi>",
        more=["<boi>", "<eoi>"],
        image_token="<image>",
        boi_token="<boi>",
        eoi_token="<eoi>",
    )
    config = tf.Gemma3Config(
        vision_config=_siglip().to_dict() | {"patch_size": 16},
        text_config=gemma3_settings(words).to_dict(),
        image_token_index=_id(words, "<image>"),
        boi_token_index=_id(words, "<boi>"),
        eoi_token_index=_id(words, "<eoi>"),
        mm_tokens_per_image=4,
    )
    pictures = tf.Gemma3ImageProcessor(size={"height": 64, "width": 64})
    processor = tf.Gemma3Processor(pictures, words, chat_template=words.chat_template, image_seq_length=4)
    return tf.Gemma3ForConditionalGeneration(config), processor


def paligemma() -> Parts:
    """PaliGemma: the whole prompt sees itself."""
    words = tokenizer(image_token="<image>")
    words.bos_token = "<|im_start|>"
    config = tf.PaliGemmaConfig(
        vision_config=_siglip().to_dict(),
        text_config={**text_config(words), "model_type": "gemma", "head_dim": 8, "tie_word_embeddings": True},
        image_token_index=_id(words, "<image>"),
        projection_dim=32,
    )
    pictures = tf.SiglipImageProcessor(size={"height": 64, "width": 64}, image_seq_length=4)
    return tf.PaliGemmaForConditionalGeneration(config), tf.PaliGemmaProcessor(
        pictures, words, chat_template=words.chat_template
    )


SEEING: dict[str, Callable[[], Parts]] = {
    "fast_vlm": fast_vlm,
    "idefics3": idefics3,
    "internvl": internvl,
    "llava": llava,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "mistral3": mistral3,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen2_vl": qwen2_vl,
    "qwen3_vl": qwen3_vl,
    "smolvlm": smolvlm,
}
TOKENWISE: dict[str, Callable[[], Parts]] = {"ernie": ernie}
"""Sees, and its processor tells more of each token than its id."""

UNSHARED: dict[str, Callable[[], Parts]] = {
    "gemma3": gemma3,
    "mamba": mamba,
    "mllama": mllama,
    "paligemma": paligemma,
    "qwen3_next": qwen3_next,
}


def build(family: str, attention: str = "eager") -> Policy:
    """The family's policy, the same at each call; `attention` is its language model's."""
    torch.manual_seed(7)
    model, processor = {**SEEING, **TOKENWISE, **READING, **UNSHARED}[family]()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "vision_tower" not in name:  # large enough for every token to be heard
                parameter.normal_(std=1.7 * parameter[0].numel() ** -0.5)
    model.set_attn_implementation("eager")
    if attention != "eager":
        model.get_decoder().set_attn_implementation(attention)
    return Policy(model.eval(), processor, ModelRef(path=family))


def alone(policy: Policy, record: Any) -> torch.Tensor:
    """Log-probabilities of a record's completions (N): one whole sequence at a time, no padding, every logit."""
    renderer, sums = Renderer(policy), []
    images = load_images(record.images, record.prompt)
    prompt = renderer.encode([renderer.text(record.prompt, reply=True)], [images])
    for completion in record.completions:
        reply = renderer.completion(record.prompt, completion)
        ids = torch.tensor([prompt.ids[0] + reply])
        types = {name: torch.tensor([rows[0] + rows[0][-1:] * len(reply)]) for name, rows in prompt.types.items()}
        scores = policy.model(input_ids=ids, **prompt.images, **types, use_cache=False).logits[0].log_softmax(-1)
        sums.append(scores[-len(reply) - 1 : -1].gather(1, ids[0, -len(reply) :, None]).sum())
    return torch.stack(sums)


def pair(question: str, chosen: str, rejected: str, *images: str) -> PreferencePair:
    """Two answers to a question about `images`, which is its id too."""
    return PreferencePair(
        id=question,
        prompt=[text_message("user", question, images=len(images))],
        chosen=[text_message("assistant", chosen)],
        rejected=[text_message("assistant", rejected)],
        images=images,
    )
