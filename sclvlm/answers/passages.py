"""Where a response puts its answer: between marks, in a box, behind "the answer is". What it reads there is
the business of a `Reader`, one for each kind of answer.

A reading is the set of values a passage can mean. Empty: it says nothing. One: the answer. Several: it
contradicts itself, and no weaker passage may decide instead.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Protocol

Reading = frozenset[str]
NOTHING: Reading = frozenset()
DENIED = "(denied)"
"""A second meaning of a value that the response also denies: it makes the reading contradictory."""


class Reader(Protocol):
    """What each kind of answer knows about its own values."""

    def exact(self, content: str) -> Reading:
        """The values of `content`, which is meant to be nothing but the answer."""

    def stated(self, content: str) -> Reading:
        """The values of `content`, which begins with the answer and may go on."""

    @property
    def rules(self) -> dict[str, Callable[[str], Reading]]:
        """Readings of a whole response that marks its answer nowhere, the strongest first."""

    @property
    def reads_open_marks(self) -> bool:
        """Whether an answer that was cut off before its closing mark is whole nevertheless."""


_MARK = re.compile(r"#{2,}")
_LAST_MARKS = 64
_ECHO_BEFORE = re.compile(r"\b(?:two|double|between)\s*[\"'(<]?\s*$", re.IGNORECASE)
_ECHO_AFTER = re.compile(r"[\"')>]?\s*(?:marks?|signs|symbols|hash\w*|tags|markers|characters)\b", re.IGNORECASE)
_FOR_EXAMPLE = r"(?:\be\.g\.|\b(?:for example|for instance|such as|like this))[,:]?\s*[\"'(]?\s*"
_EXAMPLE = re.compile(rf"{_FOR_EXAMPLE}$", re.IGNORECASE)
_EXAMPLE_MARKED = re.compile(rf"{_FOR_EXAMPLE}#{{2,}}[^#\n]*(?:#{{2,}})?", re.IGNORECASE)
_SLOT = re.compile(
    r"\W*(?:(?:the|your|my|write|put|insert|only|final|correct)\W+)*"
    r"(?:answer(?:\W+(?:goes\W+)?here|\W+letter)?|and|or)?\W*",
    re.IGNORECASE,
)
"""What stands between marks in an instruction, or in a heading: the name of the answer, not an answer."""


def marked(text: str, reader: Reader) -> Reading:
    """The last answer between two ## marks.

    A mark opens, the next one on its line closes it; where nothing readable stands between, the second may
    open in turn (`## Final answer: ## B ##`). Marks of the instruction (`two ## marks`) are not marks.
    """
    marks = list(_MARK.finditer(text))
    if len(marks) > _LAST_MARKS:  # whole pairs from the end on: more of them is a loop
        marks = marks[(len(marks) - _LAST_MARKS + 1) // 2 * 2 :]
    marks = [mark for mark in marks if not _is_echo(text, mark)]
    found, position = NOTHING, 0
    while position < len(marks):
        reading, used = _read_mark(text, marks, position, reader)
        found = reading or found
        position += used
    return found


def _read_mark(text: str, marks: list[re.Match[str]], position: int, reader: Reader) -> tuple[Reading, int]:
    """What the mark at `position` opens, and how many marks that used up."""
    mark = marks[position]
    closing = marks[position + 1] if position + 1 < len(marks) else None
    if _EXAMPLE.search(text[max(0, mark.start() - 16) : mark.start()]):
        return NOTHING, 2
    if closing is None:
        tail = text[mark.end() :].strip()
        is_last_line = reader.reads_open_marks and "\n" not in tail
        return (reader.exact(tail) if is_last_line and not _SLOT.fullmatch(tail) else NOTHING), 1
    content = text[mark.end() : closing.start()]
    if "\n" in content and _is_heading(text, closing):
        return NOTHING, 1
    reading = NOTHING if len(content) > 300 or _SLOT.fullmatch(content) else reader.exact(content)
    return reading, 2 if reading else 1


def _is_heading(text: str, mark: re.Match[str]) -> bool:
    """True when `mark` is the beginning of a line that goes on: it opens a heading and closes nothing."""
    return bool(text[mark.end() : mark.end() + 80].partition("\n")[0].strip(" .\"'"))


def _is_echo(text: str, mark: re.Match[str]) -> bool:
    before = text[max(0, mark.start() - 16) : mark.start()]
    return bool(_ECHO_BEFORE.search(before) and _ECHO_AFTER.match(text, mark.end()))


_BOX = re.compile(r"<answer>([^<]{0,500})</answer>", re.IGNORECASE)


def boxed(text: str, reader: Reader) -> Reading:
    """The last readable box: LaTeX's, `<answer>` tags, a model's own box tokens."""
    contents = [match[1] for match in _BOX.finditer(text)][-_LAST_MARKS:]
    readings = (reader.exact(content) for content in reversed(contents) if not _SLOT.fullmatch(content))
    return next((reading for reading in readings if reading), NOTHING)


_HEADING = re.compile(r"^\s*#+|</?answer>", re.MULTILINE | re.IGNORECASE)


_OPEN = re.compile(r"(?<=\S)[ \t]+#{2,}[^#\n]*\Z")


def unmarked(text: str, reader: Reader) -> str:
    """`text` without heading marks and boxes, for the rules that read plain sentences; a mark ends a line.

    What stands behind an open mark may be cut off: it goes too, unless the reader can tell.
    """
    text = _EXAMPLE_MARKED.sub("", text)
    closed = text if reader.reads_open_marks else _OPEN.sub("", text)
    return _MARK.sub("\n", _HEADING.sub(" ", closed)).strip()


_CUE = re.compile(
    r"""
    \b(?:answer|option|choice|response|letter)(?:\s+(?:here|therefore|thus|then|clearly|indeed))?
    (?:\s+(?:to|for|of|about)\s+[^.?!:;\n]{1,60}?)?
    (?: \s*(?:=>|->|[:=])\s*
      | (?:\s+(?:is|would\s+be|should\s+be|must\s+be|will\s+be|has\s+to\s+be)\b|'s\b|\s+(?:is|was)(?=n't))
        (?P<no>n't\b|\s+not\b|\s+neither\b)? \s*:?\s* )
    | (?:答案|选项)\s*(?:应该)?(?P<no_zh>不)?(?:是|为|选|:)\s*:?\s*
    | \b(?:I|we)(?:'d|'ll)?\s+(?:(?:would|will|am|therefore|thus|finally|can|must)\s+){0,2}
      (?:choose|select|pick|conclude|say|(?:go|going)\s+with|opt\s+for)\b\s*
    """,
    re.IGNORECASE | re.VERBOSE,
)
_VERDICT = re.compile(
    r"""\b(?:is|would\s+be|must\s+be)(?P<no>n't|\s+not)?\s+(?:(?:definitely|clearly|indeed)\s+)?(?:the\s+)?
    (?:(?:only|most|best)\s+)?
    (?:(?P<wrong>incorrect|wrong)|(?:correct|accurate|appropriate)\b|(?:right|best|final)\s+(?:answer|option|choice)
    |answer\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_FILLER = re.compile(
    r"(?:(?:that|therefore|thus|then|clearly|most\s+likely|likely|probably|definitely|simply|indeed|actually|now)\b[\s,:]*){0,3}",
    re.IGNORECASE,
)
_HEDGED_CONTENT = re.compile(r"\s*(?:not|neither|either|none|possibly|perhaps|maybe|unclear|unknown)\b", re.IGNORECASE)
_CONDITION = re.compile(
    r"\b(?:if|whether|unless|suppose|supposing|assum\w+|initially|thought|could|might|may|perhaps|maybe)\b"
    r"|\b(?:previous|initial|original|first|earlier|old|wrong|incorrect)\s+$",
    re.IGNORECASE,
)
_NEGATION_BEFORE = re.compile(r"(?:n't|\bnot|\bnever|\bcannot|\bdoubt)\s+(?:\w+\s+){0,3}$", re.IGNORECASE)
_STOP = re.compile(r"[.!?;\n]")
_CONDITION_BEHIND = re.compile(r"[^.!?;\n]{0,300}(?:\?|\b(?:if|unless)\b)", re.IGNORECASE)
_LAST_CUES = 32


def cued(text: str, reader: Reader) -> Reading:
    """The last answer behind a cue such as "the answer is", or before one such as "is correct".

    Conditions, questions and hedges announce nothing. A value that a later cue denies is contradictory.
    """
    denied: set[str] = set()
    for content, reading_of, denies in reversed(_cues(text, reader)):
        reading = reading_of(content)
        if denies:
            denied |= reading
        elif reading:
            return reading | {DENIED} if reading & denied else reading
    return NOTHING


def _cues(text: str, reader: Reader) -> list[tuple[str, Callable[[str], Reading], bool]]:
    """Content, how to read it, and whether it is denied, for each cue that announces something."""
    forward = [(match, *_behind(text, match)) for match in list(_CUE.finditer(text))[-_LAST_CUES:]]
    backward = [(match, *_before(text, match)) for match in list(_VERDICT.finditer(text))[-_LAST_CUES:]]
    cues = [(match.start(), content, reader.stated, denies) for match, content, denies in forward if content]
    cues += [(match.start(), content, reader.exact, denies) for match, content, denies in backward if content]
    return [(content, reading_of, denies) for _, content, reading_of, denies in sorted(cues, key=lambda cue: cue[0])]


def _behind(text: str, match: re.Match[str]) -> tuple[str, bool]:
    before = _clause_before(text, match.start())
    if _CONDITION.search(before) or _CONDITION_BEHIND.match(text, match.end()):
        return "", False
    content = text[match.end() : match.end() + 300].lstrip()
    content = content[_FILLER.match(content).end() :]  # type: ignore[union-attr]  # it matches the empty string
    denies = bool(match["no"] or match["no_zh"] or _NEGATION_BEFORE.search(before))
    if not denies and (hedge := _HEDGED_CONTENT.match(content)):
        return content[hedge.end() :] if hedge[0].strip() in ("not", "neither") else "", True
    return content, denies


def _before(text: str, match: re.Match[str]) -> tuple[str, bool]:
    before = _clause_before(text, match.start())
    if _CONDITION.search(before) or _CONDITION_BEHIND.match(text, match.end()):
        return "", False
    negations = [match["no"], match["wrong"], _NEGATION_BEFORE.search(f"{before} ")]
    return before.rpartition(",")[2], sum(map(bool, negations)) % 2 == 1


def _clause_before(text: str, position: int) -> str:
    """The sentence before `position`, up to 100 characters of it."""
    return _STOP.split(text[max(0, position - 100) : position])[-1]


_BORDER = re.compile(r"[.!?](?=\s|$)|[;\n]|,\s|\s-\s|\b(?:but|however|although|though|while|whereas)\b", re.IGNORECASE)
_SUPPOSITION = re.compile(r"\b(?:if|whether|unless|suppose|supposing|assum\w+)\b", re.IGNORECASE)
_DOUBT = re.compile(
    r"\b(?:not|never|neither|nor|no|cannot|without|if|whether|unless|suppose|assum\w+|might|may|could|perhaps"
    r"|maybe|possibly|initially|thought|wrong|incorrect|unlike|rather\s+than|instead\s+of)\b|n't\b",
    re.IGNORECASE,
)


def doubted(text: str, start: int, end: int) -> bool:
    """Whether the clause around `text[start:end]` denies, hedges or asks what stands there."""
    if _SUPPOSITION.search(_clause_before(text, start)):
        return True
    before = _BORDER.split(text[max(0, start - 100) : start])[-1]
    after = text[end : end + 100]
    border = _BORDER.search(after)
    rest = after[: border.start()] if border else after
    return bool(_DOUBT.search(before) or _DOUBT.search(rest) or (border and border[0] == "?"))


def mentions(text: str, pattern: re.Pattern[str], value_of: Callable[[re.Match[str]], Reading]) -> Reading:
    """The values that `pattern` finds in `text`; one that is both affirmed and doubted is contradictory."""
    affirmed: set[str] = set()
    denied: set[str] = set()
    for match in itertools.islice(pattern.finditer(text), 500):  # more mentions than this is a loop
        values = value_of(match)
        (denied if doubted(text, *match.span()) else affirmed).update(values)
    return frozenset(affirmed) | ({DENIED} if affirmed & denied else NOTHING)
