"""Two graded runs on the same questions into one Report."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic_core import to_jsonable_python

from sclvlm.audit import Audit
from sclvlm.errors import SclvlmError
from sclvlm.metrics import ALPHA, Comparison, Finding, RunSummary, compare, holm, summarize
from sclvlm.records import AnswerKind, GradedTrace, GradedTurn, Sample, Transition
from sclvlm.reporting.movements import flows_of, shifts_of
from sclvlm.reporting.official import benchmark_of, official_rows
from sclvlm.reporting.options import option_shares, reading_shares
from sclvlm.reporting.schema import (
    Curve,
    Example,
    Gallery,
    Headline,
    Report,
    Settings,
    Shown,
    Slice,
    SliceKind,
)
from sclvlm.reporting.wording import headline_sentence

OPEN, YES_NO, ALL = "open", "yes/no", "all"

PLANNED = (SliceKind.ALL, SliceKind.FAMILY)
"""The slices that every report has, chosen before looking."""

CURVES = (
    "loss",
    "eval_loss",
    "eval_rewards/accuracies",
    "eval_exact",
    "rewards/margins",
    "rewards/accuracies",
    "rewards/chosen",
    "rewards/rejected",
    "kl",
)

Chosen = Callable[[Sample], bool]


class _Part(NamedTuple):
    name: str
    kind: SliceKind
    holds: Chosen


class _Measured(NamedTuple):
    part: _Part
    before: RunSummary
    after: RunSummary
    first: Comparison
    last: Comparison


def build_report(
    *,
    title: str,
    samples: Mapping[str, Sample],
    before: Sequence[GradedTrace],
    after: Sequence[GradedTrace],
    pair_counts: dict[str, int] | None = None,
    audit: Audit | None = None,
    training: Sequence[Mapping[str, Any]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    slices: Mapping[str, Chosen] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    gallery: int = 12,
) -> Report:
    """Compare two runs slice by slice, turn by turn, and gather what a reader needs to believe it.

    samples: by id, at least those that were answered. training: transformers' Trainer log_history.
    provenance: config, versions, commands, models, ...; shown as given. slices: further slices by name.
    The headline is the open questions' first turn when there are yes/no questions beside them, else all.
    Raises SclvlmError when the runs are empty or differ in ids, and when a trace's sample is missing.
    """
    settings = Settings(resamples=resamples, confidence=confidence, seed=seed)
    earlier, later = _first_draw(before), _first_draw(after)
    answered = _answered(samples, earlier)
    parts = [*_standard_parts(answered), *_custom_parts(slices or {})]
    measured = _adjusted([_measure(part, answered, earlier, later, settings) for part in parts])
    headline = _headline(measured, settings)
    asked = next(part.holds for part in parts if part.name == headline.slice)
    then, now = ([trace for trace in run if asked(answered[trace.id])] for run in (earlier, later))
    report = Report(
        title=title,
        headline=headline,
        notes=_notes(before, after, earlier, later),
        settings=settings,
        slices=tuple(measured),
        options=option_shares(answered, earlier, later, confidence),
        readings=reading_shares(earlier, later, confidence),
        official=official_rows(answered, earlier, later),
        flows=flows_of(then, now),
        pair_counts=pair_counts,
        audit=audit,
        training=_curves(training or []),
        gallery=_gallery(answered, earlier, later, size=gallery, seed=seed),
        provenance=to_jsonable_python(dict(provenance or {}), inf_nan_mode="null", fallback=str),
    )
    shifts = shifts_of(answered, then, now, report.turns, **settings.model_dump())
    return report.model_copy(update={"shifts": shifts})


def _first_draw(graded: Sequence[GradedTrace]) -> list[GradedTrace]:
    return [trace for trace in graded if trace.draw == 0]


def _answered(samples: Mapping[str, Sample], graded: Sequence[GradedTrace]) -> dict[str, Sample]:
    """The samples of these traces, by id."""
    if missing := [trace.id for trace in graded if trace.id not in samples]:
        raise SclvlmError(
            f"{len(missing)} traces answer questions that are not among the samples, such as {missing[0]!r}. "
            "Give the samples file that was evaluated."
        )
    return {trace.id: samples[trace.id] for trace in graded}


def _standard_parts(samples: Mapping[str, Sample]) -> list[_Part]:
    parts = [_Part(ALL, SliceKind.ALL, lambda _: True)]
    if len({_is_open(sample) for sample in samples.values()}) == 2:
        parts.append(_Part(OPEN, SliceKind.FAMILY, _is_open))
        parts.append(_Part(YES_NO, SliceKind.FAMILY, lambda sample: not _is_open(sample)))
    parts += _benchmark_parts(samples)
    return parts + _category_parts(parts, samples)


def _benchmark_parts(samples: Mapping[str, Sample]) -> list[_Part]:
    """A part for each benchmark of a suite."""
    names = dict.fromkeys(benchmark_of(sample) for sample in samples.values())
    return [_benchmark_part(name) for name in names] if len(names) > 1 else []


def _benchmark_part(name: str) -> _Part:
    return _Part(name or "(none)", SliceKind.BENCHMARK, lambda sample: benchmark_of(sample) == name)


def _category_parts(others: Sequence[_Part], samples: Mapping[str, Sample]) -> list[_Part]:
    """A part for each category, but for one that holds the same questions as another part."""
    members: dict[tuple[str, str], set[str]] = {}
    for sample in samples.values():
        members.setdefault((benchmark_of(sample), sample.category), set()).add(sample.id)
    several = len({benchmark for benchmark, _ in members}) > 1
    known = [{s.id for s in samples.values() if part.holds(s)} for part in others]
    return [_category_part(*key, several=several) for key in sorted(members) if members[key] not in known]


def _is_open(sample: Sample) -> bool:
    return sample.kind is not AnswerKind.YES_NO


def _category_part(benchmark: str, category: str, *, several: bool) -> _Part:
    name = category or "(none)"
    return _Part(
        f"{benchmark or '(none)'}: {name}" if several else name,
        SliceKind.CATEGORY,
        lambda sample: (benchmark_of(sample), sample.category) == (benchmark, category),
    )


def _custom_parts(slices: Mapping[str, Chosen]) -> list[_Part]:
    if taken := slices.keys() & {ALL, OPEN, YES_NO}:
        raise SclvlmError(f"slice {min(taken)!r} is one of the report's own. Give yours another name.")
    return [_Part(name, SliceKind.CUSTOM, holds) for name, holds in slices.items()]


def _measure(
    part: _Part,
    samples: Mapping[str, Sample],
    before: Sequence[GradedTrace],
    after: Sequence[GradedTrace],
    settings: Settings,
) -> _Measured:
    chosen = {name: sample for name, sample in samples.items() if part.holds(sample)}
    if not chosen and part.kind is SliceKind.CUSTOM:
        raise SclvlmError(f"slice {part.name!r} holds no question that was answered. Remove it.")
    outside = samples.keys() - chosen.keys()
    earlier = [trace for trace in before if trace.id not in outside]
    later = [trace for trace in after if trace.id not in outside]
    clusters = {name: sample.cluster for name, sample in chosen.items()}
    options = settings.model_dump()
    return _Measured(
        part,
        summarize(earlier, confidence=settings.confidence),
        summarize(later, confidence=settings.confidence),
        compare(earlier, later, clusters, turn="first", **options),
        compare(earlier, later, clusters, turn="last", **options),
    )


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
        finding_first=_finding(one.first, holm_first),
        finding_last=_finding(one.last, holm_last),
    )


def _finding(comparison: Comparison, adjusted: float | None) -> Finding:
    return Finding.NOISE if adjusted is not None and adjusted >= ALPHA else comparison.finding


def _headline(slices: Sequence[Slice], settings: Settings) -> Headline:
    standard = {part.name: part for part in slices if part.kind in PLANNED}
    part = standard.get(OPEN, standard[ALL])
    sentence = headline_sentence(part.name, "first", part.first, settings)
    return Headline(slice=part.name, turn="first", finding=part.first.finding, sentence=sentence)


def _notes(
    before: Sequence[GradedTrace],
    after: Sequence[GradedTrace],
    earlier: Sequence[GradedTrace],
    later: Sequence[GradedTrace],
) -> tuple[str, ...]:
    """What a reader must know beside the figures."""
    notes = []
    if len(earlier) < len(before) or len(later) < len(after):
        notes.append("Several answers were drawn for each question; only the first draw is reported.")
    failed_before = sum(trace.failed for trace in earlier)
    failed_after = sum(trace.failed for trace in later)
    if failed_before or failed_after:
        notes.append(
            f"Questions that could not be answered count as wrong: {failed_before} before, {failed_after} after."
        )
    return tuple(notes)


def _curves(history: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    return tuple(curve for name in CURVES if (curve := _curve(name, history)) is not None)


def _curve(name: str, history: Sequence[Mapping[str, Any]]) -> Curve | None:
    entries = [(int(entry["step"]), float(entry[name])) for entry in history if name in entry and "step" in entry]
    finite = [(step, value) for step, value in entries if math.isfinite(value)]
    if not entries:
        return None
    return Curve(
        name=name,
        steps=tuple(step for step, _ in finite),
        values=tuple(value for _, value in finite),
        dropped=len(entries) - len(finite),
    )


def _gallery(
    samples: Mapping[str, Sample],
    before: Sequence[GradedTrace],
    after: Sequence[GradedTrace],
    *,
    size: int,
    seed: int,
) -> Gallery:
    later = {trace.id: trace for trace in after}
    changed: dict[Literal["gain", "loss"], list[Example]] = {"gain": [], "loss": []}
    for trace in sorted(before, key=lambda trace: _lot(seed, trace.id)):
        then, now = trace.turns[0], later[trace.id].turns[0]
        if change := _change(then, now):
            changed[change].append(_example(samples[trace.id], change, then, now))
    gains, losses = changed["gain"], changed["loss"]
    shown = gallery_share(len(gains), len(losses), size)
    examples = gains[: shown.gains] + losses[: shown.losses]
    return Gallery(
        gains=len(gains),
        losses=len(losses),
        examples=tuple(sorted(examples, key=lambda example: _lot(seed, example.id))),
    )


class Share(NamedTuple):
    """How many gains and losses a gallery shows."""

    gains: int
    losses: int


def gallery_share(gains: int, losses: int, size: int) -> Share:
    """`size` places in proportion to what occurs, with at least one for each that does when size >= 2."""
    if gains + losses <= size:
        return Share(gains, losses)
    shown = round(size * gains / (gains + losses))
    if size >= 2:
        shown = min(max(shown, min(gains, 1)), size - min(losses, 1))
    return Share(shown, size - shown)


def _lot(seed: int, name: str) -> str:
    """A random order that depends on seed and id alone, so that nobody picks the examples."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _change(then: GradedTurn, now: GradedTurn) -> Literal["gain", "loss"] | None:
    match Transition.between(then.verdict, now.verdict):
        case Transition.IC:
            return "gain"
        case Transition.CI:
            return "loss"
        case _:
            return None


def _example(sample: Sample, change: Literal["gain", "loss"], then: GradedTurn, now: GradedTurn) -> Example:
    return Example(
        id=sample.id,
        change=change,
        category=sample.category,
        question=sample.question,
        choices=sample.choices,
        gold=tuple(dict.fromkeys((sample.answer, *sample.answers))),
        images=sample.images,
        before=_shown(then),
        after=_shown(now),
    )


def _shown(turn: GradedTurn) -> Shown:
    return Shown(response=turn.response, answer=turn.answer, verdict=turn.verdict)
