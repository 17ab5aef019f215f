"""Replies of a batch as they are written, a token a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Written(NamedTuple):
    """One row's tokens, the stop token included; whether there is one; the sum of their log-probabilities."""

    tokens: list[int]
    stopped: bool
    logp: float


class Draft:
    """`rows` replies of at most `most` tokens. A row is active until it has written one of `stop_ids`."""

    def __init__(self, rows: int, most: int, stop_ids: Sequence[int], device: torch.device) -> None:
        self.step = 0  # tokens that active rows have
        self.active = torch.ones(rows, dtype=torch.bool, device=device)
        self._stop = torch.tensor(stop_ids, device=device)
        self._tokens = torch.zeros((rows, most), dtype=torch.long, device=device)
        self._lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self._logps = torch.zeros(rows, device=device)

    def write(self, rows: Tensor, tokens: Tensor, logps: Tensor) -> bool:
        """The next token of `rows` (indices, all active ones among them); whether any row needs another one."""
        writes = self.active[rows]
        self._tokens[rows, self.step] = tokens
        self._lengths[rows] += writes
        self._logps[rows] += logps.masked_fill(~writes, 0.0)  # whatever a row that has ended would go on with
        self.active[rows] = writes & ~torch.isin(tokens, self._stop)
        self.step += 1
        return self.step < self._tokens.shape[1] and bool(self.active.any())

    def last(self, rows: Tensor) -> Tensor:
        """(rows, 1): the newest token of each of `rows`."""
        return self._tokens[rows, self.step - 1, None]

    def replies(self) -> list[Written]:
        """What each row has written."""
        columns = (self._tokens, self._lengths, self.active, self._logps)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [Written(tokens[:length], not active, logp) for tokens, length, active, logp in rows]
