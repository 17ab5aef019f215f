"""Attention in two parts is attention under one mask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sclvlm.attention import TWO_PARTS, split_attention, two_parts
from sclvlm.layouts import Rows, lay_out, sibling_mask
from sclvlm.models import Policy
from tests import families

# Prompts of two and five tokens, so that the first has three columns of padding; answers of one to three tokens.
ROWS = lay_out([[1] * 2, [1] * 5], [[[2] * 3, [3]], [[2] * 2, [3] * 3]], pad_id=0)
GROUPED = SimpleNamespace(num_key_value_groups=2, is_causal=True, training=False)
"""A layer with two heads of queries for each of keys."""


def masked(policy: Policy, rows: Rows = ROWS) -> Tensor:
    """The mask that the policy's model takes for `rows`."""
    mask: Tensor = sibling_mask(policy.model, rows.branches, rows.depths, ends=len(rows.predicting))
    return mask


def attended(mask: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What tokens of ROWS get, (tokens, heads, size), and the gradients at queries, keys and values."""
    draw = torch.Generator().manual_seed(0)
    states: list[Any] = [
        torch.randn((2, heads, ROWS.ids.shape[1], 8), generator=draw).requires_grad_() for heads in (4, 2, 2)
    ]
    found = two_parts(GROUPED, *states, mask, scaling=0.3)[0][ROWS.branches >= 0]  # type: ignore[arg-type]
    weights = torch.randn(found.shape, generator=draw)
    return found, list(torch.autograd.grad((found * weights).sum(), states))


def test_two_parts_are_the_whole_in_values_and_gradients() -> None:
    policy = families.build("llama", "sdpa")
    whole = masked(policy)
    split_attention(policy.model)
    expected, slopes = attended(whole)
    found, others = attended(masked(policy))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(others, slopes, rtol=0, atol=1e-5)


def test_the_second_part_begins_at_the_last_token_of_the_prompt() -> None:
    policy = families.build("llama", "sdpa")
    whole = masked(policy)
    split_attention(policy.model)
    assert torch.equal(masked(policy), whole[:, :, 4:])  # five columns of prompt, of which the last one branches


def test_a_mask_for_all_rows_at_once_is_no_second_part() -> None:
    query, key, value = torch.randn(3, 1, 2, 3, 8)
    layer = SimpleNamespace(is_causal=True)
    seen = torch.tensor([True, False, False]).view(1, 1, 1, 3)
    found, _ = two_parts(layer, query, key, value, seen)  # type: ignore[arg-type]
    torch.testing.assert_close(found, value[:, :, :1].transpose(1, 2).expand_as(found))


@pytest.mark.parametrize("attention", ["eager", "flex_attention"])
def test_other_attention_than_sdpa_stays(attention: str) -> None:
    model = families.build("llama", attention).model
    split_attention(model)
    assert model.config._attn_implementation == attention


def test_the_language_model_alone_attends_in_parts() -> None:
    model = families.build("llava", "sdpa").model
    split_attention(model)
    assert model.config.text_config._attn_implementation == TWO_PARTS
    assert model.config.vision_config._attn_implementation != TWO_PARTS


def test_a_split_model_generates_as_before() -> None:
    policy = families.build("llama", "sdpa")
    ids = torch.tensor([[5, 6, 7]])
    before = policy.model.generate(ids, max_new_tokens=5, do_sample=False)
    split_attention(policy.model)
    assert torch.equal(policy.model.generate(ids, max_new_tokens=5, do_sample=False), before)
