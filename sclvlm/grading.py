"""A response and the known answer: correct, incorrect, or unparsed. Needs no model, so it can be repeated."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

from sclvlm.answers import extract, normalise
from sclvlm.errors import SclvlmError
from sclvlm.prompts import MARKER, in_plain_marks
from sclvlm.records import AnswerKind, GradedTrace, GradedTurn, Sample, Trace, Transition, Turn, Verdict

T = TypeVar("T", bound=Trace)


class Grade(NamedTuple):
    """What was read out of a response, by which rule, and how it compares with the known answer."""

    answer: str | None
    method: str
    verdict: Verdict


FAILED = Grade(None, "error", Verdict.UNPARSED)
"""The grade of a turn that has no response."""


def grade(response: str, sample: Sample) -> Grade:
    """`response` against the known answer of `sample`; unparsed when no answer, or several, can be read.

    Raises SclvlmError for a sample of kind=number whose own answer is not a number.
    """
    choices = sample.labels if sample.kind is AnswerKind.CHOICE else None
    answer, method = extract(response, kind=sample.kind, choices=choices)
    known = accepted(sample)
    if answer is None:
        return Grade(None, method, Verdict.UNPARSED)
    return Grade(answer, method, Verdict.CORRECT if answer in known else Verdict.INCORRECT)


def grade_trace(trace: Trace, sample: Sample) -> GradedTrace:
    """`trace` with a grade on every turn; a turn that ended in an error is unparsed.

    Raises SclvlmError when `sample` is not the one the trace is about, and what `grade` raises.
    """
    if trace.id != sample.id:
        raise SclvlmError(f"trace {trace.id!r} cannot be graded by sample {sample.id!r}. Match them by id.")
    marker = trace.prompts.get("marker", MARKER)
    turns = tuple(_grade_turn(turn, sample, marker) for turn in trace.turns)
    transition = Transition.between(turns[0].verdict, turns[-1].verdict)
    kept = {name: getattr(trace, name) for name in Trace.model_fields if name != "turns"}
    return GradedTrace(**kept, turns=turns, transition=transition)


def questions(samples: Iterable[Sample], traces: Iterable[T], path: Path) -> Iterator[tuple[Sample, list[T]]]:
    """Each sample that `traces`, read from `path`, are about, and its draws; both stand in the same order.

    Raises SclvlmError for a trace of no sample, or out of their order.
    """
    left = iter(samples)
    for name, draws in groupby(traces, key=lambda trace: trace.id):
        sample = next((each for each in left if each.id == name), None)
        if sample is None:
            raise SclvlmError(
                f"{path}: trace {name!r} is about no sample, or stands out of their order. "
                "Grade it with the file it was made from."
            )
        yield sample, sorted(draws, key=lambda trace: trace.draw)


def _grade_turn(turn: Turn, sample: Sample, marker: str) -> GradedTurn:
    graded = FAILED if turn.finish_reason == "error" else grade(in_plain_marks(turn.said, marker), sample)
    return GradedTurn(**{name: getattr(turn, name) for name in Turn.model_fields}, **graded._asdict())


@functools.lru_cache(maxsize=1024)
def _accepted_values(kind: AnswerKind, texts: tuple[str, ...]) -> frozenset[str | None]:
    """The known answers, read as a response's marked ones are: cleaning changes both sides alike."""
    read = (extract(f"## {text} ##", kind=kind).value for text in texts)
    if kind is not AnswerKind.TEXT:
        return frozenset(read)
    return frozenset(value or normalise(text) for value, text in zip(read, texts, strict=True))


def accepted(sample: Sample) -> frozenset[str | None]:
    """The values that are right, as `extract` writes them. Raises SclvlmError as `grade` does."""
    if sample.kind in (AnswerKind.CHOICE, AnswerKind.YES_NO):
        return frozenset({sample.answer})
    if sample.kind is AnswerKind.TEXT:
        return _accepted_values(sample.kind, (sample.answer, *sample.answers))
    values = _accepted_values(sample.kind, (sample.answer,))
    if None in values:
        raise SclvlmError(
            f"sample {sample.id!r}: answer must be a number for kind=number, got {sample.answer!r}. "
            "Correct it, or give the sample kind=text."
        )
    return values
