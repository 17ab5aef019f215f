"""What a report holds: everything that report.md and report.html show. `report.json` is its dump."""

from __future__ import annotations

from enum import StrEnum
from math import nan
from typing import Any, Literal

from sclvlm.audit import Audit
from sclvlm.metrics import Comparison, Finding, NoiseFloor, Rate, RunSummary, Statistic, Which
from sclvlm.records import LETTERS, Verdict
from sclvlm.reporting.movements import Flow, Shift

Names = tuple[str, str]
"""What the two runs of a report are called."""

BEFORE_AFTER: Names = ("before", "after")


class SliceKind(StrEnum):
    """Why a slice is there: every question, its kind of answer, its benchmark, its category, or the caller asked."""

    ALL = "all"
    FAMILY = "family"
    BENCHMARK = "benchmark"
    CATEGORY = "category"
    CUSTOM = "custom"


class Slice(Statistic):
    """Some of the questions: both runs, and their comparison at the first and at the last turn.

    holm_first, holm_last: p-values adjusted over the slices of the same kind; None for all questions and
    for the kinds of answers, which were chosen beforehand. A finding goes by the adjusted p-value if any.
    floor_first, floor_last: what another seed does to the run before, where a repeat was given; a difference that it
    covers is within noise.
    """

    name: str
    kind: SliceKind
    before: RunSummary
    after: RunSummary
    first: Comparison
    last: Comparison
    holm_first: float | None
    holm_last: float | None
    finding_first: Finding
    finding_last: Finding
    floor_first: NoiseFloor | None = None
    floor_last: NoiseFloor | None = None

    def comparison(self, turn: Which) -> Comparison:
        """Before against after at `turn`."""
        return self.first if turn == "first" else self.last

    def holm(self, turn: Which) -> float | None:
        """The adjusted p-value at `turn`."""
        return self.holm_first if turn == "first" else self.holm_last

    def finding(self, turn: Which) -> Finding:
        """What the difference at `turn` amounts to."""
        return self.finding_first if turn == "first" else self.finding_last

    def floor(self, turn: Which) -> NoiseFloor | None:
        """What another seed does at `turn`."""
        return self.floor_first if turn == "first" else self.floor_last


class Headline(Statistic):
    """The one comparison that was chosen before looking, and what it says in a sentence."""

    slice: str
    turn: Which
    finding: Finding
    sentence: str


class Noise(Statistic):
    """What a repeat with another seed says about the headline. repeat: its name. The floors stand in the slices."""

    repeat: str
    sentence: str


class Curve(Statistic):
    """One quantity along the training steps. dropped: entries that were not finite numbers."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    dropped: int

    @property
    def ends(self) -> tuple[float, ...]:
        """First and last value, NaN when there is none."""
        return (self.values[0], self.values[-1]) if self.values else (nan, nan)

    @property
    def range(self) -> tuple[float, ...]:
        """Least and greatest value, NaN when there is none."""
        return (min(self.values), max(self.values)) if self.values else (nan, nan)


class Learning(Statistic):
    """What the run called `run` learned from, and how its training went; what is not known is None or empty."""

    run: str
    pair_counts: dict[str, int] | None
    audit: Audit | None
    training: tuple[Curve, ...]


class Shown(Statistic):
    """A full response with what was read out of it."""

    response: str
    answer: str | None
    verdict: Verdict


class Example(Statistic):
    """A question whose first answer changed between right and wrong. images: paths."""

    id: str
    change: Literal["gain", "loss"]
    category: str
    question: str
    choices: tuple[str, ...]
    gold: tuple[str, ...]
    images: tuple[str, ...]
    before: Shown
    after: Shown

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """Letter and text of each choice."""
        return tuple(zip(LETTERS, self.choices, strict=False))


class Gallery(Statistic):
    """Examples drawn at random, gains and losses in proportion to how many there are of each."""

    gains: int
    losses: int
    examples: tuple[Example, ...]


class OptionShares(Statistic):
    """How often an option was chosen, of all first answers, or a rule has read them. option: its text or name."""

    option: str
    before: Rate
    after: Rate


class OfficialRow(Statistic):
    """One figure of a benchmark's own metric, a value for each of the report's turns; None where there is none.

    in_points: the values are points of the benchmark, not shares of 1.
    """

    benchmark: str
    figure: str
    in_points: bool
    before: tuple[float | None, ...]
    after: tuple[float | None, ...]


class Settings(Statistic):
    """How the intervals were made."""

    resamples: int
    confidence: float
    seed: int


class Report(Statistic):
    """Two runs on the same questions: before and after training, or any two, which `names` then tells apart.

    learned: pairs and training of each where two runs are compared; those of a single run stand in `pair_counts`,
    `audit` and `training`.
    In memory `gallery` names images by absolute path, in report.json relative to its folder.
    """

    schema_version: Literal[1] = 1
    title: str
    names: Names = BEFORE_AFTER
    headline: Headline
    noise: Noise | None = None
    notes: tuple[str, ...]
    settings: Settings
    slices: tuple[Slice, ...]
    options: tuple[OptionShares, ...] = ()
    readings: tuple[OptionShares, ...] = ()
    official: tuple[OfficialRow, ...] = ()
    flows: tuple[Flow, ...] = ()
    shifts: tuple[Shift, ...] = ()
    pair_counts: dict[str, int] | None
    audit: Audit | None = None
    training: tuple[Curve, ...]
    learned: tuple[Learning, ...] = ()
    gallery: Gallery
    provenance: dict[str, Any]

    @property
    def main(self) -> Slice:
        """The slice of the headline."""
        return next(part for part in self.slices if part.name == self.headline.slice)

    @property
    def turns(self) -> tuple[Which, ...]:
        """First and last, or the first alone when nothing was reviewed."""
        reviewed = any(len(run.turns) > 1 for part in self.slices for run in (part.before, part.after))
        return ("first", "last") if reviewed else ("first",)

    @property
    def learning(self) -> tuple[Learning, ...]:
        """What was learned from, by run; the one run of a report before and after training has no name here."""
        own = Learning(run="", pair_counts=self.pair_counts, audit=self.audit, training=self.training)
        return self.learned or (own,)

    @property
    def overall(self) -> tuple[Slice, ...]:
        """All questions, and the kinds of answers apart."""
        return tuple(part for part in self.slices if part.kind in (SliceKind.ALL, SliceKind.FAMILY))
