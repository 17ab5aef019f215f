"""Scaled-down models of real families, saved as ordinary model directories, and pairs to train them on.

Weights are random: what is measured here is arithmetic and time, not answers. Every printable character is one
token, so the length of a text is the number of its tokens, and any geometry can be had exactly.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from sclvlm.records import PreferencePair, text_message
from sclvlm.storage import write_records

END = "<|end|>"
SPECIAL = (
    END,
    "<|user|>",
    "<|assistant|>",
    "<image>",
    "<|vision_start|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|vision_end|>",
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
)
CHARACTERS = ["\n", *(chr(code) for code in range(32, 127))]
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|end|>BEHIND{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

Build = Callable[[Path, "Sizes", str], Path]


@dataclass(frozen=True)
class Sizes:
    """How large a scaled-down model is. Heads are 64 wide where `width` allows it, pictures are square."""

    width: int  # of the language model
    inner: int  # of its gated MLP
    layers: int
    vocabulary: int  # sets the share of the output embedding
    heads: int
    tower_width: int = 0
    tower_inner: int = 0
    tower_layers: int = 0
    tower_heads: int = 0
    pixels: int = 0  # a side, after the image processor


def llava(folder: Path, sizes: Sizes, behind: str = "") -> Path:
    """LLaVA-1.5: a Llama behind a CLIP tower of 14 pixels a patch; one token a patch.

    behind: what the chat template puts after the end of each turn. Returns `folder`.
    """
    words = tokenizer("<image>", behind)
    patches = (sizes.pixels // 14) ** 2
    tower = CLIPVisionConfig(
        **_tower(sizes), num_hidden_layers=sizes.tower_layers, num_attention_heads=sizes.tower_heads, patch_size=14
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=LlamaConfig(**_text(sizes, words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=patches,
        tie_word_embeddings=False,
    )
    side = {"height": sizes.pixels, "width": sizes.pixels}
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": sizes.pixels}, crop_size=side),
        words,
        image_token="<image>",
        chat_template=words.chat_template,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return _save(LlavaForConditionalGeneration(config), processor, folder)


def qwen(folder: Path, sizes: Sizes, behind: str = "") -> Path:
    """Qwen2.5-VL: windowed tower of 14 pixels a patch, four patches merged to a token, positions in three axes."""
    names = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
    marks = {"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
    words = tokenizer("".join(("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")), behind, names)
    quarter = sizes.width // sizes.heads // 8
    tower = {
        "depth": sizes.tower_layers,
        "hidden_size": sizes.tower_width,
        "intermediate_size": sizes.tower_inner,
        "num_heads": sizes.tower_heads,
        "out_hidden_size": sizes.width,
        "fullatt_block_indexes": [sizes.tower_layers - 1],
    }
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2 * quarter, quarter, quarter]}
    config = Qwen2_5_VLConfig(
        text_config={**_text(sizes, words), "rope_parameters": rope},
        vision_config=tower,
        **{f"{name}_token_id": words.convert_tokens_to_ids(token) for name, token in {**names, **marks}.items()},
        tie_word_embeddings=False,
    )
    area = sizes.pixels**2
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=area),
        words,
        Qwen2VLVideoProcessor(),
        chat_template=words.chat_template,
    )
    return _save(Qwen2_5_VLForConditionalGeneration(config), processor, folder)


def idefics(folder: Path, sizes: Sizes, behind: str = "") -> Path:
    """Idefics3, which SmolVLM's small checkpoints are: patches of 16 pixels, sixteen of them to a token."""
    words = tokenizer("<image>", behind)
    tokens = (sizes.pixels // 16) ** 2 // 16
    config = Idefics3Config(
        text_config=LlamaConfig(**_text(sizes, words)),
        vision_config={
            **_tower(sizes),
            "num_hidden_layers": sizes.tower_layers,
            "num_attention_heads": sizes.tower_heads,
            "patch_size": 16,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=4,
    )
    edge = {"longest_edge": sizes.pixels}
    processor = Idefics3Processor(
        Idefics3ImageProcessor(size=edge, max_image_size=edge, do_image_splitting=False),
        words,
        image_seq_len=tokens,
        chat_template=words.chat_template,
    )
    return _save(Idefics3ForConditionalGeneration(config), processor, folder)


def llama(folder: Path, sizes: Sizes, behind: str = "") -> Path:
    """A language model without eyes."""
    words = tokenizer("", behind)
    return _save(LlamaForCausalLM(LlamaConfig(**_text(sizes, words))), words, folder)


def tokenizer(image: str, behind: str, named: dict[str, str] | None = None) -> PreTrainedTokenizerFast:
    """One token a character; `image` stands for a picture, `behind` follows each end of a turn."""
    words = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(CHARACTERS)}, merges=[]))
    words.decoder = decoders.Fuse()
    words.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token=END,
        pad_token="<end_of_utterance>",
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE.replace("IMAGE", image).replace("BEHIND", behind),
        extra_special_tokens={f"{name}_token": token for name, token in (named or {}).items()},
    )


def _text(sizes: Sizes, words: Any) -> dict[str, Any]:
    return {
        "hidden_size": sizes.width,
        "intermediate_size": sizes.inner,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": max(1, sizes.heads // 4),
        "vocab_size": sizes.vocabulary,
        "max_position_embeddings": 4096,
        "initializer_range": sizes.width**-0.5,  # keeps activations near 1, so that pictures and words are heard
        "bos_token_id": None,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "tie_word_embeddings": False,
    }


def _tower(sizes: Sizes) -> dict[str, Any]:
    return {"hidden_size": sizes.tower_width, "intermediate_size": sizes.tower_inner, "image_size": sizes.pixels}


def _save(model: Any, processor: Any, folder: Path) -> Path:
    words = getattr(processor, "tokenizer", processor)
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def build(make: Build, folder: Path, sizes: Sizes, *, behind: str = "", seed: int = 0) -> Path:
    """The model directory `folder` that `make` fills with weights drawn from `seed`. Returns `folder`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make(folder, sizes, behind)


def write_pairs(folder: Path, count: int, *, prompt: int, answer: int | None, photo: int, seed: int = 0) -> Path:
    """`folder`/pairs.jsonl: `count` pairs of random letters; a question of `prompt` tokens and two answers.

    answer: their length in tokens; None draws one of 8 to 24 for each. photo: a side in pixels of the square
    JPEG that belongs to each pair, 0 for none. Returns the file.
    """
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "pairs.jsonl"
    write_records(file, [_pair(folder, index, draw, prompt, answer, photo) for index in range(count)])
    return file


def _pair(folder: Path, index: int, draw: random.Random, prompt: int, answer: int | None, photo: int) -> PreferencePair:
    # The end of the turn is one token more.
    lengths = [draw.randint(8, 24) if answer is None else answer - 1 for _ in range(2)]
    chosen, rejected = (text_message("assistant", letters(draw, length)) for length in lengths)
    return PreferencePair(
        id=f"pair-{index}",
        prompt=[text_message("user", letters(draw, prompt), images=1 if photo else 0)],
        chosen=[chosen],
        rejected=[rejected],
        images=(save_photo(folder / f"{index}.jpg", draw, photo),) if photo else (),
    )


def letters(draw: random.Random, count: int) -> str:
    """`count` random letters, as many tokens."""
    return "".join(draw.choices(string.ascii_letters, k=count))


def save_photo(path: Path, draw: random.Random, side: int) -> str:
    """Soft blotches of colour: as costly to decode as a photograph, unlike noise or a flat area."""
    image = Image.frombytes("RGB", (16, 16), draw.randbytes(16 * 16 * 3))
    image.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
    return str(path)
