"""A key/value cache out of which a batch's finished rows leave, so that long replies don't hold them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

SPARE = 64  # columns held ready: of each token's write only every so many-th copies what is there


class _Left(NamedTuple):
    """What some rows had in the cache when they left it."""

    rows: Tensor  # (left,)
    layers: list[tuple[Tensor, Tensor]]  # keys and values (left, heads, columns, size) of each layer


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A layer that grows by many columns at once; transformers' own copies everything for each new token."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self._keys, self._values = _Room(self.keys, self.keys), _Room(self.values, self.values)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self._keys, self._values = (
            _appended(self._keys, self.keys, key_states),
            _appended(self._values, self.values, value_states),
        )
        self.keys, self.values = self._keys.filled, self._values.filled
        return self.keys, self.values


class _Room(NamedTuple):
    """Columns, and those among them that are filled: a view of the first ones."""

    columns: Tensor
    filled: Tensor


def _appended(room: _Room, held: Tensor, added: Tensor) -> _Room:
    """`held` (rows, heads, columns, size) with `added` behind it, in `room` if that holds it and has space left."""
    width = held.shape[2]
    wanted = width + added.shape[2]
    columns = room.columns
    if held is not room.filled or columns.shape[2] < wanted:  # rows left or came back since, or it is full
        columns = added.new_empty((*added.shape[:2], wanted + SPARE, added.shape[3]))
        columns[:, :, :width] = held
    columns[:, :, width:wanted] = added
    return _Room(columns, columns[:, :, :wanted])


class RowCache:
    """The cache of a batch of conversations, full attention in all layers; any column of a row may be padding.

    mask: (rows, columns) of all rows, 1 where a token is. cache: of the rows `present` (indices) alone.
    """

    def __init__(self, config: object, rows: int, device: torch.device) -> None:
        self.cache = DynamicCache(config=config)
        self.cache.layers = [RoomyLayer() for _ in self.cache.layers]
        self.mask = torch.zeros((rows, 0), dtype=torch.long, device=device)
        self.present = torch.arange(rows, device=device)
        self._left: list[_Left] = []

    def add(self, mask: Tensor) -> Tensor:
        """Columns for what comes next, (present, new); returns the mask (present, columns) with them.

        In a row that left the new columns are padding.
        """
        whole = mask.new_zeros((len(self.mask), mask.shape[1])).index_copy(0, self.present, mask)
        self.mask = torch.cat([self.mask, whole], 1)
        return self.mask[self.present]

    def forget(self, tokens: Sequence[int]) -> None:
        """Make padding of the last so many tokens of each of all rows."""
        if any(tokens):
            last = torch.tensor(tokens, device=self.mask.device)[:, None]
            self.mask = self.mask * (self.mask.flip(1).cumsum(1).flip(1) > last)

    def spread(self, rows: Tensor) -> None:
        """Become the cache of len(rows) rows, each a copy of the one whose index stands in `rows`; none has left."""
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]
        self.present = torch.arange(len(rows), device=rows.device)

    def keep(self, stays: Tensor) -> None:
        """Let the rows go that `stays` (present,) is false for."""
        goes = (~stays).nonzero()[:, 0]
        layers = [(layer.keys[goes], layer.values[goes]) for layer in self.cache.layers]
        self._left.append(_Left(self.present[goes], layers))
        self.cache.batch_select_indices(stays.nonzero()[:, 0])
        self.present = self.present[stays]

    def rejoin(self) -> None:
        """Take all rows back in their order; what they did not write since they left is padding."""
        if not self._left:
            return
        rows = torch.cat([self.present, *(left.rows for left in self._left)])
        for index, layer in enumerate(self.cache.layers):
            keys, values = zip(*(left.layers[index] for left in self._left), strict=True)
            layer.keys = _stacked([layer.keys, *keys])[rows.argsort()]
            layer.values = _stacked([layer.values, *values])[rows.argsort()]
        self.present, self._left = rows.sort().values, []


def _stacked(parts: list[Tensor]) -> Tensor:
    """Rows of (rows, heads, columns, size) below each other, the shorter ones filled with zeros behind."""
    width = max(part.shape[2] for part in parts)
    return torch.cat([F.pad(part, (0, 0, 0, width - part.shape[2])) for part in parts])
