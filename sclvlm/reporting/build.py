"""Two graded runs on the same questions into one Report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import to_jsonable_python

from sclvlm.audit import Audit
from sclvlm.errors import SclvlmError
from sclvlm.records import GradedTrace, Sample
from sclvlm.reporting.gallery import gallery_of
from sclvlm.reporting.learning import curves_of
from sclvlm.reporting.movements import flows_of, shifts_of
from sclvlm.reporting.official import official_rows
from sclvlm.reporting.options import option_shares, reading_shares
from sclvlm.reporting.schema import BEFORE_AFTER, Headline, Learning, Names, Noise, Report, Settings, Slice
from sclvlm.reporting.slices import ALL, OPEN, PLANNED, Answers, Chosen, slices_of
from sclvlm.reporting.wording import beside_floor, headline_sentence, noise_floor


class Repeat(NamedTuple):
    """Another run of the reference that differs in the seed alone."""

    name: str
    graded: Sequence[GradedTrace]


def build_report(
    *,
    title: str,
    samples: Mapping[str, Sample],
    before: Sequence[GradedTrace],
    after: Sequence[GradedTrace],
    names: Names = BEFORE_AFTER,
    repeat: Repeat | None = None,
    pair_counts: dict[str, int] | None = None,
    audit: Audit | None = None,
    training: Sequence[Mapping[str, Any]] | None = None,
    learned: Sequence[Learning] = (),
    notes: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    slices: Mapping[str, Chosen] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    gallery: int = 12,
) -> Report:
    """Compare two runs slice by slice, turn by turn, and gather what a reader needs to believe it.

    samples: by id, at least those that were answered. names: what the two runs are called wherever they are shown.
    repeat: the run before with another seed; a difference that this alone makes is within noise.
    training: transformers' Trainer log_history. learned: where both runs were trained, pairs and training of each.
    notes: what a reader must know, besides what the answers themselves tell.
    provenance: config, versions, commands, models, ...; shown as given. slices: further slices by name.
    The headline is the open questions' first turn when there are yes/no questions beside them, else all.
    Raises SclvlmError when the runs are empty or differ in ids, and when a trace's sample is missing.
    """
    settings = Settings(resamples=resamples, confidence=confidence, seed=seed)
    answers = Answers(first_draws(before), first_draws(after), first_draws(repeat.graded) if repeat else None)
    answered = _answered(samples, answers.before)
    parts, measured = slices_of(answered, answers, slices or {}, settings)
    main = _main(measured)
    asked = next(part.holds for part in parts if part.name == main.name)
    then, now = ([trace for trace in run if asked(answered[trace.id])] for run in (answers.before, answers.after))
    report = Report(
        title=title,
        names=names,
        headline=_headline(main, settings, names),
        noise=_noise(main, names, repeat.name) if repeat else None,
        notes=(*notes, *_notes(before, after, answers, names)),
        settings=settings,
        slices=tuple(measured),
        options=option_shares(answered, answers.before, answers.after, confidence),
        readings=reading_shares(answers.before, answers.after, confidence),
        official=official_rows(answered, answers.before, answers.after),
        flows=flows_of(then, now),
        pair_counts=pair_counts,
        audit=audit,
        training=curves_of(training or []),
        learned=tuple(learned),
        gallery=gallery_of(answered, answers.before, answers.after, size=gallery, seed=seed),
        provenance=to_jsonable_python(dict(provenance or {}), inf_nan_mode="null", fallback=str),
    )
    shifts = shifts_of(answered, then, now, report.turns, **settings.model_dump())
    return report.model_copy(update={"shifts": shifts})


def first_draws(graded: Sequence[GradedTrace]) -> list[GradedTrace]:
    """The answers that are reported, one for each question."""
    return [trace for trace in graded if trace.draw == 0]


def _answered(samples: Mapping[str, Sample], graded: Sequence[GradedTrace]) -> dict[str, Sample]:
    """The samples of these traces, by id."""
    if missing := [trace.id for trace in graded if trace.id not in samples]:
        raise SclvlmError(
            f"{len(missing)} traces answer questions that are not among the samples, such as {missing[0]!r}. "
            "Give the samples file that was evaluated."
        )
    return {trace.id: samples[trace.id] for trace in graded}


def _main(slices: Sequence[Slice]) -> Slice:
    """The slice of the headline."""
    standard = {part.name: part for part in slices if part.kind in PLANNED}
    return standard.get(OPEN, standard[ALL])


def _headline(main: Slice, settings: Settings, names: Names) -> Headline:
    sentence = headline_sentence(main.name, "first", main.first, settings, main.finding_first, names)
    return Headline(slice=main.name, turn="first", finding=main.finding_first, sentence=sentence)


def _noise(main: Slice, names: Names, repeat: str) -> Noise:
    assert main.floor_first is not None, "there is a repeat"
    beside = beside_floor(main.floor_first, main.first.difference)
    return Noise(repeat=repeat, sentence=noise_floor(main.floor_first, names[0], repeat) + beside)


def _notes(
    before: Sequence[GradedTrace], after: Sequence[GradedTrace], answers: Answers, names: Names
) -> tuple[str, ...]:
    """What a reader must know beside the figures."""
    notes = []
    if len(answers.before) < len(before) or len(answers.after) < len(after):
        notes.append("Several answers were drawn for each question; only the first draw is reported.")
    failed_before = sum(trace.failed for trace in answers.before)
    failed_after = sum(trace.failed for trace in answers.after)
    if failed_before or failed_after:
        notes.append(
            "Questions that could not be answered count as wrong: "
            f"{failed_before} {names[0]}, {failed_after} {names[1]}."
        )
    return tuple(notes)
