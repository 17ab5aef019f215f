"""Geometry of the charts: where marks stand, in percent of their track's width. The template draws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor
from typing import NamedTuple

from sclvlm.metrics import Comparison, Interval, Which
from sclvlm.reporting.overview import Against, Compared, Overview
from sclvlm.reporting.schema import Curve, Report, Slice

SPARE = 4.0
"""Free width at both ends of a track, in percent, so that marks and tick labels there are not cut."""


class Mark(NamedTuple):
    """A value with its interval, on a track."""

    x: float
    low: float
    high: float


class Tick(NamedTuple):
    """A grid line. value: in the unit of the chart."""

    x: float
    value: float


class Row(NamedTuple):
    """One line of a chart: a slice at a turn."""

    part: Slice
    turn: Which
    marks: tuple[Mark, ...]


class Chart(NamedTuple):
    """Rows over one scale."""

    ticks: tuple[Tick, ...]
    rows: tuple[Row, ...]


class Group(NamedTuple):
    """A slice with a mark for every run."""

    part: Compared
    marks: tuple[tuple[Against, Mark], ...]


class Forest(NamedTuple):
    """Groups over one scale."""

    turn: Which
    ticks: tuple[Tick, ...]
    groups: tuple[Group, ...]


class Line(NamedTuple):
    """A training curve in a box of 100 by 100, y downwards. points: an SVG points attribute."""

    curve: Curve
    points: str


class Scale(NamedTuple):
    """Values from `low` to `high` onto a track, with grid lines at multiples of `step`."""

    low: float
    high: float
    step: float

    def x(self, value: float) -> float:
        """Position of `value`, in percent of the track."""
        share = (value - self.low) / (self.high - self.low)
        return round(SPARE + (100 - 2 * SPARE) * share, 3)

    def mark(self, value: float, interval: Interval) -> Mark:
        """Position of `value` and of the ends of `interval`, cut at the ends of the scale."""
        ends = (self.x(min(max(end, self.low), self.high)) for end in interval)
        return Mark(self.x(value), *ends)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """The grid lines."""
        count = round((self.high - self.low) / self.step)
        values = (self.low + self.step * index for index in range(count + 1))
        return tuple(Tick(self.x(value), round(value, 6)) for value in values)


def scale_over(values: Iterable[float], *, least: float, most: float) -> Scale:
    """A scale that holds all `values` within [least, most], in two to six round steps."""
    held = list(values)
    low, high = min(held), max(held)
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 4), 0.5)
    start = max(least, floor(low / step + 1e-9) * step)
    end = min(most, ceil(high / step - 1e-9) * step)
    if end - start < step:
        start = max(least, end - step)
    return Scale(start, max(end, start + step), step)


def accuracy_chart(report: Report) -> Chart:
    """Accuracy before and after, all questions and the kinds of answers apart, at each turn."""
    chosen = [(part, turn) for part in report.overall for turn in report.turns]
    rates = [(part.comparison(turn).before, part.comparison(turn).after) for part, turn in chosen]
    scale = scale_over((end for pair in rates for rate in pair for end in rate.interval), least=0, most=1)
    rows = (
        Row(part, turn, tuple(scale.mark(rate.value, rate.interval) for rate in pair))
        for (part, turn), pair in zip(chosen, rates, strict=True)
    )
    return Chart(scale.ticks, tuple(rows))


def difference_chart(report: Report, turn: Which) -> Chart:
    """After minus before of every slice, at one turn."""
    found = [(part, part.comparison(turn)) for part in report.slices]
    scale = _about_zero(one for _, one in found)
    rows = (Row(part, turn, (scale.mark(one.difference, one.interval),)) for part, one in found)
    return Chart(scale.ticks, tuple(rows))


def forest_chart(overview: Overview, turn: Which) -> Forest:
    """Every run minus the reference, by slice, at one turn."""
    found = [(part, part.at(turn)) for part in overview.shown]
    scale = _about_zero(one.comparison for _, runs in found for one in runs)
    groups = (
        Group(part, tuple((one, scale.mark(one.comparison.difference, one.comparison.interval)) for one in runs))
        for part, runs in found
    )
    return Forest(turn, scale.ticks, tuple(groups))


def _about_zero(found: Iterable[Comparison]) -> Scale:
    """A scale that holds all intervals and zero: the reader asks on which side of it an interval lies."""
    return scale_over([0.0, *(end for one in found for end in one.interval)], least=-1, most=1)


def training_lines(curves: Sequence[Curve]) -> tuple[Line, ...]:
    """The curves that hold a value, each over its own range."""
    return tuple(Line(curve, _points(curve)) for curve in curves if curve.values)


def _points(curve: Curve) -> str:
    least, most = curve.range
    first, last = curve.steps[0], curve.steps[-1]
    across, up = max(last - first, 1), (most - least) or 1.0
    return " ".join(
        f"{100 * (step - first) / across:.2f},{95 - 90 * (value - least) / up:.2f}"
        for step, value in zip(curve.steps, curve.values, strict=True)
    )
