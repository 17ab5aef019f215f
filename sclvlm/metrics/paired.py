"""What two runs on the same questions show: paired differences, with the questions of one cluster kept together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sclvlm.errors import SclvlmError
from sclvlm.metrics.figures import ALPHA, FEWEST, Comparison, Finding, Gain, Interval, ScoreComparison, Which
from sclvlm.metrics.resampling import EVERYTHING, Clusters, bootstrap_interval, clustered, clustered_error
from sclvlm.metrics.sign_flips import sign_flip, sign_flip_exact
from sclvlm.metrics.significance import detectable_effect, mcnemar_exact, rate
from sclvlm.metrics.summary import turn_of
from sclvlm.records import GradedTrace, Transition, Verdict

Key = tuple[str, int]
"""Sample id and draw."""


def compare(
    before: Sequence[GradedTrace],
    after: Sequence[GradedTrace],
    clusters: Mapping[str, str],
    *,
    turn: Which = "first",
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Two runs on the same questions, at one turn. The order of the traces is of no account.

    clusters: sample id to cluster key (`Sample.cluster`); questions of one cluster are resampled, and change sign,
    together.
    Raises SclvlmError when there is no trace, when a trace stands twice, when the ids of the two runs differ,
    and when an id has no cluster.
    """
    pairs = aligned(before, after)
    verdicts = [(turn_of(first, turn).verdict, turn_of(second, turn).verdict) for first, second in pairs]
    grouped = clustered_flips(verdicts, [trace.id for trace, _ in pairs], clusters)
    interval = bootstrap_interval(grouped, resamples=resamples, confidence=confidence, seed=seed)
    return _comparison(verdicts, interval or EVERYTHING, grouped, confidence=confidence)


def compare_scores(
    before: Mapping[str, float],
    after: Mapping[str, float],
    clusters: Mapping[str, str],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ScoreComparison:
    """Two runs whose answers have a score each, by sample id: VQA accuracy, ANLS, a share of several draws.

    Raises SclvlmError when there is no score, when the ids of the two runs differ, and when an id has no cluster.
    """
    _check_same({(name, 0) for name in before}, {(name, 0) for name in after})
    names = sorted(before)
    change = np.array([after[name] - before[name] for name in names], dtype=np.float64)  # (n,)
    grouped = clustered(change, _cluster_keys(names, clusters))
    interval = bootstrap_interval(grouped, resamples=resamples, confidence=confidence, seed=seed)
    error = clustered_error(grouped)
    p_value = sign_flip(grouped)
    return ScoreComparison(
        n=len(names),
        clusters=len(grouped.sums),
        before=float(np.mean([before[name] for name in names])),
        after=float(np.mean([after[name] for name in names])),
        difference=grouped.mean,
        interval=interval,
        p_value=p_value,
        standard_error=error,
        detectable=_detectable(grouped, error),
        finding=_finding(interval, p_value),
    )


def aligned(before: Sequence[GradedTrace], after: Sequence[GradedTrace]) -> list[tuple[GradedTrace, GradedTrace]]:
    """The traces of both runs, matched by id and draw, in the order of these.

    Raises SclvlmError when there is none, when one stands twice, and when the two runs differ in them.
    """
    earlier, later = _by_key(before, "before"), _by_key(after, "after")
    _check_same(earlier.keys(), later.keys())
    return [(earlier[key], later[key]) for key in sorted(earlier)]


def clustered_flips(
    verdicts: Sequence[tuple[Verdict, Verdict]], ids: Sequence[str], clusters: Mapping[str, str]
) -> Clusters:
    """The changes of verdict, +1 to correct and -1 from it, added up by cluster."""
    keys = _cluster_keys(ids, clusters)
    return clustered(np.array([_right(now) - _right(then) for then, now in verdicts], dtype=np.float64), keys)


def _comparison(
    verdicts: Sequence[tuple[Verdict, Verdict]], interval: Interval, grouped: Clusters, *, confidence: float
) -> Comparison:
    n, error = len(verdicts), clustered_error(grouped)
    counts = Counter(Transition.between(then, now) for then, now in verdicts)
    transitions = {transition: counts[transition] for transition in Transition}
    gained, lost = transitions[Transition.IC], transitions[Transition.CI]
    p_value = sign_flip_exact(grouped.sums)
    return Comparison(
        n=n,
        clusters=len(grouped.sums),
        before=rate(transitions[Transition.CC] + lost, n, confidence),
        after=rate(transitions[Transition.CC] + gained, n, confidence),
        difference=(gained - lost) / n,
        interval=interval,
        p_value=p_value,
        mcnemar=mcnemar_exact(gained, lost),
        became_correct=gained,
        became_wrong=lost,
        standard_error=error,
        detectable=_detectable(grouped, error),
        transitions=transitions,
        format=_gain(verdicts, Verdict.UNPARSED),
        content=_gain(verdicts, Verdict.INCORRECT),
        finding=_finding(interval, p_value),
    )


def _gain(verdicts: Sequence[tuple[Verdict, Verdict]], wrong: Verdict) -> Gain:
    gained = verdicts.count((wrong, Verdict.CORRECT))
    lost = verdicts.count((Verdict.CORRECT, wrong))
    return Gain(gained=gained, lost=lost, share=(gained - lost) / len(verdicts))


def _detectable(grouped: Clusters, error: float | None) -> float | None:
    return detectable_effect(error) if len(grouped.sums) >= FEWEST else None


def _finding(interval: Interval | None, p_value: float) -> Finding:
    if interval is None or p_value >= ALPHA or interval.low <= 0 <= interval.high:
        return Finding.NOISE
    return Finding.GAIN if interval.low > 0 else Finding.LOSS


def _by_key(graded: Sequence[GradedTrace], run: str) -> dict[Key, GradedTrace]:
    traces = {trace.key: trace for trace in graded}
    if len(traces) != len(graded):
        twice = {key for key, count in Counter(trace.key for trace in graded).items() if count > 1}
        raise SclvlmError(f"the run {run} answers {_name(twice)} more than once. Keep one for each id and draw.")
    return traces


def _check_same(earlier: Iterable[Key], later: Iterable[Key]) -> None:
    before, after = set(earlier), set(later)
    if before != after:
        raise SclvlmError(
            f"the two runs answer different questions: {_name(before - after)} only before, "
            f"{_name(after - before)} only after. Evaluate both models on the same samples, "
            "with the same limit and draws."
        )
    if not before:
        raise SclvlmError("accuracy of nothing: both runs are empty. Evaluate at least one question.")


def _name(keys: Iterable[Key]) -> str:
    """How many keys, and the first few of them."""
    named = sorted(f"{sample}#{draw}" if draw else sample for sample, draw in keys)
    if not named:
        return "none"
    return f"{len(named)} ({', '.join(named[:3])}{', ...' if len(named) > 3 else ''})"


def _cluster_keys(ids: Sequence[str], clusters: Mapping[str, str]) -> list[str]:
    if missing := {(sample, 0) for sample in ids if sample not in clusters}:
        raise SclvlmError(f"no cluster for {_name(missing)}. Give the samples that the traces answer.")
    return [clusters[sample] for sample in ids]


def _right(verdict: Verdict) -> int:
    return int(verdict is Verdict.CORRECT)
