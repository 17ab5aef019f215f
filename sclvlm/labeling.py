"""Graded traces become preference pairs: SCL's rule (arXiv 2410.04055, section 3), every drop counted.

A refinement that turned a wrong answer right is preferred to it (i->c); a right answer that a refinement
spoilt is preferred to that (c->i). Both stand as single-turn answers to the first prompt: the review request
and the answer it was about are in neither.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from sclvlm.errors import SclvlmError
from sclvlm.records import GradedTrace, GradedTurn, PreferencePair, Sample, Transition, Verdict, text_message
from sclvlm.storage import describe

Pairing = Literal["refine", "independent"]
Unparsed = Literal["drop", "rejected"]


@dataclass(frozen=True)
class Labeling:
    """The pairs, and what became of every trace: the values of `counts` sum to the number of traces.

    pairing=refine: a trace is its own outcome, `pairs <source>` or `dropped <why>`. pairing=independent: a
    pair takes two traces; the later draw counts as `pairs <source>`, the earlier as `partner in a pair`, and
    both share the outcome when their pair is dropped.
    """

    pairs: tuple[PreferencePair, ...]
    counts: dict[str, int]


@dataclass(frozen=True)
class _Side:
    """One answer that may be chosen or rejected, and the draw it comes from."""

    turn: GradedTurn
    draw: int


@dataclass(frozen=True)
class _Candidate:
    """A pair, and the positions of the traces it is made of: the one it counts under first."""

    pair: PreferencePair
    traces: tuple[int, ...]


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
    traces = list(graded)
    outcomes = [""] * len(traces)
    make = {"refine": _from_refinements, "independent": _from_draws}[pairing]
    candidates: list[_Candidate] = []
    for positions in _by_question(traces, samples):
        candidates += make(traces, positions, samples, outcomes, sources=sources, unparsed=unparsed)
    if balance:
        candidates = _balanced(candidates, outcomes, seed)
    return Labeling(tuple(candidate.pair for candidate in candidates), dict(Counter(outcomes)))


def _by_question(traces: list[GradedTrace], samples: Mapping[str, Sample]) -> list[list[int]]:
    """Positions of the traces of each question, in draw order; questions in order of appearance."""
    questions: dict[str, list[int]] = {}
    for position, trace in enumerate(traces):
        if trace.id not in samples:
            raise SclvlmError(
                f"trace {trace.id!r} (draw {trace.draw}): none of the {len(samples)} samples has this id. "
                "Label with the samples file the traces were inferred from."
            )
        questions.setdefault(trace.id, []).append(position)
    return [sorted(positions, key=lambda position: traces[position].draw) for positions in questions.values()]


def _from_refinements(
    traces: list[GradedTrace],
    positions: list[int],
    samples: Mapping[str, Sample],
    outcomes: list[str],
    *,
    sources: Collection[str],
    unparsed: Unparsed,
) -> Iterator[_Candidate]:
    """The pair of one question's first and last answers."""
    have_pair = False
    for position in positions:
        trace = traces[position]
        source = trace.transition
        if trace.failed:
            outcomes[position] = "dropped failed"
            continue
        if source not in sources:
            outcomes[position] = f"dropped {source}"
            continue
        first, last = _Side(trace.turns[0], trace.draw), _Side(trace.turns[-1], trace.draw)
        chosen, rejected = (last, first) if source is Transition.IC else (first, last)
        objection = _objection(chosen, rejected, unparsed)
        if not objection and have_pair:
            objection = "dropped second pair of a question"
        outcomes[position] = objection or f"pairs {source}"
        if not objection:
            have_pair = True
            yield _Candidate(_pair(samples[trace.id], trace, chosen, rejected, source), (position,))


def _from_draws(
    traces: list[GradedTrace],
    positions: list[int],
    samples: Mapping[str, Sample],
    outcomes: list[str],
    *,
    sources: Collection[str],
    unparsed: Unparsed,
) -> Iterator[_Candidate]:
    """The pair of one question's first correct and first incorrect first answers."""
    first_of: dict[bool, int] = {}
    for position in positions:
        outcomes[position] = _unusable_draw(traces[position].turns[0], unparsed)
        if not outcomes[position]:
            correct = traces[position].turns[0].verdict is Verdict.CORRECT
            outcomes[position] = "dropped further draw" if correct in first_of else "dropped no opposite draw"
            first_of.setdefault(correct, position)
    if len(first_of) < 2:
        return
    good, bad = first_of[True], first_of[False]
    chosen, rejected = (_Side(traces[place].turns[0], traces[place].draw) for place in (good, bad))
    source = Transition.IC if positions.index(bad) < positions.index(good) else Transition.CI
    later, earlier = (good, bad) if source is Transition.IC else (bad, good)
    objection = _objection(chosen, rejected, unparsed) if source in sources else f"dropped {source}"
    outcomes[later] = objection or f"pairs {source}"
    outcomes[earlier] = objection or "partner in a pair"
    if not objection:
        yield _Candidate(_pair(samples[traces[good].id], traces[good], chosen, rejected, source), (later, earlier))


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


def _balanced(candidates: list[_Candidate], outcomes: list[str], seed: int) -> list[_Candidate]:
    """As many candidates of the commoner source as of the rarer, in their order."""
    by_source = {
        source: [place for place, candidate in enumerate(candidates) if candidate.pair.source == source]
        for source in (Transition.IC, Transition.CI)
    }
    size = min(map(len, by_source.values()))
    kept = {place for places in by_source.values() for place in random.Random(seed).sample(places, size)}
    for place, candidate in enumerate(candidates):
        if place not in kept:
            for position in candidate.traces:
                outcomes[position] = "dropped for balance"
    return [candidate for place, candidate in enumerate(candidates) if place in kept]
