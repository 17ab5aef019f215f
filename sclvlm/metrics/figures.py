"""What the statistics say: frozen sets of figures that check their own laws.

Shares are fractions in [0, 1], differences of shares lie in [-1, 1]. An unparsed response is a wrong one in
every accuracy, and its rate stands beside it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, model_validator

from sclvlm.records import Transition

ALPHA = 0.05
"""The level at which a difference is called one."""

FEWEST = 6
"""Clusters that it takes to find a difference: by their signs K make no p-value below 2 / 2^K, 0.0625 with five."""

POWER = 0.8
"""The chance of finding the minimum detectable effect."""

Which = Literal["first", "last"]
"""A turn of a trace: the initial answer, or the one the review ended with."""


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

    interval: paired bootstrap over clusters, percentile; everything, [-1, 1], with fewer than FEWEST clusters.
    p_value: exact sign-flip test over clusters; with one question in each it is McNemar's exact test.
    mcnemar: McNemar's exact p-value, which takes all questions for independent. `became_correct` and `became_wrong` are
    its discordant counts.
    standard_error: clustered; None with a single cluster. detectable: the smallest true difference that would
    be found with POWER at ALPHA; None where the differences show no spread, or clusters are fewer than FEWEST.
    format: unparsed <-> correct. content: incorrect <-> correct.
    """

    n: int
    clusters: int
    before: Rate
    after: Rate
    difference: float
    interval: Interval
    p_value: float
    mcnemar: float | None = None
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


class ScoreComparison(Statistic):
    """The same questions before and after, each answer with a score of its own (VQA accuracy, ANLS).

    before, after: mean scores. interval: paired bootstrap over clusters, percentile; None with fewer than FEWEST
    clusters, for scores have no range of their own. p_value: sign-flip test over clusters, of many by Student's t with
    the clustered standard error. The rest as in `Comparison`.
    """

    n: int
    clusters: int
    before: float
    after: float
    difference: float
    interval: Interval | None
    p_value: float
    standard_error: float | None
    detectable: float | None
    finding: Finding


class NoiseFloor(Statistic):
    """Two runs of one model that differ in nothing but the seed: how far apart chance alone sets them.

    difference: accuracy of the second less that of the first. flips: questions whose verdict differs.
    standard_error: of a difference between two such runs, clustered; its true mean is known to be 0.
    bound: what |difference| stays below in 1 - ALPHA of such pairs of runs.
    """

    n: int
    difference: float
    flips: Rate
    standard_error: float
    bound: float

    def covers(self, difference: float) -> bool:
        """Whether `difference` is no larger than another seed alone would make it."""
        return abs(difference) <= self.bound
