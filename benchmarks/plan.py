"""How long a million samples take: the work of each, counted, over what hardware does at an assumed utilisation.

The work of the language model is counted by torch over one of its layers at full size on the meta device, which
computes nothing; that of the image encoder is two operations a parameter and patch. Everything else is an assumption,
stands in one of the two records here, and can be set on the command line: `--prompt 900 --answer 60 --gpus 64`.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

# Qwen2.5-VL-7B as published: config.json of the language model; parameters of the image encoder.
LANGUAGE = Qwen2Config(
    vocab_size=152_064,
    hidden_size=3584,
    intermediate_size=18_944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    attn_implementation="sdpa",
)
TOWER_PARAMETERS, PATCHES_A_TOKEN = 0.677e9, 4
BYTES = 2  # a number in bfloat16


@dataclass(frozen=True)
class Question:
    """Tokens of one sample: the picture (784 x 1008 pixels here), the words of the prompt, an answer, the review."""

    picture: int = 1008
    prompt: int = 120
    answer: int = 150
    review: int = 45

    @property
    def length(self) -> int:
        """Of the whole conversation."""
        return self.picture + self.prompt + self.review + 2 * self.answer


@dataclass(frozen=True)
class Hardware:
    """One GPU (an H100 SXM here: bfloat16 without sparsity, HBM3) and how well it is used."""

    flops: float = 989e12
    bandwidth: float = 3.35e12  # bytes a second
    compute_used: float = 0.4  # of flops, reading prompts
    bandwidth_used: float = 0.6  # writing answers
    held: int = 128  # conversations in a step of a server
    gpus: int = 8


def layer_flops(tokens: int) -> int:
    """Of one layer of the language model over a prompt of so many tokens."""
    with torch.device("meta"):
        layer = Qwen2DecoderLayer(LANGUAGE, 0).to(torch.bfloat16)
        hidden = torch.empty((1, tokens, LANGUAGE.hidden_size), dtype=torch.bfloat16)
        angles = torch.empty((1, tokens, LANGUAGE.hidden_size // LANGUAGE.num_attention_heads), dtype=torch.bfloat16)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(hidden, attention_mask=None, position_embeddings=(angles, angles))
    return int(counter.get_total_flops())


def weight_bytes() -> float:
    """What a step reads of the language model's weights: all but the input embedding. A weight works once a token."""
    return BYTES / 2 * (LANGUAGE.num_hidden_layers * layer_flops(1) + 2 * LANGUAGE.hidden_size * LANGUAGE.vocab_size)


def cache_bytes(tokens: int) -> float:
    """Keys and values of so many tokens."""
    head = LANGUAGE.hidden_size // LANGUAGE.num_attention_heads
    return 2.0 * LANGUAGE.num_hidden_layers * LANGUAGE.num_key_value_heads * head * tokens * BYTES


def plan(question: Question, hardware: Hardware) -> dict[str, float]:
    """Work and time of a sample whose first turn's cache is kept, and of a million of them."""
    read = question.picture + question.prompt + question.review
    tower = 2 * TOWER_PARAMETERS * PATCHES_A_TOKEN * question.picture
    prompt = LANGUAGE.num_hidden_layers * layer_flops(read)
    step = weight_bytes() + hardware.held * cache_bytes(question.length)
    reading = (tower + prompt) / (hardware.flops * hardware.compute_used)
    writing = 2 * question.answer * step / (hardware.bandwidth * hardware.bandwidth_used) / hardware.held
    return {
        "image encoder, TFLOP a sample": tower / 1e12,
        "prompt and review, TFLOP a sample": prompt / 1e12,
        "prompt, GFLOP a token": prompt / read / 1e9,
        "GB read a step": step / 1e9,
        "reading, ms a sample": 1e3 * reading,
        "writing, ms a sample": 1e3 * writing,
        "samples a second and GPU": 1 / (reading + writing),
        "hours for a million": 1e6 * (reading + writing) / hardware.gpus / 3600,
        "GPU hours for a million": 1e6 * (reading + writing) / 3600,
    }


def main() -> None:
    """Print the assumptions and what follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in (*fields(Question), *fields(Hardware)):
        default: Any = field.default
        parser.add_argument(f"--{field.name}", type=type(default), default=default)
    asked = vars(parser.parse_args())
    question, hardware = (
        kind(**{field.name: asked[field.name] for field in fields(kind)}) for kind in (Question, Hardware)
    )
    for name, value in {**asdict(question), **asdict(hardware), **plan(question, hardware)}.items():
        print(f"{name:36} {value:12.6g}")


if __name__ == "__main__":
    main()
