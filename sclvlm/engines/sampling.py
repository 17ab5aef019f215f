"""Picking tokens so that a conversation's random numbers are its own, whatever batch it is in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sclvlm.errors import SclvlmError


class RowSampler:
    """Picks the next token of every row: the likeliest at temperature 0, else by inverting the CDF.

    Row i uses uniform numbers drawn from `seeds[i]` alone, so neither batch size nor order changes them.
    """

    def __init__(self, seeds: Sequence[int], *, steps: int, temperature: float, top_p: float) -> None:
        self._temperature, self._top_p = temperature, top_p
        uniform = [torch.rand(steps, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        self._uniform = torch.stack(uniform).double()  # (rows, steps)

    def pick(self, logits: Tensor, step: int, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (picked,) for float32 `logits` (picked, vocabulary), and their log-probabilities at temperature 1.

        rows: which ones are picked for, as indices (picked,); None for all.
        """
        tokens = logits.argmax(-1) if self._temperature == 0 else self._draw(logits, step, rows)
        logps = logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
        return tokens, logps

    def _draw(self, logits: Tensor, step: int, rows: Tensor | None) -> Tensor:
        weights = (logits / self._temperature).softmax(-1).double()
        if self._top_p < 1:
            weights = _nucleus(weights, self._top_p)
        cdf = weights.cumsum(-1)
        uniform = self._uniform[:, step] if rows is None else self._uniform[rows.cpu(), step]
        threshold = uniform[:, None].to(cdf.device) * cdf[:, -1:]
        return torch.searchsorted(cdf, threshold, right=True).clamp(max=cdf.shape[-1] - 1)[:, 0]


def check_finite(logp: float, dtype: torch.dtype) -> None:
    """Raise SclvlmError where the log-probability of picked tokens is no number, as those of such logits are.

    dtype: the number type that the model computes in.
    """
    if not math.isfinite(logp):
        raise SclvlmError(
            f"the model's logits are not finite in {str(dtype).removeprefix('torch.')}. Set model.dtype to bfloat16 or "
            "float32; where they are not finite in these either, its weights are broken."
        )


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """`probabilities` with those behind the smallest set that holds `top_p` of the mass set to 0."""
    descending, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = descending.cumsum(-1) - descending
    return torch.zeros_like(probabilities).scatter_(-1, order, descending.masked_fill(before >= top_p, 0.0))
