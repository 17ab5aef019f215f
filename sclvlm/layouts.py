"""Where tokens stand: rows of a prompt and its completions, what a token sees there, and its position.

A row is `prompt | completion 1 | ... | completion n`. In the plain layout n is 1, and a prompt is repeated for each
of its completions. In the shared layout a prompt has one row: its completions all continue it, as branches continue
a trunk, and don't see each other. The prompt, with its images, is then computed once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from sclvlm.attention import TWO_PARTS
from sclvlm.models import accepts, counts_positions, has_cross_attention, rope_index, unwrapped
from sclvlm.rendering import pad, position_ids

FULL, SLIDING = "full_attention", "sliding_attention"

Sees = Callable[[Any, Any, Any, Any], Any]
"""(row, head, column of who looks, column of what is looked at) to whether it is seen: a mask_mod of torch."""


class Rows(NamedTuple):
    """R rows with n completions each. Prompts are padded to one width (`pad_prompts`), completions right-padded to K.

    L is the prompts' width + n * K. All completions begin in the same columns, so that one list of columns says for
    all rows where targets are predicted: a completion's first token by the last column of the prompt, every
    other one by the column before it.
    """

    ids: Tensor  # (R, L)
    branches: Tensor  # (R, L) 0 in the prompt, i in its i-th completion, -1 at padding
    depths: Tensor  # (R, L) how many tokens of the prompt and of the own completion stand before
    targets: Tensor  # (R * n, K) ids of the completions
    mask: Tensor  # (R * n, K) 1 where a target counts
    predicting: Tensor  # (n * K) columns, in the order of a row's targets

    @property
    def prompt_width(self) -> int:
        """Columns of the prompts."""
        return self.ids.shape[1] - len(self.predicting)


def lay_out(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]], pad_id: int) -> Rows:
    """One row for each of `prompts` (R lists of ids) with its n `completions`; padding is known from lengths alone."""
    rows, count = len(prompts), len(completions[0])
    prompt_ids, prompt_mask = pad_prompts(prompts, pad_id, shared=count > 1)
    targets, mask = pad([ids for row in completions for ids in row], pad_id, left=False)
    width, start = targets.shape[1], prompt_ids.shape[1]
    blocks = mask.view(rows, count, width)
    numbers = torch.arange(1, count + 1)[:, None]
    columns = start - 1 + torch.arange(count * width).view(count, width)
    columns[:, 0] = start - 1
    within = prompt_mask.sum(1)[:, None, None] + blocks.cumsum(2) - 1
    return Rows(
        ids=torch.cat([prompt_ids, targets.view(rows, -1)], 1),
        branches=torch.cat([prompt_mask - 1, torch.where(blocks > 0, numbers, -1).flatten(1)], 1),
        depths=torch.cat([position_ids(prompt_mask), within.flatten(1)], 1),
        targets=targets,
        mask=mask,
        predicting=columns.flatten(),
    )


def pad_prompts(rows: Sequence[Sequence[int]], fill: int, *, shared: bool) -> tuple[Tensor, Tensor]:
    """Ragged `rows` of prompts with their last tokens in one column, and the mask, as of `rendering.pad`.

    Plain rows are padded on the left, which layers that carry a state along the row can bear. Shared ones are padded in
    front of their last token: no token of a prompt then has padding before it, and a causal pass needs no mask.
    """
    if not shared:
        return pad(rows, fill, left=True)
    parts = pad([row[:-1] for row in rows], fill, left=False), pad([row[-1:] for row in rows], fill, left=False)
    ids, mask = zip(*parts, strict=True)
    return torch.cat(ids, 1), torch.cat(mask, 1)


def positions(model: Any, rows: Rows, inputs: Mapping[str, Tensor], *, shared: bool) -> Tensor | None:
    """`position_ids` for `model`: (R, L), or (3, R, L) for mrope; None where the model is to find them by itself.

    inputs: the model's others, as wide as the rows. Without positions left padding would shift absolute ones, and
    the second completion of a row would stand behind the first.
    """
    if counts_positions(model):
        return rows.depths
    index = rope_index(model)
    return None if index is None or not shared else _continued(index, rows, inputs)


def _continued(index: Callable[..., Any], rows: Rows, inputs: Mapping[str, Tensor]) -> Tensor:
    """mrope: the model places the prompt with its pictures; a completion goes on behind the highest position."""
    width = rows.prompt_width
    mask = (rows.branches[:, :width] >= 0).long()
    prompt, behind = placed(index, rows.ids[:, :width], mask, inputs)
    completions = rows.depths[:, width:] + behind[:, None]
    return torch.cat([prompt, completions.expand(3, -1, -1)], 2)


def placed(index: Callable[..., Any], ids: Tensor, mask: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """mrope: positions (3, R, width) of padded prompts, and by how much what follows is ahead of its count (R).

    ids, mask: (R, width). inputs: the model's others, at least as wide.
    """
    types = inputs.get("mm_token_type_ids", torch.zeros_like(ids))
    prompt, _ = index(
        input_ids=ids,
        mm_token_type_ids=types[:, : ids.shape[1]],
        image_grid_thw=inputs.get("image_grid_thw"),
        attention_mask=mask,
    )
    return prompt, prompt.amax((0, 2)) + 1 - mask.sum(1)


def sibling_mask(model: Any, branches: Tensor, depths: Tensor, *, ends: int) -> Any:
    """What sees what in shared rows, as `attention_mask` in the form that the model's attention takes.

    branches, depths: (R, L), on the model's device; ends: how many of the L columns are completions. One mask for all
    layers, or a dict by the kind of layer where some have a sliding window. Padding sees padding: a row of the mask
    that allows nothing would turn to NaN.
    """
    text = unwrapped(model).config.get_text_config()
    attention = text._attn_implementation
    kinds = _layer_kinds(text)
    window = getattr(text, "sliding_window", None)

    def mask(width: int | None) -> Any:
        sees = _sees(branches, depths, width)
        if attention == TWO_PARTS and width is None:  # the last token of the prompt stands behind the padding
            return _dense(sees, branches, last=ends + 1)
        return FORMS[attention](sees, branches, model)

    if SLIDING in kinds:
        return {kind: mask(window if kind == SLIDING else None) for kind in kinds}
    return mask(None if kinds else window)  # a config that doesn't tell layers apart slides in all of them


def _sees(branches: Tensor, depths: Tensor, window: int | None) -> Sees:
    """A token sees what stands before it in its own branch and in the prompt, `window` tokens far, itself included."""

    def sees(row: Any, head: Any, looks: Any, seen: Any) -> Any:
        own = branches[row, seen] == branches[row, looks]
        behind = (looks >= seen) & (own | (branches[row, seen] == 0))
        return behind if window is None else behind & (depths[row, looks] - depths[row, seen] < window)

    return sees


def _dense(sees: Sees, branches: Tensor, model: Any = None, *, last: int = 0) -> Tensor:
    """(R, 1, L, L) bool, or (R, 1, last, L) of so many last columns."""
    rows, length = branches.shape
    row = torch.arange(rows, device=branches.device)[:, None, None, None]
    column = torch.arange(length, device=branches.device)
    allowed: Tensor = sees(row, 0, column[-last:, None], column)
    return allowed


def _additive(sees: Sees, branches: Tensor, model: Any) -> Tensor:
    """(R, 1, L, L): 0 where seen, else the lowest number of the hidden states' type."""
    dtype = unwrapped(model).get_input_embeddings().weight.dtype
    allowed = _dense(sees, branches)
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)


def _blocks(sees: Sees, branches: Tensor, model: Any) -> Any:
    """A BlockMask; not compiled, since each new length of a batch would be compiled anew."""
    rows, length = branches.shape
    return create_block_mask(sees, rows, None, length, length, device=branches.device)


FORMS: dict[str, Callable[[Sees, Tensor, Any], Any]] = {
    "eager": _additive,
    "sdpa": _dense,
    TWO_PARTS: _dense,
    "flex_attention": _blocks,
}


def shared_pays(model: Any, lengths: Sequence[tuple[int, Sequence[int]]]) -> bool:
    """Whether shared rows are less work for `model`; lengths: of each prompt and of its completions, in tokens.

    Only linear layers gain from them: attention goes over the whole row, masked or not, and so over the squares of
    completions that don't see each other. It weighs where answers are long and the model is narrow.
    """
    width = unwrapped(model).config.get_text_config().hidden_size
    shared = sum(_work(prompt + sum(completions), width) for prompt, completions in lengths)
    plain = sum(_work(prompt + each, width) for prompt, completions in lengths for each in completions)
    return shared < plain


def _work(length: int, width: int) -> int:
    # Of a layer, in units of 2 * width: a token costs 12 width^2 in its matrices, 2 * width for each it attends to.
    return length * (6 * width + length)


def why_not_shared(model: Any) -> str | None:
    """Why completions behind one prompt would not be scored as they are alone, as far as the model's make tells.

    None when nothing speaks against it. Wrappers of peft make no difference.
    """
    inner = unwrapped(model)
    text = inner.config.get_text_config()
    return next((reason for applies, reason in REASONS if applies(inner, text)), None)


def _layer_kinds(text: Any) -> set[str]:
    return set(getattr(text, "layer_types", None) or ())


def _has_own_attention(model: Any, text: Any) -> bool:
    return text._attn_implementation not in FORMS


def _has_state(model: Any, text: Any) -> bool:
    stateful = any(getattr(module, "_is_stateful", False) for module in model.modules())
    return stateful or not _layer_kinds(text) <= {FULL, SLIDING}


def _sees_forward(model: Any, text: Any) -> bool:
    # Token types tell a language model's halves apart, but a seeing model's pictures from its words.
    by_types = getattr(model.config, "vision_config", None) is not None and accepts(model, "token_type_ids")
    return by_types or bool(getattr(text, "use_bidirectional_attention", None))


def _takes_no_positions(model: Any, text: Any) -> bool:
    return not accepts(model, "position_ids")


def places_otherwise(model: Any, text: Any = None) -> bool:
    """Whether `model` has mrope positions that `placed` can't find."""
    index = rope_index(model)
    needed = {"input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask"}
    return index is not None and not needed <= inspect.signature(index).parameters.keys()


REASONS: tuple[tuple[Callable[[Any, Any], bool], str], ...] = (
    (_has_own_attention, "its attention takes no mask but its own (model.attention sdpa, flex_attention and eager do)"),
    (_has_state, "some of its layers carry a state along the row, or attend in chunks of it"),
    (_sees_forward, "its tokens see others that stand behind them"),
    (lambda model, text: has_cross_attention(model), "its text attends to an encoder"),
    (_takes_no_positions, "it takes no position_ids"),
    (places_otherwise, "it places pictures by more than their grids"),
)
