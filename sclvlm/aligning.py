"""Whether several runs were asked the same questions, and what of their answers can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sclvlm.errors import SclvlmError
from sclvlm.preflight import read_samples
from sclvlm.records import GradedTrace, Sample
from sclvlm.storage import read_records
from sclvlm.viewing.sources import Source

ASKED = ("kind", "question", "choices", "answer", "answers", "hint")
"""What makes two samples one question. Pictures lie where each run has them."""


class Side(NamedTuple):
    """The answers of a run, and the questions they answer."""

    name: str
    graded: list[GradedTrace]
    samples: dict[str, Sample]

    @property
    def ids(self) -> set[str]:
        """The questions that were asked."""
        return set(self.samples)

    def among(self, ids: set[str]) -> Side:
        """The same of these questions alone."""
        kept = {name: sample for name, sample in self.samples.items() if name in ids}
        return Side(self.name, [trace for trace in self.graded if trace.id in ids], kept)


def read_side(name: str, source: Source) -> Side:
    """The answers in the file of `source`. Raises SclvlmError where its samples lack a question that was answered."""
    graded = list(read_records(source.traces, GradedTrace))
    answered = {trace.id for trace in graded}
    samples = {sample.id: sample for sample in read_samples(str(source.samples)) if sample.id in answered}
    if missing := answered - samples.keys():
        raise SclvlmError(
            f"{source.samples}: lacks questions that {source.traces} answers: {_some(missing)}. "
            "Name the samples file that was asked: data.test=FILE."
        )
    return Side(name, graded, samples)


class Aligned(NamedTuple):
    """Answers to the same questions, and what a reader must know about which these are."""

    sides: list[Side]
    notes: list[str]


def align(sides: Sequence[Side], *, shared: bool) -> Aligned:
    """The answers to questions that all `sides` were asked.

    Raises SclvlmError where they were asked different ones, unless `shared`; where they share none; and where one id
    stands for two questions.
    """
    common = set.intersection(*(side.ids for side in sides))
    reference, *others = sides
    for other in others:
        if not shared:
            _check_ids(reference, other)
        _check_questions(reference, other, common)
    if not common:
        raise SclvlmError(f"{_listed(sides)} share no question. Evaluate them on the same data.test.")
    if all(side.ids == common for side in sides):
        return Aligned(list(sides), [])
    return Aligned([side.among(common) for side in sides], [_note(sides, common)])


def _check_ids(reference: Side, other: Side) -> None:
    if reference.ids != other.ids:
        raise SclvlmError(
            f"{reference.name} and {other.name} were asked different questions: "
            f"only {reference.name} {_some(reference.ids - other.ids)}; "
            f"only {other.name} {_some(other.ids - reference.ids)}. "
            "To compare them on the questions that both were asked: --shared."
        )


def _check_questions(reference: Side, other: Side, common: set[str]) -> None:
    for name in sorted(common):
        one, two = reference.samples[name], other.samples[name]
        for field in ASKED:
            if getattr(one, field) != getattr(two, field):
                raise SclvlmError(
                    f"question {name!r} is not the same in both runs: its {field} is {getattr(one, field)!r} in "
                    f"{reference.name} and {getattr(two, field)!r} in {other.name}. Evaluate both on one samples file; "
                    "where only its answers were mended since, judge again: `sclvlm evaluate CONFIG --rescore`."
                )


def _note(sides: Sequence[Side], common: set[str]) -> str:
    asked = ", ".join(f"{len(side.ids):,} by {side.name}" for side in sides)
    return f"Compared are the {len(common):,} questions that all were asked, of those answered: {asked}."


def _listed(sides: Iterable[Side]) -> str:
    return " and ".join(side.name for side in sides)


def _some(ids: set[str]) -> str:
    """How many, and the first few of them."""
    if not ids:
        return "none"
    return f"{len(ids):,} ({', '.join(sorted(ids)[:3])}{', ...' if len(ids) > 3 else ''})"
