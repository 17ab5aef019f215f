"""The texts of a question's options: which one is meant, which ones are mentioned, which ones are only repeated."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping
from decimal import Decimal

from sclvlm.answers.cleaning import plain
from sclvlm.answers.numbers import TENS, WORDS
from sclvlm.answers.passages import NOTHING, Reading, mentions

_ARTICLE = re.compile(r"(?:the|a|an)\s+")
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_COUNT_WORD = re.compile(rf"\b(?:{'|'.join(word for word in WORDS if word != 'one')}|{'|'.join(TENS)})\b(?![-']\w)")
_PERCENT = re.compile(r"(?<=\d)\s?(?:percent|per\scent)\b")
_UNIT_SPACE = re.compile(r"(?<=\d)\s+(?=[%°])|(?<=°)\s+(?=[cf]\b)")
_UNIT_NAMES = {
    "km": r"kilomet(?:er|re)s?",
    "m": r"met(?:er|re)s?",
    "cm": r"centimet(?:er|re)s?",
    "mm": r"millimet(?:er|re)s?",
    "kg": r"kilograms?",
    "g": r"grams?",
    "ml": r"millilit(?:er|re)s?",
    "l": r"lit(?:er|re)s?",
    "h": r"hours?",
    "min": r"minutes?",
    "s": r"seconds?",
    "ft": r"feet|foot",
    "lb": r"pounds?",
}
_UNIT_NAME = re.compile("|".join(rf"(?<=\d\s)(?P<{unit}>{name})\b" for unit, name in _UNIT_NAMES.items()))
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_YES_OR_NO = frozenset({"yes", "no", "true", "false"})
_IDIOM = re.compile(
    r"\b(?:that's|that\sis|you're|you\sare|all|quite)\sright\b|\bright\s(?:now|away|answer|option|choice)\b"
)
_HAN = "\u3040-\u30ff\u3400-\u9fff"
_WEAK = frozenset(
    ["yes", "no", "true", "false", "none", "not", "all", "both", "neither", "one", "other", "is", "on", "in", "at"]
)
"""Option texts that any sentence may hold: they count only where they are the whole answer."""


class OptionTexts:
    """Option texts by what they say: case, articles, hyphens, number words and units aside."""

    def __init__(self, choices: Mapping[str, str]) -> None:
        texts: dict[str, set[str]] = {}
        for label, text in choices.items():
            texts.setdefault(bare(text), set()).add(label)
        for text, labels in list(texts.items()):
            texts.setdefault(" and ".join(reversed(text.split(" and "))), labels)  # the order says nothing
        self._texts = {text: frozenset(labels) for text, labels in texts.items() if text}
        self._amounts = _amounts(self._texts)
        self._labels = "|".join(map(re.escape, choices))
        self._plain = {label: plain(text) for label, text in choices.items()}

    @property
    def answers_yes_or_no(self) -> bool:
        """Whether yes or no is an option."""
        return not {"yes", "no"}.isdisjoint(self._texts)

    @property
    def count(self) -> bool:
        """Whether every option is a number, with or without a unit."""
        return NOTHING.union(*self._amounts.values()) == NOTHING.union(*self._texts.values())

    @property
    def unitless(self) -> bool:
        """Whether every option is nothing but a number."""
        return all(_NUMBER.fullmatch(text) for text in self._texts)

    def meant(self, content: str) -> Reading:
        """The options whose text, or whose number among numbers with units, is all of `content`."""
        said = bare(content)
        if (
            found := self._texts.get(said)
            or self._texts.get(bare(content.replace("-", "")))
            or self._texts.get(said.removesuffix("s"))
            or self._texts.get(said.removesuffix(" of them"), NOTHING)
        ):
            return found
        if said in _YES_OR_NO and len(found := self._opening(said)) == 1:
            return found
        number = _NUMBER.fullmatch(said)
        return self._amounts.get(Decimal(number[0].replace(",", "")), NOTHING) if number else NOTHING

    def mentioned(self, text: str) -> Reading:
        """The options whose text stands in `text` between word borders, the longest text first."""
        if self._mention is None:
            return NOTHING
        several = len(re.findall(r"[.!?]\s|\n", text[:10_000])) > 1
        folded = _THOUSANDS.sub("", _IDIOM.sub(" ", text.casefold()))
        echoed = self._echoed(folded)

        def option(match: re.Match[str]) -> Reading:
            found = bare(match[0])
            if several and found[-1:].isdigit():  # among sentences a number may count anything
                return NOTHING
            return NOTHING if match.start() in echoed else self._texts.get(found, NOTHING)

        return mentions(folded, self._mention, option)

    def without_list(self, text: str) -> str:
        """`text` without the list of all options that the prompt gave."""
        folded = text.casefold()
        if all(said.split()[0] in folded for said in self._plain.values() if said):  # compiled where it can match
            text = self._list.sub("\n", text)
        return _label_list(tuple(self._plain)).sub("\n", text) if len(self._plain) > 2 else text

    def _opening(self, word: str) -> Reading:
        """The options that begin with `word` and a comma: `Yes, it is`."""
        return NOTHING.union(*(labels for text, labels in self._texts.items() if text.startswith(f"{word},")))

    def _echoed(self, text: str) -> frozenset[int]:
        """Where options begin that stand behind their own label, as in a list, where two or more do."""
        starts: dict[str, list[int]] = {}
        for match in self._labelled.finditer(text):
            starts.setdefault(match[1], []).append(match.end())
        return frozenset(start for each in starts.values() for start in each) if len(starts) > 1 else frozenset()

    @functools.cached_property
    def _labelled(self) -> re.Pattern[str]:
        return re.compile(rf"(?<!\w)\(?({self._labels.casefold()})\s?[).:]\s{{0,3}}(?:(?:the|an?)\s)?(?=\S)")

    @functools.cached_property
    def _list(self) -> re.Pattern[str]:
        """All options in their order: labels with texts, or texts alone."""
        texts = [_flexible(text) for text in self._plain.values()]
        both = [
            rf"\(?{re.escape(label)}\s?[).:]?\s{{0,3}}{text}" for label, text in zip(self._plain, texts, strict=True)
        ]
        lists = [r"[^\w(+=*]{1,6}(?:(?:or|and)\W{1,3})?".join(entries) for entries in (both, texts)]
        return re.compile(rf"(?<![\w'])\(?(?:{'|'.join(lists)})\)?(?![\w'])", re.IGNORECASE)

    @functools.cached_property
    def _mention(self) -> re.Pattern[str] | None:
        texts = sorted((text for text in self._texts if text not in _WEAK), key=len, reverse=True)
        texts = [text for text in texts if len(text) > 1 or text.isdigit() or re.match(f"[{_HAN}]", text)]
        return re.compile("|".join(map(_bordered, texts))) if texts else None


@functools.lru_cache(maxsize=64)
def _label_list(labels: tuple[str, ...]) -> re.Pattern[str]:
    """All of three labels and more in their order, without their texts."""
    listed = r"\)?(?:\s?[,/]\s{0,2}(?:(?:or|and)\s)?|\s(?:or|and)\s)\(?".join(map(re.escape, labels))
    return re.compile(rf"(?<![\w'])\(?{listed}\)?(?![\w'])", re.IGNORECASE)


def bare(text: str) -> str:
    """An option's text as it is compared: plain, without its article, number words as figures."""
    text = plain(text)
    while len(text) > 1 and text[0] in "([" and text[-1] in ")]":
        text = text[1:-1].strip()
    text = _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text
    if text == "one":
        return "1"
    text = _THOUSANDS.sub("", _UNIT_NAME.sub(lambda match: str(match.lastgroup), text))
    text = _UNIT_SPACE.sub("", _PERCENT.sub("%", text))
    return _COUNT_WORD.sub(lambda match: str(WORDS.get(match[0]) or TENS.get(match[0], 0)), text)


def _bordered(text: str) -> str:
    """A pattern for an option's text between word borders; Chinese writes none."""
    before = "" if re.match(f"[{_HAN}]", text) else r"(?<![\w-])(?<!\d[.,:/])"
    behind = "" if re.search(f"[{_HAN}]$", text) else r"(?![\w-]|[.,:/]\d|['’]\w)"
    return rf"{before}{_flexible(text)}{behind}"


_FIGURES = {str(number): word for word, number in WORDS.items() if word != "one"} | {
    str(number): word for word, number in TENS.items()
}


def _flexible(text: str) -> str:
    """A pattern for `text` with any space or hyphen between its words, and its numbers in words too."""
    words = (_spelt(word, before) for before, word in itertools.pairwise(("", *text.split())))
    return r"[\s-]{1,4}".join(words)


def _spelt(word: str, before: str) -> str:
    """A pattern for `word`: a figure in words too, a unit behind a number by its name too."""
    if word in _FIGURES:
        return rf"(?:{word}|{_FIGURES[word]})"
    return rf"(?:{word}|{_UNIT_NAMES[word]})" if before[-1:].isdigit() and word in _UNIT_NAMES else re.escape(word)


def _amounts(texts: Mapping[str, Reading]) -> dict[Decimal, Reading]:
    """The options that are a number with or without a unit, by that number."""
    amounts: dict[Decimal, Reading] = {}
    for text, labels in texts.items():
        if (number := _NUMBER.match(text)) and re.fullmatch(r"[\s%°a-z/]{0,12}(?:\^\d)?", text[number.end() :]):
            value = Decimal(number[0].replace(",", ""))
            amounts[value] = amounts.get(value, NOTHING) | labels
    return amounts
