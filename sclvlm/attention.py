"""Attention of shared rows in two parts: the prompt by itself, causally and without a mask, then what follows it.

A mask over the whole row costs what it hides: kernels compute it and throw it away, and the fastest ones take no mask
at all. Before the completions branch off, a row is causal, so only its end needs one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sclvlm.models import unwrapped

TWO_PARTS = "sclvlm_two_parts"


def two_parts(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """What sdpa gives, in the form of transformers' attention functions: (R, L, heads, size).

    attention_mask: (R, 1, E, L) bool of the last E of L columns, at least 2; the columns before them see all that
    stands before themselves. With any other mask, or none, it is sdpa.
    """
    start = 0 if attention_mask is None or attention_mask.shape[2] == 1 else query.shape[2] - attention_mask.shape[2]
    if start == 0:
        whole: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return whole
    parts = (
        sdpa_attention_forward(module, *(each[:, :, :start] for each in (query, key, value)), None, **options),
        sdpa_attention_forward(module, query[:, :, start:], key, value, attention_mask, **options),
    )
    return torch.cat([part for part, _ in parts], 1), None


AttentionInterface.register(TWO_PARTS, two_parts)
AttentionMaskInterface.register(TWO_PARTS, sdpa_mask)


def split_attention(model: Any) -> None:
    """From now on sdpa of `model`'s language part goes by `two_parts`; other attention stays as it is."""
    text = unwrapped(model).config.get_text_config()
    if text._attn_implementation == "sdpa":
        text._attn_implementation = TWO_PARTS
