"""The benchmarks' own figures, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sclvlm.metrics import Which
from sclvlm.metrics.official import in_points, judged, official_figures, official_names
from sclvlm.records import GradedTrace, Sample
from sclvlm.reporting.schema import OfficialRow

SLICED = "category/"
"""What these figures begin with stands among the report's slices already."""


def benchmark_of(sample: Sample) -> str:
    """The benchmark a sample is of, as its suite calls it; empty for none."""
    return str(sample.meta.get("suite") or sample.meta.get("benchmark") or "")


def official_rows(
    samples: Mapping[str, Sample], before: Sequence[GradedTrace], after: Sequence[GradedTrace]
) -> tuple[OfficialRow, ...]:
    """A row for each official figure of the benchmarks, or entries of a suite, that the samples name.

    Raises what `official_figures` raises.
    """
    turns: tuple[Which, ...] = ("first", "last") if any(len(t.turns) > 1 for t in (*before, *after)) else ("first",)
    parts = dict.fromkeys(part for sample in samples.values() if (part := judged(sample)) is not None)
    metrics = {name: part.metric for part, name in official_names(parts).items()}
    earlier, later = ([official_figures(run, samples, turn=turn) for turn in turns] for run in (before, after))
    return tuple(
        OfficialRow(
            benchmark=benchmark,
            figure=figure,
            in_points=in_points(metrics[benchmark]),
            before=tuple(found[benchmark].get(figure) for found in earlier),
            after=tuple(found[benchmark].get(figure) for found in later),
        )
        for benchmark, figures in earlier[0].items()
        for figure in figures
        if not figure.startswith(SLICED)
    )
