"""Options and answers as benchmarks write them: letters, indices, texts, and options inside the question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from data_pipelines.rows import BrokenError
from sclvlm.records import LETTERS, AnswerKind

NONE = "answer is none of the choices"
HEADER = re.compile(r"\s*\b(Options|Choices)\s*:\s*$")
STYLES = (  # how options are marked within a question; what ends an option that another one follows
    (re.compile(r"(?<!\S)\(([A-Z])\)\s+"), ""),  # (A) left (B) right
    (re.compile(r"^([A-Z])[.:)]\s+", re.MULTILINE), ""),  # A. left, then B. right on the next line
    (re.compile(r"(?:(?<=: )|(?<=, )|^)([A-Z]):\s+", re.MULTILINE), ","),  # Options: A: left, B: right
)
MARK = re.compile(r"(?<![\w.])\(?([A-Z])[.:)]")  # of an option, wherever it stands
USUAL = 4  # options of a question that shows no marks
NUMBER = re.compile(r"[-+]?(\d+(\.\d+)?|\.\d+)")


class Apart(NamedTuple):
    """A question and its options, taken apart."""

    question: str
    choices: tuple[str, ...]


class Known(NamedTuple):
    """An answer and how to read it."""

    kind: AnswerKind
    answer: str


def letter(answer: str, choices: Sequence[str]) -> str:
    """The letter that `answer` is: B, b, (B), B. — or else the text of one option. Raises BrokenError for neither."""
    bare = _bare(answer)
    if len(bare) == 1 and bare in LETTERS[: len(choices)]:
        return bare
    return letter_of_text(answer, choices)


def letters_inside(text: str, answer: str) -> tuple[str, ...]:
    """The letters by which a question that keeps its options inside is answered; they stand for their own texts.

    They go from A on as far as the marks in `text` do without a gap, to D where there are none, and at least to
    `answer`.
    """
    marks = set(MARK.findall(text))
    shown = len(list(takewhile(marks.__contains__, LETTERS)))
    known = LETTERS.find(_bare(answer)) + 1
    return tuple(LETTERS[: max(shown if shown > 1 else USUAL, known)])


def _bare(answer: str) -> str:
    return answer.strip().strip("().").upper()


def letter_of_text(answer: str, choices: Sequence[str]) -> str:
    """The letter of the first option that reads as `answer`. Raises BrokenError when none does."""
    texts = [choice.strip() for choice in choices]
    if answer.strip() not in texts:
        raise BrokenError(NONE)
    return LETTERS[texts.index(answer.strip())]


def letter_at(index: int, choices: Sequence[str]) -> str:
    """The letter of the option at `index`, from 0. Raises BrokenError beyond the options."""
    if not 0 <= index < len(choices):
        raise BrokenError(NONE)
    return LETTERS[index]


def free(answer: str) -> Known:
    """An open answer: yes or no, a plain number, else text."""
    if answer.strip().lower() in ("yes", "no"):
        return Known(AnswerKind.YES_NO, answer.strip().lower())
    number = NUMBER.fullmatch(answer.strip())
    return Known(AnswerKind.NUMBER if number else AnswerKind.TEXT, answer.strip())


def yes_or_no(text: str) -> str:
    """Yes, true or 1, and their contraries, in any case, as yes or no. Raises BrokenError for anything else."""
    said = text.strip().rstrip(".").lower()
    for word, ways in {"yes": ("yes", "true", "1"), "no": ("no", "false", "0")}.items():
        if said in ways:
            return word
    raise BrokenError("answer is neither yes nor no")


def apart(text: str) -> Apart | None:
    """The question of `text` and the options inside it; None unless they can be told apart without doubt.

    There is no doubt when one style of marks gives exactly the letters from A on, once each and in order, with a
    question before them and an option of one line behind each.
    """
    found = (_in_style(text.strip(), marks, end) for marks, end in STYLES)
    return next((each for each in found if each is not None), None)


def _in_style(text: str, marks: re.Pattern[str], end: str) -> Apart | None:
    places = list(marks.finditer(text))
    if len(places) < 2 or "".join(place[1] for place in places) != LETTERS[: len(places)]:
        return None
    stops = [place.start() for place in places[1:]] + [len(text)]
    texts = [text[place.end() : stop].strip() for place, stop in zip(places, stops, strict=True)]
    if not all(each.endswith(end) for each in texts[:-1]):
        return None
    choices = (*(each.removesuffix(end).strip() for each in texts[:-1]), texts[-1])
    question = HEADER.sub("", text[: places[0].start()]).strip()
    sound = question and all(choices) and not any("\n" in choice for choice in choices)
    return Apart(question, choices) if sound else None
