"""Questions whose first answer changed, drawn at random."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from sclvlm.records import GradedTrace, GradedTurn, Sample, Transition
from sclvlm.reporting.schema import Example, Gallery, Shown


def gallery_of(
    samples: Mapping[str, Sample],
    before: Sequence[GradedTrace],
    after: Sequence[GradedTrace],
    *,
    size: int,
    seed: int,
) -> Gallery:
    """First answers that became right and that stopped being it, `size` of them, drawn by `seed`."""
    later = {trace.id: trace for trace in after}
    changed: dict[Literal["gain", "loss"], list[Example]] = {"gain": [], "loss": []}
    for trace in sorted(before, key=lambda trace: _lot(seed, trace.id)):
        then, now = trace.turns[0], later[trace.id].turns[0]
        if change := _change(then, now):
            changed[change].append(_example(samples[trace.id], change, then, now))
    gains, losses = changed["gain"], changed["loss"]
    shown = gallery_share(len(gains), len(losses), size)
    examples = gains[: shown.gains] + losses[: shown.losses]
    return Gallery(
        gains=len(gains),
        losses=len(losses),
        examples=tuple(sorted(examples, key=lambda example: _lot(seed, example.id))),
    )


class Share(NamedTuple):
    """How many gains and losses a gallery shows."""

    gains: int
    losses: int


def gallery_share(gains: int, losses: int, size: int) -> Share:
    """`size` places in proportion to what occurs, with at least one for each that does when size >= 2."""
    if gains + losses <= size:
        return Share(gains, losses)
    shown = round(size * gains / (gains + losses))
    if size >= 2:
        shown = min(max(shown, min(gains, 1)), size - min(losses, 1))
    return Share(shown, size - shown)


def _lot(seed: int, name: str) -> str:
    """A random order that depends on seed and id alone, so that nobody picks the examples."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _change(then: GradedTurn, now: GradedTurn) -> Literal["gain", "loss"] | None:
    match Transition.between(then.verdict, now.verdict):
        case Transition.IC:
            return "gain"
        case Transition.CI:
            return "loss"
        case _:
            return None


def _example(sample: Sample, change: Literal["gain", "loss"], then: GradedTurn, now: GradedTurn) -> Example:
    return Example(
        id=sample.id,
        change=change,
        category=sample.category,
        question=sample.question,
        choices=sample.choices,
        gold=tuple(dict.fromkeys((sample.answer, *sample.answers))),
        images=sample.images,
        before=_shown(then),
        after=_shown(now),
    )


def _shown(turn: GradedTurn) -> Shown:
    return Shown(response=turn.response, answer=turn.answer, verdict=turn.verdict)
