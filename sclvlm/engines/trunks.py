"""What rows begin with alike, to be computed once for all of them: a trunk; what each goes on with is its branch."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import NamedTuple

WORTH = 0.75  # of the tokens otherwise: the branches are a second pass, with a mask that a first one may do without


class Trunks(NamedTuple):
    """T trunks of R rows."""

    ids: list[list[int]]  # (T, ragged)
    rows: list[int]  # (T) the first row of each
    of: list[int]  # (R) the trunk of each row
    branches: list[list[int]]  # (R, ragged) at least one token


def trunks(ids: Sequence[Sequence[int]], kin: Sequence[Hashable], pictured: Collection[int]) -> Trunks | None:
    """How rows of `ids` with equal `kin`, the pictures that they show, divide; None where that saves too little.

    pictured: ids that stand for pictures, which no branch may hold: those belong to the trunk.
    """
    groups: dict[Hashable, list[int]] = {}
    for row, each in enumerate(kin):
        groups.setdefault(each, []).append(row)
    parts = [part for rows in groups.values() for part in _parts(ids, rows, set(pictured))]
    of = {row: trunk for trunk, (rows, _) in enumerate(parts) for row in rows}
    lengths = [length for _, length in parts]
    spent = sum(lengths) + sum(len(each) - lengths[of[row]] for row, each in enumerate(ids))
    if spent > WORTH * sum(map(len, ids)) or 0 in lengths:
        return None
    return Trunks(
        [list(ids[rows[0]][:length]) for rows, length in parts],
        [rows[0] for rows, _ in parts],
        [of[row] for row in range(len(ids))],
        [list(each[lengths[of[row]] :]) for row, each in enumerate(ids)],
    )


def _parts(ids: Sequence[Sequence[int]], rows: list[int], pictured: set[int]) -> Iterator[tuple[list[int], int]]:
    """The rows of each trunk and its length: all of `rows` on one, or each on its own where pictures stand behind."""
    shortest = min(len(ids[row]) for row in rows)
    columns = enumerate(zip(*(ids[row] for row in rows), strict=False))
    alike = next((place for place, tokens in columns if len(set(tokens)) > 1), shortest)
    length = min(alike, shortest - 1)
    if any(pictured & set(ids[row][length:]) for row in rows):
        yield from (([row], len(ids[row]) - 1) for row in rows)
    else:
        yield rows, length
