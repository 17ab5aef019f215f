"""Reading yes or no, a number, or a short free text."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from sclvlm.answers.passages import NOTHING, Reading, mentions
from sclvlm.answers.vqa import NUMBER_WORDS, normalise

_LEAD = re.compile(
    r"[\s\"'(\[]*(?:(?:so|therefore|thus|hence|and|but|well)\b[\s,]*)?"
    r"(?:(?:the|my|final|correct)\s+){0,3}(?:answer\b\s*(?:is\b)?\s*:?)?\s*"
    r"(?:(?:a|an|clear|definite|simple|clearly|definitely|simply)\s+){0,2}[\"'(]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"(?<!\bst)(?<!\bmr)(?<!\bdr)(?<!\bms)(?<!\bvs)(?<!\bmt)(?<!\bmrs)[.!?](?=\s|$)|[;\n]", re.IGNORECASE
)


def _without_lead(content: str) -> str:
    return content[_LEAD.match(content).end() :]  # type: ignore[union-attr]  # it matches the empty string


def _first_sentence(text: str) -> str:
    return _SENTENCE_END.split(text.strip(), maxsplit=1)[0].strip()


class YesNoReader:
    """Reads yes or no, where it leads: "no" inside a sentence is most often a word like any other."""

    reads_open_marks = True

    _WORD = re.compile(
        r"(?P<yes>yes|yeah|yep|true)\b(?!\s*['-]\w)"
        r"|(?P<no>no|nope|false)\b(?=\W*$|\s*[,.;:!\n\"')\]]|\s+-\s|\s+(?:and|or)\s+yes\b|\s*/"
        r"|\s+(?:it|there|he|she|they|this|that|these|those|the|i|we|you|because|since|as)\b)",
        re.IGNORECASE,
    )
    _SOURCE = re.compile(r"^\W*(?:based\s+on|according\s+to|looking\s+at|from|in)\s[^,.\n]{1,80},\s*", re.IGNORECASE)
    _LAST_CLAUSE = re.compile(r",\s*(?:(?:so|but|then|thus|therefore|hence)\s+)?(yes|no)\W*$", re.IGNORECASE)
    _BOTH = re.compile(r"(?:yes|no)\s*(?:/|\bor\b|\band\b|,)\s*(?:yes|no)\b", re.IGNORECASE)

    def exact(self, content: str) -> Reading:
        """The yes or no that `content` begins with."""
        content = _without_lead(self._SOURCE.sub("", content[:300], count=1))
        if self._BOTH.match(content):
            return frozenset({"yes", "no"})
        word = self._WORD.match(content)
        return frozenset({"yes" if word["yes"] else "no"}) if word else NOTHING

    def stated(self, content: str) -> Reading:
        """The same: what follows yes or no explains it."""
        return self.exact(content)

    @property
    def rules(self) -> dict[str, Callable[[str], Reading]]:
        """Only one: the sentences that lead with yes or no."""
        return {"label": self.leading}

    def leading(self, text: str) -> Reading:
        """The yes or no that opens the first or the last sentence, or closes it; two may contradict."""
        sentences = [sentence for sentence in _SENTENCE_END.split(text) if sentence and sentence.strip()]
        if not sentences:
            return NOTHING
        closing = self._LAST_CLAUSE.search(sentences[-1][-40:])
        said = (f"{sentences[0]}.", f"{sentences[-1]}.", closing[1] if closing else "")
        return NOTHING.union(*map(self.exact, said))


_TEENS = (
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
_WORDS = {word: number for number, word in enumerate((*NUMBER_WORDS, *_TEENS))}
_TENS = {
    word: 10 * n
    for n, word in enumerate(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), start=2)
}
_WORD = (
    rf"(?:{'|'.join(_TENS)})(?:[\s-](?:{'|'.join(NUMBER_WORDS[1:10])})\b)?"
    rf"|(?:{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
)
_FIGURES = r"(?:[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,2})?)"


class NumberReader:
    """Reads a number in figures or words. A range, a time, open arithmetic, a foreign comma are none.

    An open mark is not read: a number cut off is another number.
    """

    reads_open_marks = False

    _NUMBER = re.compile(
        rf"(?<![\w.,^/:+√-])(?<!-\s)(?:(?P<figures>{_FIGURES})(?![\d^/]|[.,:-]\d|[eE][-+]?\d|\s?[π√]|(?:st|nd|rd|th)\b|[a-zA-Z]{{5}}|\s*[*^]\s*\d)"
        rf"|(?P<word>{_WORD})(?![\w-])(?!\s+(?:hundred|thousand|million|billion|of|that|who|which|on|in|is|another)\b))",
        re.IGNORECASE,
    )
    _FRACTION = re.compile(r"(?P<sign>-?)(?:(?P<whole>\d{1,9})\s+)?(?P<top>\d{1,9})\s*/\s*(?P<bottom>\d{1,9})")
    _ARITHMETIC = re.compile(r"\d\s*[+*/^]\s*\d|\d\s+-\s+\d")
    _UNIT = re.compile(r"\s*(?:[%°$€£]|[a-z°/]{1,12}(?:\^\d)?)?(?:\s[a-z]{1,12}){0,2}\W*", re.IGNORECASE)

    @property
    def rules(self) -> dict[str, Callable[[str], Reading]]:
        """A line that is a number, then the only number of a short response."""
        return {"label": self.lines, "only_number": self.only}

    def exact(self, content: str) -> Reading:
        """The numbers of `content`; of an equation its right-hand side."""
        content = content[:300].rpartition("=")[2].strip()
        bare = content.strip(" .\"'()$")
        if bare.casefold() == "none":  # as the VQA evaluation counts it
            return frozenset({"0"})
        if fraction := self._FRACTION.fullmatch(bare):
            return _of_fraction(fraction)
        if self._ARITHMETIC.search(content):
            return NOTHING
        return mentions(content, self._NUMBER, _of_number)

    def stated(self, content: str) -> Reading:
        """The number that `content` begins with, else the only one of its first sentence."""
        sentence = _first_sentence(content)
        start = re.match(r"[\s\"'($]*(?:(?:about|around|approximately|roughly|exactly)\s+)?[$]?", sentence)
        lead = self._NUMBER.match(sentence, start.end() if start else 0)
        if lead and not re.match(r"\s*(?:[-+*/=^<>,]|\bto\b|\bor\b|\band\b)\s*[\w-]*\d", sentence[lead.end() :]):
            return _of_number(lead)
        return self.exact(sentence)

    def lines(self, text: str) -> Reading:
        """The last line, else the first, where it is a number and its unit."""
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        for line in (lines[-1], lines[0]) if lines else ():
            start = 1 if line[0] in "$€£" else 0
            match = self._NUMBER.match(line, start)
            if match and self._UNIT.fullmatch(line, match.end()):
                return _of_number(match)
        return NOTHING

    def only(self, text: str) -> Reading:
        """The only number of a response of at most 40 words: longer ones count and measure other things."""
        return self.exact(text.replace("\n", " ")) if len(text.split()) <= 40 and len(text) <= 300 else NOTHING


def _of_number(match: re.Match[str]) -> Reading:
    if match["word"]:
        words = re.split(r"[\s-]", match["word"].lower())
        return frozenset({str(sum(_TENS.get(word, _WORDS.get(word, 0)) for word in words))})
    figures = match["figures"].replace(",", "")
    return frozenset({_decimal_string(Decimal(figures))}) if len(figures) <= 40 else NOTHING


def _of_fraction(match: re.Match[str]) -> Reading:
    """Only fractions that a decimal writes exactly: 1/4, not 1/3."""
    bottom = int(match["bottom"])
    if not bottom:
        return NOTHING
    value = int(match["whole"] or 0) + Fraction(int(match["top"]), bottom)
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return NOTHING
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return frozenset({_decimal_string(-exact if match["sign"] else exact)})


def _decimal_string(number: Decimal) -> str:
    """`number` without exponent, plus sign, needless zeros; exact whatever the decimal context."""
    digits = format(number, "f").lstrip("+")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits in ("-0", "") else digits


class TextReader:
    """Reads a short free text, VQA-normalised. A long response that marks nothing has no answer to read."""

    reads_open_marks = False  # a word cut off is another word

    _MARKED_WORDS, _STATED_WORDS, _WHOLE_WORDS = 30, 6, 5
    _REASON = re.compile(r",?\s+(?:because|since|as|which|due\s+to|based\s+on|given)\b|\s-\s|,\s", re.IGNORECASE)
    _NO_ANSWER = re.compile(
        r"(?:clear|obvious|based|found|given|that|not|unclear|shown|visible|provided|as\s+follows|correct|wrong|in\s+the)\b",
        re.IGNORECASE,
    )
    _REFUSAL = re.compile(r"\b(?:sorry|cannot|unable|know|i\s+am|i\s+do|it\s+is\s+not)\b|n't\b|'m\b", re.IGNORECASE)
    _NAME = re.compile(r"\W*(?:(?:the|my|your|final)\s+)*answer\W*", re.IGNORECASE)
    _LABEL = re.compile(r"\s*(?:the\s+)?(?:final\s+|correct\s+)?answer\s*(?:is\b\s*:?|:)\s*", re.IGNORECASE)

    @property
    def rules(self) -> dict[str, Callable[[str], Reading]]:
        """Only one: a response that is nothing but a few words."""
        return {"whole": self.whole}

    def exact(self, content: str) -> Reading:
        """All of `content`."""
        content = self._LABEL.sub("", content, count=1)
        return _text(content) if len(content.split()) <= self._MARKED_WORDS else NOTHING

    def stated(self, content: str) -> Reading:
        """The beginning of `content`, up to the end of the sentence or the reason given."""
        value = self._REASON.split(_first_sentence(content), maxsplit=1)[0]
        if self._NO_ANSWER.match(value) or len(value.split()) > self._STATED_WORDS:
            return NOTHING
        return _text(value)

    def whole(self, text: str) -> Reading:
        """The whole response where it is a few words on one line, and no refusal."""
        if "\n" in text or len(text.split()) > self._WHOLE_WORDS or len(text) > 100 or self._REFUSAL.search(text):
            return NOTHING
        return NOTHING if self._NAME.fullmatch(text) else _text(text)


def _text(content: str) -> Reading:
    value = normalise(content.strip(" \t\n\"'.,:;"))
    return frozenset({value}) if value else NOTHING
