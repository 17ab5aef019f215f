"""Where a response marks its answer: between marks, in a box; and what it doubts. What is read there is the
business of a `Reader`, one for each kind of answer.

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

    @property
    def is_open(self) -> bool:
        """Whether any words may be an answer."""

    @property
    def no_is_a_turn(self) -> bool:
        """Whether "No," between sentences takes back what was said, since it is no answer itself."""

    def prepared(self, text: str) -> str:
        """`text` without what only repeats the question."""


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
        tail = text[mark.end() :]
        is_last_line = reader.reads_open_marks and "\n" not in tail.rstrip()
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
_ALTERNATIVES = re.compile(r"</answer>\s{0,3}(or|and|,)\s{0,3}<answer>", re.IGNORECASE)
_OPEN_BOX = re.compile(r"<answer>([^<]{0,100})\Z", re.IGNORECASE)


def boxed(text: str, reader: Reader) -> Reading:
    """The last readable box: LaTeX's, `<answer>` tags, JSON's, a model's own box tokens."""
    contents = [match[1] for match in _BOX.finditer(_ALTERNATIVES.sub(r" \1 ", text))][-_LAST_MARKS:]
    if reader.reads_open_marks and (cut_off := _OPEN_BOX.search(text, max(0, len(text) - 120))):
        contents.append(cut_off[1])
    readings = (reader.exact(content) for content in reversed(contents) if not _SLOT.fullmatch(content))
    return next((reading for reading in readings if reading), NOTHING)


_HEADING = re.compile(r"^\s*#+|</?answer>", re.MULTILINE | re.IGNORECASE)


_OPEN = re.compile(r"(?:\A|(?<=\S)[ \t])#{2}(?!#)[^#\n]*\Z")
_NAME_ALONE = re.compile(
    r"^\W{0,8}((?:the\s|my\s)?(?:(?:final|correct|short)\s)?(?:answer|conclusion|答案))\W{0,8}\n\s{0,8}(?=\S)",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that is the name of the answer announces the next line."""


def unmarked(text: str, reader: Reader) -> str:
    """`text` without heading marks and boxes, for the rules that read plain sentences; a mark ends a line.

    What stands behind an open mark may be cut off: it goes too, unless the reader can tell.
    """
    text = _EXAMPLE_MARKED.sub("", text)
    closed = text if reader.reads_open_marks else _OPEN.sub("", text)
    return _NAME_ALONE.sub(r"\1: ", _MARK.sub("\n", _HEADING.sub(" ", closed)).strip())


STOP = re.compile(r"[.!?;\n]")
"""Where a sentence ends."""


_TURN = re.compile(r",\s(?:but|however|yet)\s", re.IGNORECASE)


def clause_before(text: str, position: int) -> str:
    """The sentence before `position`, up to 100 characters of it; of one with a "but" what follows that."""
    sentence = STOP.split(text[max(0, position - 100) : position])[-1]
    return _TURN.split(sentence)[-1]


_BORDER = re.compile(r"[.!?](?=\s|$)|[;\n]|,\s|\s-\s|\b(?:but|however|although|though|while|whereas)\b", re.IGNORECASE)
_SUPPOSITION = re.compile(r"\b(?:if|whether|unless|(?<!\bi\s)suppose|supposing|assum\w+)\b", re.IGNORECASE)
_DOUBT = re.compile(
    r"\b(?:not|never|neither|nor|no|cannot|without|if|whether|unless|(?<!\bi\s)suppose|assum\w+|might|may|could|perhaps"
    r"|maybe|possibly|initially|thought|wrong|incorrect|mista\w+|unlike|(?:rather|more)\s+than|instead\s+of|rul\w+\s+out|eliminat\w+"
    r"|exclud\w+|other\s+than|disagree\w*|reject\w*|otherwise|doubt\w*|avoid\w*|discard\w*|dismiss\w*)\b|n't\b|不|没|非|无法|可能|也许|排除|错",
    re.IGNORECASE,
)


_APPEARANCE = re.compile(
    r"\b(?:seem\w*|look\w*|appear\w*|impression|at\s+first|tempting|plausible|earlier)\b", re.IGNORECASE
)
_BUT_FOLLOWS = re.compile(r"[,;.]?\s*(?:but|however|yet)\b", re.IGNORECASE)
"""What seems so, but is not."""


_ITEM = r"[\w'-]+(?:\s[\w'-]+){0,3}"
_NEGATED_LIST = re.compile(
    rf"(?:n't|\b(?:not|neither|no))\s{_ITEM}(?:,\s{_ITEM})*,?\s(?:(?:or|nor|an?|the)\s){{0,2}}$", re.I
)
_OR = re.compile(r"\b(?:or|nor)\b", re.IGNORECASE)
"""A list of what is not: "it isn't red, green or blue"."""
_HYPOTHETICAL = re.compile(r"\s+would\b(?!\s+be\s+(?:my|the)\b)", re.IGNORECASE)
"""What an option would look like: "granite would be speckled"."""
_ELSE = re.compile(r"\b(?:rather|other|more)\s+than\b|\binstead\s+of\b|\bas\s+opposed\s+to\b|\bunlike\b", re.IGNORECASE)
"""What denies only what follows it."""
_CONCEDED = re.compile(
    r"\b(?:while|although|though)\b[^,]*\b(?:seem|look|appear|resembl|tempt)\w*[^,]*$", re.IGNORECASE
)


_APPOSITION = re.compile(r"\b(?:answer|choice|option|response|guess|letter),\s[\"'(]?$", re.IGNORECASE)
"""Before an answer that its own name announces between commas: "my first answer, B, is wrong"."""


def doubted(text: str, start: int, end: int) -> bool:
    """Whether the clause around `text[start:end]` denies, hedges or asks what stands there."""
    if (apposition := _APPOSITION.search(text[max(0, start - 40) : start])) and text[end : end + 1] == ",":
        start, end = start - len(apposition[0]), end + 1
    sentence = clause_before(text, start)
    if _SUPPOSITION.search(sentence) or _CONCEDED.search(sentence):
        return True
    before = _BORDER.split(text[max(0, start - 100) : start])[-1]
    after = text[end : end + 100]
    border = _BORDER.search(after)
    rest = _ELSE.split(after[: border.start()] if border else after, maxsplit=1)[0]
    if border and _BUT_FOLLOWS.match(after, border.start()) and _APPEARANCE.search(before + rest):
        return True
    if _HYPOTHETICAL.match(text, end) or (
        _NEGATED_LIST.search(sentence) and _OR.search(sentence + text[end : end + 40])
    ):
        return True
    return bool(_DOUBT.search(before) or _DOUBT.search(rest) or (border and border[0] == "?"))


def mentions(text: str, pattern: re.Pattern[str], value_of: Callable[[re.Match[str]], Reading]) -> Reading:
    """The values that `pattern` finds in `text`; one that is both affirmed and doubted is contradictory."""
    affirmed: set[str] = set()
    denied: set[str] = set()
    for match in itertools.islice(pattern.finditer(text), 500):  # more mentions than this is a loop
        values = value_of(match)
        (denied if doubted(text, *match.span()) else affirmed).update(values)
    return frozenset(affirmed) | ({DENIED} if affirmed & denied else NOTHING)
