"""Tiny random models of real families, saved as ordinary transformers directories.

Their alphabet is the printable ASCII characters, one token each: what a model writes and what a tokenizer makes of
it are then always the same ids. Special tokens score zero everywhere, so that replies hold readable text only and
end about where the end-of-turn token happens to be likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MobileNetV2Config,
    MobileNetV2ImageProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from sclvlm.models import Policy, load_policy

END = "<|im_end|>"
SPECIAL = ["<|im_start|>", END, "<image>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
ALPHABET = ["\n", *(chr(code) for code in range(32, 127))]

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
}


def tokenizer(image: str = "<image>", more: Sequence[str] = (), **special: str) -> PreTrainedTokenizerFast:
    """One token a character, ChatML around the messages, `image` where a picture stands; `more` special tokens."""
    vocabulary = {token: index for index, token in enumerate(ALPHABET)}
    words = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    words.decoder = decoders.Fuse()
    words.add_special_tokens([AddedToken(token, special=True) for token in (*SPECIAL, *more)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token=END,
        pad_token=END,
        clean_up_tokenization_spaces=False,
        chat_template=CHATML.replace("IMAGE", image),
        extra_special_tokens=special,
    )


def text_config(words: Any) -> dict[str, Any]:
    """The language model's settings for the vocabulary of `words`."""
    return {**TEXT, "vocab_size": len(words), **ends(words)}


def ends(words: Any) -> dict[str, Any]:
    """No token begins a text here; the end-of-turn token ends it."""
    return {"bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}


def save(model: Any, processor: Any, words: Any, folder: Path) -> Path:
    """Write model and processor to `folder`, the scores of special tokens made constant."""
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        head[len(ALPHABET) :] = 0.0
        head[words.eos_token_id].normal_(std=1.7 * TEXT["initializer_range"])  # wins now and then, not always
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def image_processor() -> MobileNetV2ImageProcessor:
    """64 pixels, of which a stride of 32 makes 2 x 2 tokens."""
    size = {"height": 64, "width": 64}
    return MobileNetV2ImageProcessor(size=size, do_center_crop=False, crop_size=size)


def llava_processor(words: Any, pictures: Any, **settings: Any) -> LlavaProcessor:
    """A LLaVA processor with the chat template of `words`."""
    return LlavaProcessor(pictures, words, image_token="<image>", chat_template=words.chat_template, **settings)


def settle(tower: torch.nn.Module) -> None:
    """Give the batch norms of a random tower statistics that fit it: signals would die out in it otherwise."""
    norms = [module for module in tower.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        tower.train()(torch.randn(4, 3, 64, 64))
    tower.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def speak_up(projector: torch.nn.Module) -> None:
    """A random projector whispers; make pictures heard."""
    with torch.no_grad():
        for parameter in projector.parameters():
            parameter.normal_(std=0.3)


def fast_vlm(folder: Path) -> Path:
    """The architecture of the demo's model: a Llama looking through a MobileNetV2."""
    torch.manual_seed(1)
    words = tokenizer()
    tower = MobileNetV2Config(depth_multiplier=0.25, tf_padding=False, finegrained_output=True, image_size=64)
    tower.hidden_size = 1280
    config = FastVlmConfig(
        vision_config=tower,
        text_config=LlamaConfig(**text_config(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    processor = llava_processor(
        words, image_processor(), patch_size=32, vision_feature_select_strategy="full", num_additional_image_tokens=0
    )
    model = FastVlmForConditionalGeneration(config)
    settle(model.model.vision_tower)
    speak_up(model.model.multi_modal_projector)
    return save(model, processor, words, folder)


def llava(folder: Path) -> Path:
    """LLaVA-1.5: a Llama looking through a CLIP tower, whose class token is dropped."""
    torch.manual_seed(2)
    words = tokenizer()
    tower = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=64,
        patch_size=32,
        projection_dim=32,
        initializer_range=0.3,
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=LlamaConfig(**text_config(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    processor = llava_processor(
        words, pictures, patch_size=32, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    model = LlavaForConditionalGeneration(config)
    speak_up(model.model.multi_modal_projector)
    return save(model, processor, words, folder)


def qwen(folder: Path) -> Path:
    """Qwen2-VL: positions in three dimensions, pictures of any size."""
    torch.manual_seed(3)
    words = tokenizer(
        "<|vision_start|><|image_pad|><|vision_end|>", image_token="<|image_pad|>", video_token="<|video_pad|>"
    )
    numbers = {f"{name}_token_id": words.convert_tokens_to_ids(token) for name, token in QWEN_TOKENS.items()}
    text = {
        **text_config(words),
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
    }
    tower = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 14}
    config = Qwen2VLConfig(text_config=text, vision_config=tower, **numbers, tie_word_embeddings=False)
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=56 * 84),
        words,
        Qwen2VLVideoProcessor(),
        chat_template=words.chat_template,
    )
    model = Qwen2VLForConditionalGeneration(config)
    speak_up(model.model.visual.merger.mlp)
    return save(model, processor, words, folder)


QWEN_TOKENS = {
    "image": "<|image_pad|>",
    "video": "<|video_pad|>",
    "vision_start": "<|vision_start|>",
    "vision_end": "<|vision_end|>",
}


def llama(folder: Path) -> Path:
    """A language model without eyes."""
    torch.manual_seed(4)
    words = tokenizer()
    return save(LlamaForCausalLM(LlamaConfig(**text_config(words))), words, words, folder)


FAMILIES = {"fast_vlm": fast_vlm, "llava": llava, "qwen": qwen, "llama": llama}


def load(folder: Path) -> Policy:
    """The policy in `folder`, float32 on the CPU; eager attention is the plainest arithmetic."""
    return load_policy(str(folder), dtype="float32", device="cpu", attention="eager")


def picture(path: Path, colour: str, box: tuple[int, int, int, int]) -> str:
    """A coloured rectangle on grey, 64 pixels wide."""
    image = Image.new("RGB", (64, 64), "#808080")
    image.paste(colour, box)
    image.save(path)
    return str(path)
