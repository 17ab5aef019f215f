"""The questions in slices, chosen before looking or many; each measured in both runs, p-values adjusted by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple, get_args

from sclvlm.errors import SclvlmError
from sclvlm.metrics import (
    ALPHA,
    Comparison,
    Finding,
    NoiseFloor,
    RunSummary,
    Which,
    compare,
    holm,
    noise_floor,
    summarize,
)
from sclvlm.records import AnswerKind, GradedTrace, Sample
from sclvlm.reporting.official import benchmark_of
from sclvlm.reporting.schema import Settings, Slice, SliceKind

OPEN, YES_NO, ALL = "open", "yes/no", "all"

PLANNED = (SliceKind.ALL, SliceKind.FAMILY)
"""The slices that every report has, chosen before looking."""

Chosen = Callable[[Sample], bool]


class Part(NamedTuple):
    """Some of the questions, by a name."""

    name: str
    kind: SliceKind
    holds: Chosen


class Answers(NamedTuple):
    """The first draws of both runs, and of a repeat of the one before with another seed, if there is one."""

    before: Sequence[GradedTrace]
    after: Sequence[GradedTrace]
    repeat: Sequence[GradedTrace] | None = None


class _Measured(NamedTuple):
    part: Part
    before: RunSummary
    after: RunSummary
    first: Comparison
    last: Comparison
    floor_first: NoiseFloor | None
    floor_last: NoiseFloor | None


def slices_of(
    samples: Mapping[str, Sample], answers: Answers, further: Mapping[str, Chosen], settings: Settings
) -> tuple[list[Part], list[Slice]]:
    """The parts of the questions, and each measured. further: slices of the caller, by name."""
    parts = [*_standard_parts(samples), *_custom_parts(further)]
    return parts, _adjusted([_measure(part, samples, answers, settings) for part in parts])


def _standard_parts(samples: Mapping[str, Sample]) -> list[Part]:
    parts = [Part(ALL, SliceKind.ALL, lambda _: True)]
    if len({_is_open(sample) for sample in samples.values()}) == 2:
        parts.append(Part(OPEN, SliceKind.FAMILY, _is_open))
        parts.append(Part(YES_NO, SliceKind.FAMILY, lambda sample: not _is_open(sample)))
    parts += _benchmark_parts(samples)
    return parts + _category_parts(parts, samples)


def _benchmark_parts(samples: Mapping[str, Sample]) -> list[Part]:
    """A part for each benchmark of a suite."""
    names = dict.fromkeys(benchmark_of(sample) for sample in samples.values())
    return [_benchmark_part(name) for name in names] if len(names) > 1 else []


def _benchmark_part(name: str) -> Part:
    return Part(name or "(none)", SliceKind.BENCHMARK, lambda sample: benchmark_of(sample) == name)


def _category_parts(others: Sequence[Part], samples: Mapping[str, Sample]) -> list[Part]:
    """A part for each category, but for one that holds the same questions as another part."""
    members: dict[tuple[str, str], set[str]] = {}
    for sample in samples.values():
        members.setdefault((benchmark_of(sample), sample.category), set()).add(sample.id)
    several = len({benchmark for benchmark, _ in members}) > 1
    known = [{s.id for s in samples.values() if part.holds(s)} for part in others]
    return [_category_part(*key, several=several) for key in sorted(members) if members[key] not in known]


def _is_open(sample: Sample) -> bool:
    return sample.kind is not AnswerKind.YES_NO


def _category_part(benchmark: str, category: str, *, several: bool) -> Part:
    name = category or "(none)"
    return Part(
        f"{benchmark or '(none)'}: {name}" if several else name,
        SliceKind.CATEGORY,
        lambda sample: (benchmark_of(sample), sample.category) == (benchmark, category),
    )


def _custom_parts(slices: Mapping[str, Chosen]) -> list[Part]:
    if taken := slices.keys() & {ALL, OPEN, YES_NO}:
        raise SclvlmError(f"slice {min(taken)!r} is one of the report's own. Give yours another name.")
    return [Part(name, SliceKind.CUSTOM, holds) for name, holds in slices.items()]


def _measure(part: Part, samples: Mapping[str, Sample], answers: Answers, settings: Settings) -> _Measured:
    chosen = {name: sample for name, sample in samples.items() if part.holds(sample)}
    if not chosen and part.kind is SliceKind.CUSTOM:
        raise SclvlmError(f"slice {part.name!r} holds no question that was answered. Remove it.")
    outside = samples.keys() - chosen.keys()
    earlier, later, repeated = (_without(run, outside) for run in answers)
    clusters = {name: sample.cluster for name, sample in chosen.items()}
    options = settings.model_dump()
    return _Measured(
        part,
        summarize(earlier, confidence=settings.confidence),
        summarize(later, confidence=settings.confidence),
        compare(earlier, later, clusters, turn="first", **options),
        compare(earlier, later, clusters, turn="last", **options),
        *(_floor(earlier, repeated, clusters, turn, settings) for turn in get_args(Which)),
    )


def _without(run: Sequence[GradedTrace] | None, outside: Set[str]) -> list[GradedTrace]:
    return [trace for trace in run or () if trace.id not in outside]


def _floor(
    run: Sequence[GradedTrace],
    repeat: Sequence[GradedTrace],
    clusters: Mapping[str, str],
    turn: Which,
    settings: Settings,
) -> NoiseFloor | None:
    return noise_floor(run, repeat, clusters, turn=turn, confidence=settings.confidence) if repeat else None


def _adjusted(measured: Sequence[_Measured]) -> list[Slice]:
    """The slices. Those that were not chosen beforehand get p-values adjusted over their kind."""
    slices = [_slice(one, None, None) for one in measured if one.part.kind in PLANNED]
    for kind in (SliceKind.BENCHMARK, SliceKind.CATEGORY, SliceKind.CUSTOM):
        alike = [one for one in measured if one.part.kind is kind]
        first = holm([one.first.p_value for one in alike])
        last = holm([one.last.p_value for one in alike])
        slices.extend(_slice(*one) for one in zip(alike, first, last, strict=True))
    return slices


def _slice(one: _Measured, holm_first: float | None, holm_last: float | None) -> Slice:
    return Slice(
        name=one.part.name,
        kind=one.part.kind,
        before=one.before,
        after=one.after,
        first=one.first,
        last=one.last,
        holm_first=holm_first,
        holm_last=holm_last,
        finding_first=judged(one.first, holm_first, one.floor_first),
        finding_last=judged(one.last, holm_last, one.floor_last),
        floor_first=one.floor_first,
        floor_last=one.floor_last,
    )


def judged(comparison: Comparison, adjusted: float | None, floor: NoiseFloor | None) -> Finding:
    """What a difference amounts to, with its p-value adjusted and with what another seed does, where they are known."""
    if adjusted is not None and adjusted >= ALPHA:
        return Finding.NOISE
    return Finding.NOISE if floor is not None and floor.covers(comparison.difference) else comparison.finding
