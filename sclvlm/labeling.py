"""Graded traces become preference pairs: SCL's rule (arXiv 2410.04055, section 3), every drop counted.

A refinement that turned a wrong answer right is preferred to it (i->c); a right answer that a refinement
spoilt is preferred to that (c->i). Both stand as single-turn answers to the first prompt: the review request
and the answer it was about are in neither.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from sclvlm.errors import SclvlmError
from sclvlm.grading import questions
from sclvlm.records import GradedTrace, GradedTurn, PreferencePair, Sample, Transition, Verdict, text_message
from sclvlm.storage import describe, read_records, write_records

Pairing = Literal["refine", "independent"]
Unparsed = Literal["drop", "rejected"]
Question = tuple[Sample, Sequence[GradedTrace]]
"""A sample and its graded draws, in their order."""
PARTNER = "partner in a pair"


class Labeled(NamedTuple):
    """What one question gives: a pair or none, and what became of each of its traces.

    pairing=refine: a trace is its own outcome, `pairs <source>` or `dropped <why>`. pairing=independent: a
    pair takes two traces; the later draw counts as `pairs <source>`, the earlier as `partner in a pair`, and
    both share the outcome when their pair is dropped.
    """

    pair: PreferencePair | None
    outcomes: Sequence[str]


@dataclass(frozen=True)
class Labeling:
    """The pairs, and what became of every trace (see `Labeled`): the values of `counts` sum to their number."""

    pairs: tuple[PreferencePair, ...]
    counts: dict[str, int]


@dataclass(frozen=True)
class _Side:
    """One answer that may be chosen or rejected, and the draw it comes from."""

    turn: GradedTurn
    draw: int


def label_pairs(
    graded: Iterable[GradedTrace],
    samples: Mapping[str, Sample],
    *,
    pairing: Pairing = "refine",
    sources: Collection[str] = ("i->c", "c->i"),
    unparsed: Unparsed = "drop",
    balance: bool = False,
    seed: int = 0,
) -> Labeling:
    """At most one pair a question, from the first draw (or two draws) that give one, in order of questions.

    pairing: `refine` compares the first with the last turn of a trace; `independent` compares first turns of
    two draws, its source being `i->c` where the incorrect draw came first. unparsed: `drop` a pair whose
    rejected side could not be read, or let it be `rejected`. balance: keep as many pairs of either source as
    the rarer one has, drawn by `seed`.
    Raises SclvlmError for a trace without its sample, and for a prompt whose images are not its sample's.
    """
    found = _by_question(graded, samples)
    every = labeled(lambda: found, pairing=pairing, sources=sources, unparsed=unparsed, balance=balance, seed=seed)
    counts: Counter[str] = Counter()
    pairs = tuple(_counted(every, counts))
    return Labeling(pairs, dict(counts))


def label_file(graded: Path, samples: Iterable[Sample], out: Path, **settings: Any) -> dict[str, int]:
    """The same from file to file, a question at a time; returns the counts.

    graded: traces in the order of `samples`, which can be gone through twice. settings: as of `label_pairs`.
    """
    counts: Counter[str] = Counter()
    every = labeled(lambda: questions(samples, read_records(graded, GradedTrace), graded), **settings)
    write_records(out, _counted(every, counts))
    return dict(counts)


def _counted(every: Iterable[Labeled], counts: Counter[str]) -> Iterator[PreferencePair]:
    for pair, outcomes in every:
        counts.update(outcomes)
        if pair is not None:
            yield pair


def labeled(
    asked: Callable[[], Iterable[Question]],
    *,
    pairing: Pairing,
    sources: Collection[str],
    unparsed: Unparsed,
    balance: bool,
    seed: int,
) -> Iterator[Labeled]:
    """Each question labeled; `asked` is called once, or twice to balance."""
    make = partial({"refine": _from_refinements, "independent": _from_draws}[pairing], sources=sources)

    def every() -> Iterator[Labeled]:
        return (make(sample, traces, unparsed=unparsed) for sample, traces in asked())

    return _balanced(every, seed) if balance else every()


def _by_question(traces: Iterable[GradedTrace], samples: Mapping[str, Sample]) -> list[Question]:
    """The traces of each question, in draw order; questions in order of appearance."""
    found: dict[str, list[GradedTrace]] = {}
    for trace in traces:
        if trace.id not in samples:
            raise SclvlmError(
                f"trace {trace.id!r} (draw {trace.draw}): none of the {len(samples)} samples has this id. "
                "Label with the samples file the traces were inferred from."
            )
        found.setdefault(trace.id, []).append(trace)
    return [(samples[name], sorted(draws, key=lambda trace: trace.draw)) for name, draws in found.items()]


def _from_refinements(
    sample: Sample, traces: Sequence[GradedTrace], *, sources: Collection[str], unparsed: Unparsed
) -> Labeled:
    """The pair of one question's first and last answers."""
    pair, outcomes = None, list[str]()
    for trace in traces:
        objection, chosen, rejected = _refinement(trace, sources, unparsed)
        if not objection and pair is not None:
            objection = "dropped second pair of a question"
        if not objection:
            pair = _pair(sample, trace, chosen, rejected, trace.transition)
        outcomes.append(objection or f"pairs {trace.transition}")
    return Labeled(pair, outcomes)


def _refinement(trace: GradedTrace, sources: Collection[str], unparsed: Unparsed) -> tuple[str, _Side, _Side]:
    """Why `trace` makes no pair, empty when it does; what would be chosen and what rejected."""
    first, last = _Side(trace.turns[0], trace.draw), _Side(trace.turns[-1], trace.draw)
    chosen, rejected = (last, first) if trace.transition is Transition.IC else (first, last)
    if trace.failed:
        return "dropped failed", chosen, rejected
    if trace.transition not in sources:
        return f"dropped {trace.transition}", chosen, rejected
    return _objection(chosen, rejected, unparsed), chosen, rejected


def _from_draws(
    sample: Sample, traces: Sequence[GradedTrace], *, sources: Collection[str], unparsed: Unparsed
) -> Labeled:
    """The pair of one question's first correct and first incorrect first answers."""
    outcomes, first_of = list[str](), dict[bool, int]()
    for place, trace in enumerate(traces):
        outcomes.append(_unusable_draw(trace.turns[0], unparsed))
        if not outcomes[place]:
            correct = trace.turns[0].verdict is Verdict.CORRECT
            outcomes[place] = "dropped further draw" if correct in first_of else "dropped no opposite draw"
            first_of.setdefault(correct, place)
    if len(first_of) < 2:
        return Labeled(None, outcomes)
    good, bad = first_of[True], first_of[False]
    chosen, rejected = (_Side(traces[place].turns[0], traces[place].draw) for place in (good, bad))
    source = Transition.IC if bad < good else Transition.CI
    objection = _objection(chosen, rejected, unparsed) if source in sources else f"dropped {source}"
    outcomes[max(good, bad)] = objection or f"pairs {source}"
    outcomes[min(good, bad)] = objection or PARTNER
    return Labeled(None if objection else _pair(sample, traces[good], chosen, rejected, source), outcomes)


def _unusable_draw(turn: GradedTurn, unparsed: Unparsed) -> str:
    if turn.finish_reason == "error":
        return "dropped failed"
    return "dropped unparsed" if turn.verdict is Verdict.UNPARSED and unparsed == "drop" else ""


def _objection(chosen: _Side, rejected: _Side, unparsed: Unparsed) -> str:
    """Why these two answers make no pair; empty when they do.

    Same answers teach style only; an unreadable rejected answer teaches format only.
    """
    if rejected.turn.verdict is Verdict.UNPARSED and unparsed == "drop":
        return "dropped unparsed"
    if chosen.turn.answer == rejected.turn.answer or chosen.turn.response == rejected.turn.response:
        return "dropped same answer"
    return ""


def _pair(sample: Sample, trace: GradedTrace, chosen: _Side, rejected: _Side, source: Transition) -> PreferencePair:
    meta: dict[str, Any] = {"draw": chosen.draw}
    if rejected.draw != chosen.draw:
        meta["rejected_draw"] = rejected.draw
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        meta |= {f"{name}_verdict": str(side.turn.verdict), f"{name}_answer": side.turn.answer}
    try:
        return PreferencePair(
            id=sample.id,
            prompt=trace.turns[0].prompt,
            chosen=[text_message("assistant", chosen.turn.response)],
            rejected=[text_message("assistant", rejected.turn.response)],
            images=sample.images,
            source=str(source),
            meta=meta,
        )
    except ValidationError as error:
        raise SclvlmError(
            f"trace {trace.id!r} (draw {trace.draw}): {describe(error)}. "
            "Label with the samples file the traces were inferred from."
        ) from None


def _balanced(every: Callable[[], Iterable[Labeled]], seed: int) -> Iterator[Labeled]:
    """As many pairs of the commoner source as of the rarer, in their order."""
    sources = [pair.source for pair, _ in every() if pair is not None]
    by_source = {
        source: [place for place, each in enumerate(sources) if each == source]
        for source in (Transition.IC, Transition.CI)
    }
    size = min(map(len, by_source.values()))
    kept = {place for places in by_source.values() for place in random.Random(seed).sample(places, size)}
    places = count()
    for each in every():
        yield each if each.pair is None or next(places) in kept else _without_pair(each)


def _without_pair(one: Labeled) -> Labeled:
    taken = [outcome.startswith("pairs ") or outcome == PARTNER for outcome in one.outcomes]
    return Labeled(
        None, ["dropped for balance" if each else outcome for each, outcome in zip(taken, one.outcomes, strict=True)]
    )
