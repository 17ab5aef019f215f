"""Where answers moved between correct, incorrect and unparsed, and how far readability and length shifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from sclvlm.metrics import ScoreComparison, Statistic, Which, compare_scores, turn_of
from sclvlm.records import GradedTrace, GradedTurn, Sample, Verdict

Step = Literal["training", "review before", "review after"]

Quantity = Literal["unparsed", "tokens"]


class Flow(Statistic):
    """How many answers went from which verdict to which. `counts[then][now]`, all nine, zeros included.

    step: `training` is before to after at the first turn; `review before` and `review after` are first to last turn.
    """

    step: Step
    counts: dict[Verdict, dict[Verdict, int]]

    @property
    def n(self) -> int:
        """All answers."""
        return sum(sum(row.values()) for row in self.counts.values())


class Shift(Statistic):
    """What changed beside accuracy on the headline's questions: the share of unparsed answers, or tokens a response."""

    quantity: Quantity
    turn: Which
    comparison: ScoreComparison


_MEASURES: dict[Quantity, Callable[[GradedTurn], float]] = {
    "unparsed": lambda turn: float(turn.verdict is Verdict.UNPARSED),
    "tokens": lambda turn: float(turn.num_tokens),
}


def flows_of(before: Sequence[GradedTrace], after: Sequence[GradedTrace]) -> tuple[Flow, ...]:
    """Before to after and, where a run was reviewed, first to last turn. Both runs hold the same ids, once each."""
    later = {trace.id: trace for trace in after}
    flows = [_flow("training", ((trace.turns[0], later[trace.id].turns[0]) for trace in before))]
    reviews: tuple[tuple[Step, Sequence[GradedTrace]], ...] = (("review before", before), ("review after", after))
    for step, run in reviews:
        if any(len(trace.turns) > 1 for trace in run):
            flows.append(_flow(step, ((trace.turns[0], trace.turns[-1]) for trace in run)))
    return tuple(flows)


def shifts_of(
    samples: Mapping[str, Sample],
    before: Sequence[GradedTrace],
    after: Sequence[GradedTrace],
    turns: Iterable[Which],
    **options: Any,
) -> tuple[Shift, ...]:
    """Unparsed answers and response lengths, after less before. options: those of `compare_scores`."""
    clusters = {trace.id: samples[trace.id].cluster for trace in before}
    return tuple(
        Shift(
            quantity=quantity,
            turn=turn,
            comparison=compare_scores(
                _scores(before, turn, measure), _scores(after, turn, measure), clusters, **options
            ),
        )
        for turn in turns
        for quantity, measure in _MEASURES.items()
    )


def _scores(run: Sequence[GradedTrace], turn: Which, measure: Callable[[GradedTurn], float]) -> dict[str, float]:
    return {trace.id: measure(turn_of(trace, turn)) for trace in run}


def _flow(step: Step, changes: Iterable[tuple[GradedTurn, GradedTurn]]) -> Flow:
    counts = Counter((then.verdict, now.verdict) for then, now in changes)
    return Flow(step=step, counts={then: {now: counts[then, now] for now in Verdict} for then in Verdict})
