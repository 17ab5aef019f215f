"""How far a conclusion depends on the reader: re-grades traces under ours and under stricter and looser ones.

    python -m benchmarks.compare_extractors samples.jsonl graded.jsonl             # first turn, last turn
    python -m benchmarks.compare_extractors samples.jsonl before.jsonl after.jsonl  # before, after, of --turn

The files hold traces, graded or not; nothing is generated. For each reader are printed both accuracies (unreadable
counts as wrong), their difference with its 95 % interval (paired bootstrap over pictures or groups) and p (exact
sign-flip test over these), the shares that it could not read, and on how many answers it and ours disagree. A gain or a
loss is what reports call one: an interval that leaves out 0, and p below 0.05.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from benchmarks.parsers import OURS, PARSERS, Reader
from sclvlm.errors import SclvlmError
from sclvlm.grading import accepted
from sclvlm.metrics import ALPHA, Interval, sign_flip_exact
from sclvlm.metrics.resampling import EVERYTHING, Clusters, bootstrap_interval, clustered
from sclvlm.prompts import MARKER, in_plain_marks
from sclvlm.records import GradedTrace, Sample, Trace
from sclvlm.storage import read_records

RESAMPLES, SEED = 10_000, 0


class Answered(NamedTuple):
    """A question and what was said to it, before and after."""

    sample: Sample
    before: str
    after: str


class Row(NamedTuple):
    """What one reader makes of all answers. Shares in [0, 1]; interval: 95 %."""

    reader: str
    before: float
    after: float
    low: float
    high: float
    p_value: float
    unread_before: float
    unread_after: float
    disagreements: int

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before


Turn = Literal["first", "last"]


def said(trace: Trace, turn: Turn) -> str:
    """The response of a turn, its answer between the marks that readers know; nothing where it ended in an error."""
    found = trace.turns[0 if turn == "first" else -1]
    marker = trace.prompts.get("marker", MARKER)
    return "" if found.finish_reason == "error" else in_plain_marks(found.response, marker)


def traces(path: Path) -> Iterator[Trace]:
    """The traces of a file of graded or of ungraded ones."""
    with path.open(encoding="utf-8") as lines:
        graded = '"transition"' in lines.readline()
    return read_records(path, GradedTrace if graded else Trace)


def turns_of(samples: Mapping[str, Sample], path: Path) -> Iterator[Answered]:
    """First and last turn of each trace."""
    for trace in traces(path):
        yield Answered(_sample(samples, trace, path), said(trace, "first"), said(trace, "last"))


def paired(samples: Mapping[str, Sample], before: Path, after: Path, turn: Turn) -> Iterator[Answered]:
    """The same questions before and after, matched by id and draw. Raises SclvlmError where they don't match."""
    earlier = {trace.key: said(trace, turn) for trace in traces(before)}
    for trace in traces(after):
        if trace.key not in earlier:
            raise SclvlmError(
                f"{after}: trace {trace.id!r}, draw {trace.draw}, is not in {before}. Compare equal runs."
            )
        yield Answered(_sample(samples, trace, after), earlier.pop(trace.key), said(trace, turn))
    if earlier:
        key = next(iter(earlier))
        raise SclvlmError(f"{before}: trace {key[0]!r}, draw {key[1]}, is not in {after}. Compare equal runs.")


def _sample(samples: Mapping[str, Sample], trace: Trace, path: Path) -> Sample:
    if trace.id not in samples:
        raise SclvlmError(f"{path}: trace {trace.id!r} has no sample. Give the samples that the traces were made from.")
    return samples[trace.id]


def compare(answered: Sequence[Answered]) -> list[Row]:
    """A row for each reader, ours first."""
    readings = {
        name: [(_read(read, each.sample, each.before), _read(read, each.sample, each.after)) for each in answered]
        for name, read in PARSERS.items()
    }
    return [row(name, answered, found, readings[OURS]) for name, found in readings.items()]


Readings = Sequence[tuple[str | None, str | None]]


def row(name: str, answered: Sequence[Answered], found: Readings, ours: Readings) -> Row:
    """What one reader's values come to."""
    known = [accepted(each.sample) for each in answered]
    right = np.array(
        [[value in values for value in pair] for pair, values in zip(found, known, strict=True)], dtype=float
    )
    unread = np.array([[value is None for value in pair] for pair in found], dtype=float)
    changes = clustered(right[:, 1] - right[:, 0], [each.sample.cluster for each in answered])
    p_value = sign_flip_exact(changes.sums)
    disagreements = sum(a != b for pairs in zip(found, ours, strict=True) for a, b in zip(*pairs, strict=True))
    return Row(
        name, *right.mean(axis=0).tolist(), *interval(changes), p_value, *unread.mean(axis=0).tolist(), disagreements
    )


def interval(changes: Clusters) -> Interval:
    """The 95 % percentile bootstrap interval of the mean change, clusters resampled whole."""
    return bootstrap_interval(changes, resamples=RESAMPLES, confidence=0.95, seed=SEED) or EVERYTHING


def _read(read: Reader, sample: Sample, text: str) -> str | None:
    return read(text, sample.kind, sample.labels)


def table(rows: Sequence[Row]) -> str:
    """The rows, in percent and points, and whether all readers tell the same story."""
    head = ("reader", "before", "after", "difference", "95 %", "p", "unread before", "unread after", "other than ours")
    cells = [
        (
            row.reader,
            f"{row.before:.1%}",
            f"{row.after:.1%}",
            f"{100 * row.difference:+.1f}",
            f"[{100 * row.low:+.1f}, {100 * row.high:+.1f}]",
            "< 0.001" if row.p_value < 0.001 else f"{row.p_value:.3f}",
            f"{row.unread_before:.1%}",
            f"{row.unread_after:.1%}",
            str(row.disagreements),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(width) for c, width in zip(line[1:], widths[1:], strict=True))])
        for line in (head, *cells)
    ]
    return "\n".join([*lines, "", verdict(rows)])


def verdict(rows: Sequence[Row]) -> str:
    """In words: does what was found depend on the reader?"""
    signs = {row.reader: (row.p_value < ALPHA) * ((row.low > 0) - (row.high < 0)) for row in rows}
    words = {1: "a gain", -1: "a loss", 0: "noise"}
    if len(set(signs.values())) == 1:
        return f"Every reader finds {words[signs[rows[0].reader]]}."
    other = [f"{name} {words[sign]}" for name, sign in signs.items() if sign != signs[OURS]]
    return f"The conclusion depends on the reader: ours finds {words[signs[OURS]]}, {', '.join(other)}."


def main(samples: Path, before: Path, after: Path | None, turn: Turn) -> str:
    """Read, re-grade, tell. Raises SclvlmError for files without traces, and for what doesn't match."""
    known = {sample.id: sample for sample in read_records(samples, Sample)}
    answered = list(turns_of(known, before) if after is None else paired(known, before, after, turn))
    if not answered:
        raise SclvlmError(f"{after or before}: expected traces, found none. Give a traces.jsonl or graded.jsonl.")
    return table(compare(answered))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("before", type=Path, help="traces; alone, its first and last turns are compared")
    parser.add_argument("after", type=Path, nargs="?")
    parser.add_argument("--turn", choices=("first", "last"), default="last")
    arguments = parser.parse_args()
    try:
        print(main(**vars(arguments)))
    except (SclvlmError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
