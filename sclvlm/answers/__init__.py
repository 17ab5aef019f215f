"""Reads the answer out of free text. Never a guess: nothing readable, or a contradiction, is None.

`docs/answers.md` gives the readings in their order, each with its reason.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sclvlm.answers.choice import ChoiceReader
from sclvlm.answers.cleaning import clean, spaced
from sclvlm.answers.confirmed import confirmed
from sclvlm.answers.corrections import Part, parts
from sclvlm.answers.cues import also_possible, cued
from sclvlm.answers.echoes import said_once, without_instructions
from sclvlm.answers.numbers import NumberReader
from sclvlm.answers.passages import Reader, boxed, marked, unmarked
from sclvlm.answers.values import TextReader, YesNoReader
from sclvlm.answers.vqa import normalise
from sclvlm.records import LETTERS, AnswerKind

__all__ = ["Extraction", "extract", "normalise"]


class Extraction(NamedTuple):
    """What was read, and by which rule.

    method: `marker`, `boxed`, `cue`, `confirmed`, `verdicts`, `label`, `elimination`, `result`,
    `option_text`, `bare`, `only_number` or `whole`. Where value is None it says why: `none`, `contradiction` or
    `unclosed_thought`.
    """

    value: str | None
    method: str


NONE = Extraction(None, "none")
CONTRADICTION = Extraction(None, "contradiction")
MENTIONS = frozenset({"elimination", "option_text", "bare", "only_number"})
"""Readings of words that stand somewhere: a second thought that only mentions does not overrule an announcement."""

_CUT_OFF = re.compile(r"(?:\b(?:is|are|the|an?|and|or|of|to|which|that|with|because|from|has)|[,+=(])\s*\Z")
"""The end of a sentence that was not ended: what it would have said is not known."""

READERS: dict[AnswerKind, Callable[[], Reader]] = {
    AnswerKind.YES_NO: YesNoReader,
    AnswerKind.NUMBER: NumberReader,
    AnswerKind.TEXT: TextReader,
}


def extract(text: str, *, kind: str, choices: Mapping[str, str] | Sequence[str] | None = None) -> Extraction:
    """The answer that `text` gives to a question of `kind`: a label, yes or no, a decimal, a normalised text.

    `choices` maps label to option text, or lists the texts of A, B, ...; only kind=choice has them.
    Raises ValueError for an unknown kind, and for choices that are missing, fewer than two, or out of place.
    """
    reader = _reader(AnswerKind(kind), choices)
    said = clean(text)
    if said is None:
        return Extraction(None, "unclosed_thought")
    said = reader.prepared(said_once(without_instructions(said if reader.is_open else spaced(said))))
    return _settled(said, parts(said, after_no=reader.no_is_a_turn), reader)


def _settled(said: str, thoughts: Sequence[Part], reader: Reader) -> Extraction:
    """The reading of the last thought that names an answer, unless a later one takes it back."""
    found = NONE
    for thought in thoughts:
        read = _read(thought.said, reader)
        if read != NONE:
            found = _overruled(found, read, thought)
        elif found != NONE and thought.withdraws:
            found = CONTRADICTION
    if found == NONE and len(thoughts) > 1:
        found = _read(said, reader)
    return CONTRADICTION if found.value and also_possible(said, reader) - {found.value} else found


def _overruled(before: Extraction, after: Extraction, thought: Part) -> Extraction:
    if before.value in (None, after.value) or before.method in MENTIONS:
        return after
    return after if after.method not in MENTIONS or thought.restates else CONTRADICTION


def _read(said: str, reader: Reader) -> Extraction:
    """The reading of the first rule that reads anything."""
    plain = unmarked(said, reader)
    rules: dict[str, Callable[[], frozenset[str]]] = {
        "marker": lambda: marked(said, reader),
        "boxed": lambda: boxed(said, reader),
        "cue": lambda: cued(plain, reader),
        "confirmed": lambda: confirmed(plain, reader),
        **{method: functools.partial(rule, plain) for method, rule in reader.rules.items()},
    }
    for method, rule in rules.items():
        if method in MENTIONS and _CUT_OFF.search(plain, max(0, len(plain) - 20)):
            return NONE
        meanings = rule()
        if len(meanings) == 1:
            return Extraction(next(iter(meanings)), method)
        if meanings:
            return CONTRADICTION
    return NONE


def _reader(kind: AnswerKind, choices: Mapping[str, str] | Sequence[str] | None) -> Reader:
    if kind is not AnswerKind.CHOICE:
        if choices:
            raise ValueError(f"choices belong to kind=choice, got {len(choices)} of them for kind={kind}.")
        return READERS[kind]()
    labels = choices if isinstance(choices, Mapping) else dict(zip(LETTERS, choices or (), strict=False))
    if len(labels) < 2 or (choices is not None and len(labels) < len(choices)):
        raise ValueError(f"kind=choice needs 2 to {len(LETTERS)} choices, got {len(choices or ())}.")
    return _choice_reader(tuple(labels.items()))


@functools.lru_cache(maxsize=256)
def _choice_reader(labels: tuple[tuple[str, str], ...]) -> ChoiceReader:
    """A question is read once a draw and turn: its patterns are compiled once."""
    return ChoiceReader(dict(labels))
