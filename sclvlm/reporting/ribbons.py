"""Geometry of the flow pictures: blocks on both sides, a ribbon for each change. The template draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sclvlm.records import Verdict
from sclvlm.reporting.movements import Flow

WIDTH, HEIGHT = 320, 196
BLOCK = 9.0
"""Width of a block."""
GAP = 12.0
"""Free height between two blocks."""
LINE = 15.0
"""Height that a label needs."""


class Block(NamedTuple):
    """All answers of one verdict on one side. label: y of its text, moved where the block itself is too low for it."""

    verdict: Verdict
    answers: int
    x: float
    y: float
    height: float
    label: float


class Ribbon(NamedTuple):
    """Answers that went from one verdict to another. path: an SVG outline. meaning: a class of the style sheet."""

    then: Verdict
    now: Verdict
    answers: int
    path: str
    meaning: str


class Picture(NamedTuple):
    """A flow, in a box of WIDTH by HEIGHT. Wide ribbons come first, so that narrow ones lie on them."""

    flow: Flow
    left: tuple[Block, ...]
    right: tuple[Block, ...]
    ribbons: tuple[Ribbon, ...]


def draw(flow: Flow) -> Picture:
    """The picture of a flow of at least one answer; heights are in proportion to counts."""
    left = _blocks({then: sum(row.values()) for then, row in flow.counts.items()}, 0.0)
    right = _blocks({now: sum(row[now] for row in flow.counts.values()) for now in Verdict}, WIDTH - BLOCK)
    ribbons = sorted(_ribbons(flow, left, right), key=lambda ribbon: -ribbon.answers)
    return Picture(flow, left, right, tuple(ribbons))


def _blocks(counts: dict[Verdict, int], x: float) -> tuple[Block, ...]:
    """The verdicts that occur, from top to bottom."""
    unit, y, label = _unit(sum(counts.values())), 0.0, -LINE
    blocks: list[Block] = []
    for verdict, count in counts.items():
        if count:
            label = max(y + unit * count / 2, label + LINE)
            blocks.append(Block(verdict, count, x, round(y, 2), round(unit * count, 2), label))
            y += unit * count + GAP
    return _within(blocks)


def _unit(n: int) -> float:
    """Height of one answer. Both sides leave room for two gaps, so that a ribbon is as wide at both ends."""
    return (HEIGHT - (len(Verdict) - 1) * GAP) / n


def _within(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The labels moved up where the lowest would leave the box."""
    lowest, placed = HEIGHT - LINE / 2 + LINE, []
    for block in reversed(blocks):
        lowest = min(block.label, lowest - LINE)
        placed.append(block._replace(label=round(lowest, 2)))
    return tuple(reversed(placed))


def _ribbons(flow: Flow, left: Sequence[Block], right: Sequence[Block]) -> list[Ribbon]:
    unit = _unit(flow.n)
    start, end = ({block.verdict: block.y for block in side} for side in (left, right))
    ribbons = []
    for then, row in flow.counts.items():
        for now, count in row.items():
            if count:
                path = _outline(start[then], end[now], unit * count)
                ribbons.append(Ribbon(then, now, count, path, _meaning(then, now)))
                start[then] += unit * count
                end[now] += unit * count
    return ribbons


def _outline(top: float, there: float, height: float) -> str:
    """A band of this height from `top` on the left to `there` on the right."""
    near, far, middle = BLOCK, WIDTH - BLOCK, WIDTH / 2
    return (
        f"M{near:g},{top:.2f} C{middle:g},{top:.2f} {middle:g},{there:.2f} {far:g},{there:.2f} "
        f"V{there + height:.2f} C{middle:g},{there + height:.2f} {middle:g},{top + height:.2f} "
        f"{near:g},{top + height:.2f} Z"
    )


def _meaning(then: Verdict, now: Verdict) -> str:
    """fixed, broken, or kept: as right or wrong as it was."""
    if (then is Verdict.CORRECT) == (now is Verdict.CORRECT):
        return "kept"
    return "fixed" if now is Verdict.CORRECT else "broken"
