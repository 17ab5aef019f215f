"""Reading one of this question's options, by its label or by its text."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from sclvlm.answers.cleaning import plain
from sclvlm.answers.passages import NOTHING, Reading, mentions

_LEAD = re.compile(
    r"[\s\"'\[(<]*(?:(?:so|therefore|thus|hence|and|but|then)\b[\s,]*)?"
    r"(?:(?:the|my|this|it|final|correct|best|right)\s+){0,3}"
    r"(?:(?:answer|option|choice|letter|response|label)s?\b\s*(?:is\b|would\s+be\b)?\s*[:=]?|is\b\s*:?)?"
    r"\s*(?:(?:the\s+)?(?:option|choice|letter)\b\s*)?",
    re.IGNORECASE,
)
"""Words before an answer that belong to the sentence, not to the answer."""

_ARTICLE = re.compile(r"(?:the|a|an)\s+")
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_PROSE = re.compile(r"(?:because|since|as|for|due|which|with|given|is|and|but|based|not)\b", re.IGNORECASE)
_REASON = re.compile(r"\s*,?\s+(?:because|since|as)\b")
_REJECTED = re.compile(
    r"\W*(?:(?:this|it|that|option|which|one)\s+)*(?:is\s+|'s\s+)?"
    r"(?:not\s+(?:correct|right|the)\b|isn't\b|incorrect\b|wrong\b|false\b)",
    re.IGNORECASE,
)
"""What follows a label whose option the response turns down."""

_WEAK = frozenset(
    (
        "yes",
        "no",
        "true",
        "false",
        "none",
        "not",
        "all",
        "both",
        "neither",
        "one",
        "other",
        "is",
        "on",
        "in",
        "at",
    )
)
"""Option texts that any sentence may hold: they count only where they are the whole answer."""


class ChoiceReader:
    """Reads the label of an option. A label beside the text of another option is contradictory."""

    reads_open_marks = True

    def __init__(self, choices: Mapping[str, str]) -> None:
        self._labels = {label.casefold(): label for label in choices}
        texts: dict[str, set[str]] = {}
        for label, text in choices.items():
            texts.setdefault(_bare(text), set()).add(label)
        self._texts = {text: frozenset(labels) for text, labels in texts.items() if text}
        self._amounts = _amounts(self._texts)
        some = "|".join(re.escape(label) for label in sorted(choices, key=len, reverse=True))
        self._label = re.compile(rf"(?:{some})(?![\w'])", re.IGNORECASE)
        self._label_upper = re.compile(rf"(?:{some})(?![\w'])")
        self._sign = re.compile(r"[\"')\]>]*\s*[).:\]]|[\"'\]>]+|\s*[-–](?=\s)")
        self._more = re.compile(
            rf"\s*(?:,|/|&|\+|\bor\b|\band\b|,\s*(?:or|and)\b)\s*(?:both\s+|option\s+)?[\"'(]?({some})(?![\w'])(?!\s+[a-z])"
        )
        self._another = re.compile(rf"(?<![\w'])[(]?({some})[).:](?=\s)")
        self._bare_label = re.compile(
            rf"\((?P<round>{some})\)|\b(?:[Oo]ption|[Cc]hoice)\s+(?P<named>{some})(?![\w'])"
            rf"|(?:^|(?<=[.!?:;\n,]\s)|(?<=\bis\s)|(?<=\w's\s)|(?<=\bbe\s)|(?<=\b[Ss]o\s)|(?<=\b[Tt]hus\s))"
            rf"(?P<alone>{some})(?=\s*(?:[.,;:!\n]|$)|\s+(?:is|because|since|as)\b)(?!\.\w)",
            re.MULTILINE,
        )

    @property
    def rules(self) -> dict[str, Callable[[str], Reading]]:
        """Labels that open lines, then option texts, then capitals that stand alone."""
        return {"label": self.lines, "option_text": self.option_text, "bare": self.bare}

    def exact(self, content: str) -> Reading:
        """A label, a label with its text, an option's text, or the one option that the content mentions."""
        if len(content) > 500 or not content.strip():
            return NOTHING
        whole = self._by_text(content)
        if self._label.fullmatch(_inner(content)):  # the prompt asks for a letter: a letter is a label first
            return frozenset({self._labels[_inner(content).casefold()]})
        return whole or self._leading(content, self._label) or self._trailing(content) or self._mentioned(content)

    def stated(self, content: str) -> Reading:
        """A label or an option's text at the beginning, else the one option that the sentence mentions."""
        line = content.partition("\n")[0]
        sentence = _first_sentence(line)
        if self._label.fullmatch(_inner(sentence)):
            return self._leading(line, self._label) or self.exact(sentence)
        return (
            self._by_text(line)
            or self._by_text(sentence)
            or self._leading(line, self._label_upper)
            or self._mentioned(sentence)
        )

    def lines(self, text: str) -> Reading:
        """A label alone on a line; else one that opens the first or the last line, where no other opens any.

        Lines that open with different labels list the options.
        """
        lines = [line for line in text.split("\n") if line.strip()]
        label = self._label if len(lines) == 1 else self._label_upper  # a lone letter may be small
        alone = {self._labels[inner.casefold()] for inner in map(_inner, lines) if label.fullmatch(inner)}
        if alone:
            return frozenset(alone)
        opened = [self._opening(line) for line in lines]
        first, last = (opened[0], opened[-1]) if opened else (NOTHING, NOTHING)
        contradictory = next((reading for reading in (first, last) if len(reading) > 1), NOTHING)
        if contradictory or len(frozenset().union(*opened)) != 1:
            return contradictory
        return first or last

    def option_text(self, text: str) -> Reading:
        """The whole response, or its first clause, is an option; else the one option it mentions at all."""
        line = text.partition("\n")[0]
        opening = re.split(r"[,.;:!]\s|\n", text, maxsplit=1)[0]
        if found := self._by_text(text[:500]) or self._by_text(opening[:500]):
            return found
        lead, mentioned = self._leading(line, self._label_upper), self._mentioned(text)
        return lead | mentioned if mentioned or len(lead) > 1 else NOTHING

    def bare(self, text: str) -> Reading:
        """A capital that stands alone: in round brackets, as `option B`, or as a clause of its own.

        Not A and not I without brackets, which are words; not a capital behind a noun: vitamin C, point B.
        """
        return mentions(text, self._bare_label, self._of_bare)

    def _of_bare(self, match: re.Match[str]) -> Reading:
        label = match["round"] or match["named"] or match["alone"]
        listed = self._listed(match.string, match.end())
        goes_on = match.string[match.end() : match.end() + 2].strip()[:1].isalpha()
        is_word = (match["alone"] in ("A", "I") and goes_on) or (match["alone"] or "").isdigit()
        if (is_word and not listed) or _REJECTED.match(match.string, match.end()):
            return NOTHING
        return frozenset({label}) | listed

    def _listed(self, text: str, position: int) -> Reading:
        """The labels that a list goes on with at `position`: `, B or C`."""
        labels: set[str] = set()
        for _ in self._labels:  # a list longer than the labels repeats itself
            another = self._more.match(text, position)
            if another is None:
                break
            labels.add(another[1])
            position = another.end()
        return frozenset(labels)

    def _by_text(self, content: str) -> Reading:
        """The options whose text, or whose number among numbers with units, is all of `content`."""
        for candidate in (content, content[_LEAD.match(content).end() :]):  # type: ignore[union-attr]  # may be empty
            if found := self._texts.get(_bare(candidate)):
                return found
        number = _NUMBER.fullmatch(_bare(content))
        return self._amounts.get(Decimal(number[0].replace(",", "")), NOTHING) if number else NOTHING

    def _leading(self, content: str, pattern: re.Pattern[str]) -> Reading:
        """The label that opens `content`, checked against what follows it."""
        start = _LEAD.match(content).end()  # type: ignore[union-attr]  # it matches the empty string
        match = pattern.match(content, start) or pattern.match(content)
        if match is None:
            return NOTHING
        sign = self._sign.match(content, match.end())
        rest = content[sign.end() if sign else match.end() :]
        if rest.strip() and not sign and not self._may_follow(match[0], rest):
            return NOTHING
        return frozenset({self._labels[match[0].casefold()]}) | self._contradicting(content, match, rest)

    def _may_follow(self, label: str, rest: str) -> bool:
        """Whether a label can be meant where text follows it unsigned. "A dog" and "I see" are words."""
        if rest[0] in ",;/&+" or _PROSE.match(rest.strip()) or self._more.match(rest):
            return True
        return label.isupper() and label not in ("A", "I") and self._by_text(rest) != NOTHING

    def _contradicting(self, content: str, match: re.Match[str], rest: str) -> Reading:
        """Further labels behind a label, and options of another label whose text follows it."""
        more = self._listed(content, match.end()) | frozenset(self._another.findall(rest))
        return more | self._by_text(_first_sentence(rest))

    def _opening(self, line: str) -> Reading:
        """The label that opens `line` with a sign or a reason behind it: `B.`, `(B)`, `B, because`."""
        opening = re.match(r"\s*\(?", line)
        match = self._label_upper.match(line, opening.end() if opening else 0)
        sign = match and self._sign.match(line, match.end())
        if match and _REASON.match(line, match.end()):
            return frozenset({match[0]})
        if match is None or not sign or not sign[0].strip("\"'> "):
            return NOTHING
        if _REJECTED.match(line, sign.end()):
            return NOTHING
        return self._leading(line, self._label_upper)

    def _trailing(self, content: str) -> Reading:
        """`blue (B)`: the label behind its text, checked against the text."""
        behind = re.search(r"\(\s*(?:option\s+)?(\w{1,2})\s*\)\W*$", content)
        if behind is None or behind[1].casefold() not in self._labels:
            return NOTHING
        return frozenset({self._labels[behind[1].casefold()]}) | self._by_text(content[: behind.start()])

    def _mentioned(self, text: str) -> Reading:
        """The options whose text stands in `text` between word borders, the longest text first."""
        if self._mention is None:
            return NOTHING
        several = len(re.findall(r"[.!?]\s|\n", text[:10_000])) > 1
        folded = text.casefold()

        def option(match: re.Match[str]) -> Reading:
            found = plain(match[0])
            if several and found[-1].isdigit():  # among sentences a number may count anything
                return NOTHING
            return self._texts.get(found, NOTHING)

        return mentions(folded, self._mention, option)

    @functools.cached_property
    def _mention(self) -> re.Pattern[str] | None:
        texts = sorted((text for text in self._texts if text not in _WEAK), key=len, reverse=True)
        texts = [text for text in texts if len(text) > 1 or text.isdigit()]
        if not texts:
            return None
        some = "|".join(r"[\s-]+".join(map(re.escape, text.split())) for text in texts)
        return re.compile(rf"(?<![\w-])(?<!\d[.,:/])(?:{some})(?![\w-]|[.,:/]\d|['\u2019]\w)")


def _bare(text: str) -> str:
    """An option's text as it is compared: plain, without its article."""
    text = plain(text)
    while len(text) > 1 and text[0] in "([" and text[-1] in ")]":
        text = text[1:-1].strip()
    return _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text


def _inner(content: str) -> str:
    """`content` without what may stand around a lone label."""
    return content[_LEAD.match(content).end() :].strip(" \t\n\"'()[]<>.,:;!")  # type: ignore[union-attr]  # may be empty


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[\w)\"'])[.!?](?=\s|$)|\n", text, maxsplit=1)[0]


def _amounts(texts: Mapping[str, Reading]) -> dict[Decimal, Reading]:
    """The options that are a number with or without a unit, by that number."""
    amounts: dict[Decimal, Reading] = {}
    for text, labels in texts.items():
        if (number := _NUMBER.match(text)) and re.fullmatch(r"[\s%°a-z/]{0,12}(?:\^\d)?", text[number.end() :]):
            value = Decimal(number[0].replace(",", ""))
            amounts[value] = amounts.get(value, NOTHING) | labels
    return amounts
