"""Reads the answer out of free text. Never a guess: nothing readable, or a contradiction, is None.

`extract` cleans a response, then asks for the answer in the places where responses put it, the most explicit
place first; the first place that says anything decides.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sclvlm.answers.choice import ChoiceReader
from sclvlm.answers.cleaning import clean
from sclvlm.answers.passages import Reader, boxed, cued, marked, unmarked
from sclvlm.answers.values import NumberReader, TextReader, YesNoReader
from sclvlm.answers.vqa import normalise
from sclvlm.records import LETTERS, AnswerKind

__all__ = ["Extraction", "extract", "normalise"]


class Extraction(NamedTuple):
    """What was read, and by which rule.

    method: `marker`, `boxed`, `cue`, `label`, `option_text`, `bare`, `only_number` or `whole`. Where value is
    None it says why: `none`, `contradiction` or `unclosed_thought`.
    """

    value: str | None
    method: str


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
    plain = unmarked(said, reader)
    rules: dict[str, Callable[[], frozenset[str]]] = {
        "marker": lambda: marked(said, reader),
        "boxed": lambda: boxed(said, reader),
        "cue": lambda: cued(plain, reader),
        **{method: functools.partial(rule, plain) for method, rule in reader.rules.items()},
    }
    for method, rule in rules.items():
        meanings = rule()
        if len(meanings) == 1:
            return Extraction(next(iter(meanings)), method)
        if meanings:
            return Extraction(None, "contradiction")
    return Extraction(None, "none")


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
