"""Where the tokens of growing rows stand, told to a model whose rows hold padding anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sclvlm.layouts import placed
from sclvlm.models import rope_index
from sclvlm.rendering import position_ids


class Places:
    """A token's position is the number of those before it; a model with mrope places a prompt's pictures itself."""

    def __init__(self, model: Any, rows: int) -> None:
        self._index = rope_index(model)
        self._ahead = torch.zeros(rows, dtype=torch.long, device=model.device)  # of the count, behind the prompt

    def prompts(self, ids: Tensor, mask: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """`position_ids` of left-padded prompts (rows, width): (rows, width), or (3, rows, width) with mrope."""
        if self._index is None:
            return position_ids(mask)
        found, self._ahead = placed(self._index, ids, mask, inputs)
        return found

    def further(self, mask: Tensor, width: int, rows: Tensor) -> Tensor:
        """The same of the last `width` columns of `rows` (indices), whose whole mask is (rows, columns)."""
        counted = position_ids(mask)[:, -width:] + self._ahead[rows, None]
        return counted if self._index is None else counted.expand(3, -1, -1)

    def spread(self, rows: Tensor) -> None:
        """See `RowCache.spread`."""
        self._ahead = self._ahead[rows]
