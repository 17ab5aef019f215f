"""A key/value cache out of which a batch's finished rows leave, so that long replies don't hold them up."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache


class _Left(NamedTuple):
    """What some rows had in the cache when they left it."""

    rows: Tensor  # (left,)
    layers: list[tuple[Tensor, Tensor]]  # keys and values (left, heads, columns, size) of each layer


class RowCache:
    """The cache of a batch of conversations, full attention in all layers; any column of a row may be padding.

    mask: (rows, columns) of all rows, 1 where a token is. cache: of the rows `present` (indices) alone.
    """

    def __init__(self, config: object, rows: int, device: torch.device) -> None:
        self.cache = DynamicCache(config=config)
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
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, width - part.shape[2])) for part in parts])
