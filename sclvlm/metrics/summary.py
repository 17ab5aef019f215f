"""What one run shows: accuracy by turn, and what the review did to the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from sclvlm.errors import SclvlmError
from sclvlm.metrics.figures import RunSummary, TurnSummary, Which
from sclvlm.metrics.significance import rate
from sclvlm.records import GradedTrace, GradedTurn, Transition, Verdict


def summarize(graded: Sequence[GradedTrace], *, confidence: float = 0.95) -> RunSummary:
    """The figures of one run. Every trace counts, failed ones as wrong; draws of one question count singly.

    Raises SclvlmError when there is no trace.
    """
    n = len(graded)
    if not n:
        raise SclvlmError("accuracy of nothing: the run holds no graded trace. Grade at least one response.")
    counts = Counter(trace.transition for trace in graded)
    transitions = {transition: counts[transition] for transition in Transition}
    cc, ic, ci, ii = (transitions[t] for t in (Transition.CC, Transition.IC, Transition.CI, Transition.II))
    changed = sum(trace.turns[0].answer != trace.turns[-1].answer for trace in graded)
    return RunSummary(
        n=n,
        turns=_summarize_turns(graded, confidence),
        transitions=transitions,
        delta=(cc + ic) / n - (cc + ci) / n,
        delta_ic=ic / n,
        delta_ci=ci / n,
        confidence_level=_ratio(cc, cc + ci),
        critique_score=_ratio(ic, ic + ii),
        answer_changed=rate(changed, n, confidence),
    )


def turn_of(trace: GradedTrace, which: Which) -> GradedTurn:
    """The first or the last turn of `trace`; the same one when it has only one."""
    return trace.turns[0 if which == "first" else -1]


def _summarize_turns(graded: Sequence[GradedTrace], confidence: float) -> tuple[TurnSummary, ...]:
    depth = max(len(trace.turns) for trace in graded)
    return tuple(_summarize_turn(graded, index, confidence) for index in range(depth))


def _summarize_turn(graded: Sequence[GradedTrace], index: int, confidence: float) -> TurnSummary:
    verdicts = Counter(trace.turns[min(index, len(trace.turns) - 1)].verdict for trace in graded)
    return TurnSummary(
        accuracy=rate(verdicts[Verdict.CORRECT], len(graded), confidence),
        unparsed=rate(verdicts[Verdict.UNPARSED], len(graded), confidence),
        mean_tokens=fmean(trace.turns[index].num_tokens for trace in graded if index < len(trace.turns)),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
