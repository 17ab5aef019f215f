"""What one run shows: accuracy by turn, and what the review did to the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sclvlm.errors import SclvlmError
from sclvlm.metrics.figures import RunSummary, TurnSummary, Which
from sclvlm.metrics.significance import rate
from sclvlm.records import GradedTrace, GradedTurn, Transition, Verdict


def turns_said(graded: Iterable[GradedTrace]) -> tuple[Which, ...]:
    """The first turn and, where any answer was reviewed, the last."""
    return ("first", "last") if any(len(trace.turns) > 1 for trace in graded) else ("first",)


@dataclass
class _Tally:
    """What is counted of the traces of a run, as they pass."""

    transitions: Counter[Transition] = field(default_factory=Counter)
    verdicts: Counter[tuple[Verdict, ...]] = field(default_factory=Counter)  # of all turns of a trace
    tokens: Counter[int] = field(default_factory=Counter)  # by turn, summed
    turns: Counter[int] = field(default_factory=Counter)  # how many traces have this turn
    changed: int = 0

    def add(self, trace: GradedTrace) -> None:
        self.transitions[trace.transition] += 1
        self.verdicts[tuple(turn.verdict for turn in trace.turns)] += 1
        self.changed += trace.turns[0].answer != trace.turns[-1].answer
        for index, turn in enumerate(trace.turns):
            self.tokens[index] += turn.num_tokens
            self.turns[index] += 1


def summarize(graded: Iterable[GradedTrace], *, confidence: float = 0.95) -> RunSummary:
    """The figures of one run. Every trace counts, failed ones as wrong; draws of one question count singly.

    Goes through `graded` once, and keeps none. Raises SclvlmError when there is no trace.
    """
    tally = _Tally()
    for trace in graded:
        tally.add(trace)
    n = tally.transitions.total()
    if not n:
        raise SclvlmError("accuracy of nothing: the run holds no graded trace. Grade at least one response.")
    transitions = {transition: tally.transitions[transition] for transition in Transition}
    cc, ic, ci, ii = (transitions[t] for t in (Transition.CC, Transition.IC, Transition.CI, Transition.II))
    return RunSummary(
        n=n,
        turns=tuple(_summarize_turn(tally, index, n, confidence) for index in range(len(tally.turns))),
        transitions=transitions,
        delta=(cc + ic) / n - (cc + ci) / n,
        delta_ic=ic / n,
        delta_ci=ci / n,
        confidence_level=_ratio(cc, cc + ci),
        critique_score=_ratio(ic, ic + ii),
        answer_changed=rate(tally.changed, n, confidence),
    )


def turn_of(trace: GradedTrace, which: Which) -> GradedTurn:
    """The first or the last turn of `trace`; the same one when it has only one."""
    return trace.turns[0 if which == "first" else -1]


def _summarize_turn(tally: _Tally, index: int, n: int, confidence: float) -> TurnSummary:
    """A trace that ended before this turn counts with its last one."""
    verdicts: Counter[Verdict] = Counter()
    for of_turns, count in tally.verdicts.items():
        verdicts[of_turns[min(index, len(of_turns) - 1)]] += count
    return TurnSummary(
        accuracy=rate(verdicts[Verdict.CORRECT], n, confidence),
        unparsed=rate(verdicts[Verdict.UNPARSED], n, confidence),
        mean_tokens=tally.tokens[index] / tally.turns[index],
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
