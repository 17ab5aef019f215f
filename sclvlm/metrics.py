"""What one run shows, and what two runs on the same questions show: accuracy, transitions, paired statistics.

Shares are fractions in [0, 1], differences of shares lie in [-1, 1]. An unparsed response is a wrong one in
every accuracy, and its rate stands beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from math import sqrt
from statistics import NormalDist, fmean
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator
from scipy.special import bdtr

from sclvlm.errors import SclvlmError
from sclvlm.records import GradedTrace, GradedTurn, Transition, Verdict

ALPHA = 0.05
"""The level at which a difference is called one."""

POWER = 0.8
"""The chance of finding the minimum detectable effect."""

Which = Literal["first", "last"]
"""A turn of a trace: the initial answer, or the one the review ended with."""

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Finding(StrEnum):
    """What a difference amounts to. NOISE: its interval holds 0, or its p-value is not below ALPHA."""

    GAIN = "gain"
    LOSS = "loss"
    NOISE = "noise"


class Statistic(BaseModel):
    """A frozen set of figures that checks its own laws."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(Statistic):
    """`count` of `n` traces, the share, and its Wilson interval."""

    count: int
    n: int
    value: float
    interval: Interval


class TurnSummary(Statistic):
    """One turn of a run. A trace that ended before this turn counts with the verdict it ended with.

    mean_tokens: response length in tokens, over the traces that reached this turn.
    """

    accuracy: Rate
    unparsed: Rate
    mean_tokens: float


class RunSummary(Statistic):
    """One run of one model. Law: delta = delta_ic - delta_ci.

    delta, delta_ic, delta_ci: last accuracy minus first, and the shares of all traces that went from wrong to
    right and from right to wrong (Kumar et al., arXiv 2409.12917).
    confidence_level, critique_score: P(right last | right first) and P(right last | wrong first), None where
    no trace meets the condition; acc_last = acc_first * CL + (1 - acc_first) * CS (Yang et al., arXiv
    2412.19513).
    answer_changed: traces whose last answer differs from the first; unreadable twice is no change.
    """

    n: int
    turns: tuple[TurnSummary, ...]
    transitions: dict[Transition, int]
    delta: float
    delta_ic: float
    delta_ci: float
    confidence_level: float | None
    critique_score: float | None
    answer_changed: Rate

    @property
    def first(self) -> TurnSummary:
        """The initial answers."""
        return self.turns[0]

    @property
    def last(self) -> TurnSummary:
        """The answers the traces ended with."""
        return self.turns[-1]

    @model_validator(mode="after")
    def _delta_is_gains_minus_losses(self) -> Self:
        if abs(self.delta - (self.delta_ic - self.delta_ci)) > 1e-9:
            raise ValueError(f"delta must be {self.delta_ic} - {self.delta_ci}, got {self.delta}")
        return self


class Gain(Statistic):
    """Answers that became right, answers that stopped being right, and their balance as a share of all."""

    gained: int
    lost: int
    share: float


class Comparison(Statistic):
    """The same questions before and after. Law: difference = format.share + content.share.

    interval: paired bootstrap over clusters, percentile.
    p_value: exact McNemar, which takes questions for independent. `became_correct` and `became_wrong` are its
    discordant counts.
    standard_error: clustered; None with a single cluster. detectable: the smallest true difference that would
    be found with POWER at ALPHA; None where the differences show no spread.
    format: unparsed <-> correct. content: incorrect <-> correct.
    """

    n: int
    clusters: int
    before: Rate
    after: Rate
    difference: float
    interval: Interval
    p_value: float
    became_correct: int
    became_wrong: int
    standard_error: float | None
    detectable: float | None
    transitions: dict[Transition, int]
    format: Gain
    content: Gain
    finding: Finding

    @model_validator(mode="after")
    def _difference_is_format_and_content(self) -> Self:
        parts = self.format.share + self.content.share
        if abs(self.difference - parts) > 1e-9:
            raise ValueError(f"difference must be format + content = {parts}, got {self.difference}")
        return self


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
        answer_changed=_rate(changed, n, confidence),
    )


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

    clusters: sample id to cluster key (`Sample.cluster`); questions of one cluster are resampled together.
    Raises SclvlmError when there is no trace, when a trace stands twice, when the ids of the two runs differ,
    and when an id has no cluster.
    """
    pairs = _aligned(before, after)
    keys = _cluster_keys([trace.id for trace, _ in pairs], clusters)
    verdicts = [(turn_of(first, turn).verdict, turn_of(second, turn).verdict) for first, second in pairs]
    difference = np.array([_right(now) - _right(then) for then, now in verdicts], dtype=np.float64)  # (n,)
    sums, sizes = _cluster_totals(difference, keys)
    interval = _bootstrap(sums, sizes, resamples=resamples, confidence=confidence, seed=seed)
    error = _clustered_error(sums, sizes)
    return _comparison(verdicts, interval, error, clusters=len(sums), confidence=confidence)


def turn_of(trace: GradedTrace, which: Which) -> GradedTurn:
    """The first or the last turn of `trace`; the same one when it has only one."""
    return trace.turns[0 if which == "first" else -1]


def wilson(k: int, n: int, confidence: float = 0.95) -> Interval:
    """The score interval of a share of `k` in `n` (Wilson 1927, JASA 22:209). wilson(8, 10): 0.490, 0.943.

    Raises SclvlmError when n is 0.
    """
    if n == 0:
        raise SclvlmError("accuracy of nothing: an interval needs at least one answer, got n = 0.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = k / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # Rounding may leave the exact ends 0 and 1 on the wrong side of the share itself.
    return Interval(max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact p-value of `b` against `c` discordant pairs (McNemar 1947), symmetric; 1 without any.

    p = min(1, 2 P(X <= min(b, c))), X ~ Binomial(b + c, 1/2). mcnemar_exact(10, 2): 0.038574.
    """
    if b + c == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979, Scand. J. Statist. 6:65)."""
    adjusted = [0.0] * len(pvalues)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(pvalues)), key=pvalues.__getitem__)):
        running = max(running, (len(pvalues) - rank) * pvalues[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def _summarize_turns(graded: Sequence[GradedTrace], confidence: float) -> tuple[TurnSummary, ...]:
    depth = max(len(trace.turns) for trace in graded)
    return tuple(_summarize_turn(graded, index, confidence) for index in range(depth))


def _summarize_turn(graded: Sequence[GradedTrace], index: int, confidence: float) -> TurnSummary:
    verdicts = Counter(trace.turns[min(index, len(trace.turns) - 1)].verdict for trace in graded)
    return TurnSummary(
        accuracy=_rate(verdicts[Verdict.CORRECT], len(graded), confidence),
        unparsed=_rate(verdicts[Verdict.UNPARSED], len(graded), confidence),
        mean_tokens=fmean(trace.turns[index].num_tokens for trace in graded if index < len(trace.turns)),
    )


def _comparison(
    verdicts: Sequence[tuple[Verdict, Verdict]],
    interval: Interval,
    error: float | None,
    *,
    clusters: int,
    confidence: float,
) -> Comparison:
    n = len(verdicts)
    counts = Counter(Transition.between(then, now) for then, now in verdicts)
    transitions = {transition: counts[transition] for transition in Transition}
    gained, lost = transitions[Transition.IC], transitions[Transition.CI]
    p_value = mcnemar_exact(gained, lost)
    return Comparison(
        n=n,
        clusters=clusters,
        before=_rate(transitions[Transition.CC] + lost, n, confidence),
        after=_rate(transitions[Transition.CC] + gained, n, confidence),
        difference=(gained - lost) / n,
        interval=interval,
        p_value=p_value,
        became_correct=gained,
        became_wrong=lost,
        standard_error=error,
        detectable=_detectable(error),
        transitions=transitions,
        format=_gain(verdicts, Verdict.UNPARSED),
        content=_gain(verdicts, Verdict.INCORRECT),
        finding=_finding(interval, p_value),
    )


def _gain(verdicts: Sequence[tuple[Verdict, Verdict]], wrong: Verdict) -> Gain:
    gained = verdicts.count((wrong, Verdict.CORRECT))
    lost = verdicts.count((Verdict.CORRECT, wrong))
    return Gain(gained=gained, lost=lost, share=(gained - lost) / len(verdicts))


def _finding(interval: Interval, p_value: float) -> Finding:
    if p_value >= ALPHA or interval.low <= 0 <= interval.high:
        return Finding.NOISE
    return Finding.GAIN if interval.low > 0 else Finding.LOSS


def _aligned(before: Sequence[GradedTrace], after: Sequence[GradedTrace]) -> list[tuple[GradedTrace, GradedTrace]]:
    earlier, later = _by_key(before, "before"), _by_key(after, "after")
    if earlier.keys() != later.keys():
        raise SclvlmError(
            f"the two runs answer different questions: {_name(earlier.keys() - later.keys())} only before, "
            f"{_name(later.keys() - earlier.keys())} only after. Evaluate both models on the same samples, "
            "with the same limit and draws."
        )
    if not earlier:
        raise SclvlmError("accuracy of nothing: both runs are empty. Evaluate at least one question.")
    return [(earlier[key], later[key]) for key in sorted(earlier)]


def _by_key(graded: Sequence[GradedTrace], run: str) -> dict[tuple[str, int], GradedTrace]:
    traces = {trace.key: trace for trace in graded}
    if len(traces) != len(graded):
        twice = {key for key, count in Counter(trace.key for trace in graded).items() if count > 1}
        raise SclvlmError(f"the run {run} answers {_name(twice)} more than once. Keep one for each id and draw.")
    return traces


def _name(keys: Iterable[tuple[str, int]]) -> str:
    """How many keys, and the first few of them."""
    named = sorted(f"{sample}#{draw}" if draw else sample for sample, draw in keys)
    if not named:
        return "none"
    return f"{len(named)} ({', '.join(named[:3])}{', ...' if len(named) > 3 else ''})"


def _cluster_keys(ids: Sequence[str], clusters: Mapping[str, str]) -> list[str]:
    if missing := {(sample, 0) for sample in ids if sample not in clusters}:
        raise SclvlmError(f"no cluster for {_name(missing)}. Give the samples that the traces answer.")
    return [clusters[sample] for sample in ids]


def _cluster_totals(difference: Floats, keys: Sequence[str]) -> tuple[Floats, Floats]:
    """Sum of the differences, (K,), and number of questions, (K,), of each of the K clusters."""
    numbers: dict[str, int] = {}
    member = np.array([numbers.setdefault(key, len(numbers)) for key in keys])  # (n,)
    sums = np.bincount(member, weights=difference).astype(np.float64)
    sizes = np.bincount(member).astype(np.float64)
    return sums, sizes


def _bootstrap(sums: Floats, sizes: Floats, *, resamples: int, confidence: float, seed: int) -> Interval:
    """Percentile interval of sum(sums) / sum(sizes), clusters resampled (Field, Welsh 2007, JRSS-B 69:369).

    Clusters with equal totals are interchangeable, so a resample is one multinomial draw over the few
    distinct totals: the same distribution as drawing K clusters one by one, without a (R, K) array.
    A single cluster says nothing about others: the interval is then everything, [-1, 1].
    """
    if len(sums) < 2:
        return Interval(-1.0, 1.0)
    kinds, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)  # (T, 2), (T,)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(sums), counts / len(sums), size=resamples)  # (R, T)
    totals = drawn @ kinds  # (R, 2)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _clustered_error(sums: Floats, sizes: Floats) -> float | None:
    """Standard error of the mean difference with clusters (Miller, arXiv 2411.00640), times K/(K-1).

    With clusters of one it is the usual s / sqrt(n).
    """
    k = len(sums)
    if k < 2:
        return None
    residuals = sums - sizes * (sums.sum() / sizes.sum())  # (K,)
    return float(np.sqrt(k / (k - 1) * np.square(residuals).sum()) / sizes.sum())


def _detectable(error: float | None) -> float | None:
    """(z(1 - ALPHA/2) + z(POWER)) * error (Bloom 1995, Evaluation Review 19:547)."""
    if not error:
        return None
    return (NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(POWER)) * error


def _rate(count: int, n: int, confidence: float) -> Rate:
    return Rate(count=count, n=n, value=count / n, interval=wilson(count, n, confidence))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _right(verdict: Verdict) -> int:
    return int(verdict is Verdict.CORRECT)
