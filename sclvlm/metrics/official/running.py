"""A graded run into official figures: which questions are judged together, by which metric, at which turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from sclvlm.errors import SclvlmError
from sclvlm.grading import FAILED, accepted
from sclvlm.metrics.figures import Which
from sclvlm.metrics.official.benchmarks import OFFICIAL, Answered
from sclvlm.metrics.official.groups import Figures
from sclvlm.metrics.summary import turn_of, turns_said
from sclvlm.prompts import MARKER
from sclvlm.records import GradedTrace, GradedTurn, Sample
from sclvlm.suites import benchmark_key, spelled_alike

UNSAID = GradedTurn(role="initial", prompt=[], response="", num_tokens=0, finish_reason="error", **FAILED._asdict())
"""The turn of a question that could not be answered."""


class Judged(NamedTuple):
    """Questions that are judged together: those of an entry of a suite (empty without one) that have one metric."""

    entry: str
    metric: str


def official_figures(
    graded: Iterable[GradedTrace],
    samples: Mapping[str, Sample],
    *,
    turn: Which = "last",
    benchmark: str | None = None,
) -> dict[str, Figures]:
    """The official figures of each benchmark in a run, under its `official_names`, at one turn; of draws their means.

    A sample names its benchmark in meta.benchmark; `benchmark` says it for all of them. Samples of no benchmark, or of
    one that has no official metric here, take no part. Groups that were asked in part (with a limit, say) count as what
    was asked of them, but for MME's images and MMEvalPro's triplets, whose size is known.
    Raises SclvlmError for a trace of no sample, and where a sample lacks what its metric needs.
    """
    draws: dict[Judged, dict[int, list[Answered]]] = {}
    for trace in graded:
        if trace.id not in samples:
            raise SclvlmError(f"trace {trace.id!r} is about no sample. Score it with the file it was made from.")
        sample = samples[trace.id]
        if (part := judged(sample, benchmark)) is not None:
            answered = Answered(sample, turn_of(trace, turn), trace.prompts.get("marker", MARKER))
            draws.setdefault(part, {}).setdefault(trace.draw, []).append(answered)
    names = official_names(draws)
    return {
        names[part]: _mean_of([OFFICIAL[part.metric](answered) for answered in draws[part].values()])
        for part in sorted(draws, key=names.__getitem__)
    }


def official_by_turn(graded: Sequence[GradedTrace], samples: Mapping[str, Sample]) -> dict[str, dict[str, Figures]]:
    """`official_figures` of the first turn and, where answers were reviewed, the last; empty where there are none."""
    found: dict[str, dict[str, Figures]] = {
        turn: official_figures(graded, samples, turn=turn) for turn in turns_said(graded)
    }
    return found if any(found.values()) else {}


def check_judged(sample: Sample) -> None:
    """Judge `sample` by no response at all. Raises SclvlmError for what its grade or its official metric lacks."""
    accepted(sample)
    if (part := judged(sample)) is not None:
        OFFICIAL[part.metric]([Answered(sample, UNSAID)])


def judged(sample: Sample, benchmark: str | None = None) -> Judged | None:
    """With which others a sample is judged; None where it is of no benchmark that has an official metric.

    benchmark: instead of its meta.benchmark.
    """
    metric = benchmark_key(benchmark or sample.meta.get("benchmark"))
    return Judged(str(sample.meta.get("suite") or ""), metric) if metric in OFFICIAL else None


def official_names(parts: Iterable[Judged]) -> dict[Judged, str]:
    """Under which name the figures of each part stand.

    The metric's own where there is no suite or the entry is called like it; else the entry's, with the metric behind it
    where the entry holds questions of several.
    """
    parts = list(parts)
    metrics = Counter(part.entry for part in parts)
    return {part: _name(part, alone=metrics[part.entry] == 1) for part in parts}


def _name(part: Judged, *, alone: bool) -> str:
    if not part.entry or spelled_alike(part.entry, part.metric):
        return part.metric
    return part.entry if alone else f"{part.entry}/{part.metric}"


def _mean_of(draws: Sequence[Figures]) -> Figures:
    names = dict.fromkeys(name for figures in draws for name in figures)
    return {name: fmean(figures[name] for figures in draws if name in figures) for name in names}
