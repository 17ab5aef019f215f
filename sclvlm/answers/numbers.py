"""Reading a number: figures, words, fractions, powers of ten. A range, a bound, a time, a date is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from sclvlm.answers.passages import NOTHING, Reading, mentions
from sclvlm.answers.vqa import NUMBER_WORDS

_TEENS = ("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TEN_WORDS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
WORDS = {word: number for number, word in enumerate((*NUMBER_WORDS, *_TEENS))}
"""zero to nineteen."""
TENS = {word: 10 * n for n, word in enumerate(_TEN_WORDS, start=2)}
"""twenty to ninety."""
_HAN = {char: number for number, char in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_MAGNITUDES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "千": 10**3,
    "万": 10**4,
    "亿": 10**8,
}

_WORD = (
    rf"(?:{'|'.join(TENS)})(?:[\s-](?:{'|'.join(NUMBER_WORDS[1:10])})\b)?"
    rf"|(?:{'|'.join(sorted(WORDS, key=len, reverse=True))})"
)
_FIGURES = r"(?:[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,2})?)"
_POWER = r"\s*[*x]\s*10\s*\^\s*[{(]?\s*(?P<power>[+-]?\d{1,2})\s*[})]?"
_TIMES = r"(?:\s?(?P<magnitude>(?:dozen|hundred|thousand|million|billion|trillion)\b|[千万亿]))"
_MEASURED = r"(?=\W*$|\s*[,.;:]|\s?[到至或个只条张本辆棵人位朵支件块把双杯台座头匹名岁米元种次层页])"
_LARGE = r"(?:hundred|thousand|million|billion|trillion)"
_HAN_DIGIT = "".join(_HAN)
_NUMBER_PATTERN = rf"""
    (?<![\w.,^/:+√-])(?<!-\s)(?P<minus>(?:negative|minus)\s+|负\s?)?
    (?: (?P<figures>{_FIGURES})(?:{_POWER}|{_TIMES})?+
        (?![\d^/!]|[.,:-]\d|[eE][-+]?\d|\s?[π√]|(?:st|nd|rd|th|k)\b|[a-zA-Z]{{5}}|\s*[*^]\s*\d|\+(?!\s*\d)
         |\s?\d+\s?(?:feet|foot|ft|in|inch|inches|lbs?)\b)
      | (?P<compound>(?:{_WORD}|a)(?:\s{_LARGE})+(?:\s(?:and\s)?(?:{_WORD})(?:\s{_LARGE})*)+)(?![\w-])(?!\s+of\b)
      | (?<!hundred\s)(?<!hundred\sand\s)(?<!thousand\s)(?<!thousand\sand\s)
        (?P<word>{_WORD}|(?<!half\s)a(?=\s(?:dozen|{_LARGE})\b))
        (?:\s(?P<word_magnitude>dozen|{_LARGE})(?!\s(?:and\s)?(?:{_WORD})\b))?+
        (?![\w-])(?!\s+(?:{_LARGE}|of|another|more|half|third|quarter)\b)(?!(?<=one)\s+(?:that|who|which|on|in|is)\b))
    | (?<![第{_HAN_DIGIT}十百千万亿])(?P<han>[{_HAN_DIGIT}]?十?[{_HAN_DIGIT}]?)(?<=[{_HAN_DIGIT}十]){_MEASURED}
"""
_FLAGS = re.IGNORECASE | re.VERBOSE
_NUMBER = re.compile(_NUMBER_PATTERN, _FLAGS)
_MONTH = "january|february|march|april|may|june|july|august|september|october|november|december"
_LESS_OR_MORE = r"\b(?:at\s+(?:least|most)|(?:more|less|fewer|greater|larger|smaller|other)\s+than)"
BOUND = re.compile(rf"{_LESS_OR_MORE}\s+(?:[-+]?\d|(?:{_WORD})\b)", re.IGNORECASE)
"""A number that only bounds the answer."""
_NOT_A_VALUE = re.compile(
    rf"(?:{_LESS_OR_MORE}|\b(?:over|under|up\s+to|above|below)"
    r"|\b(?:image|figure|fig\.?|picture|photo|panel|question|step|option|example|page|no\.)|[<≥≤#]|(?<![-=])>"
    rf"|\b(?:{_MONTH})(?:\s+\d{{1,2}},)?"
    r"|\d\s*(?:feet|foot|ft)"
    r"|第|至少|至多|超过|多于|少于|不到)\s*$",
    re.IGNORECASE,
)
"""What stands before a number that only bounds the answer, or that counts pictures, steps, days."""
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_OF_YEAR = re.compile(rf"\b(?:in|for|since|during|by|year)\s{_YEAR.pattern}(?![.,]\d|\s?[-/:])", re.IGNORECASE)
"""The year that a value is given for."""
_NAME_BEFORE = re.compile(r"(?:^|[.!?]\s)(?!Answer|Total|Count)[A-Z][a-z]{1,15}\s$")
_VERB_BEHIND = re.compile(r"\s(?:is|has|was|shows|lies|looks|stands)\b")
"""Around the number of a name: "Bird 3 is blue"."""
_ONE_COUNTS = re.compile(
    r"(?:^|\b(?:is|are|only|exactly|just|has|have|see|count|of|about|answer|was|with)\s|[:=])\W*$", re.I
)
_BOUND_BEHIND = re.compile(
    rf"\s+(?:of\s+)?(?:{_MONTH})\b|"
    r"\s+(?:or|and)\s+(?:more|fewer|less|above|below)\b|\s+and\s+(?:a|one)\s+(?:half|quarter|third)\b|\s*(?:以上|以下|多)|\s+feet\s+\d|\s*[-+*/=]\s*(?:=\s*)?$|\s*[+*/]\s*\d|\s+-\s+\d",
    re.IGNORECASE,
)

_FRACTION = re.compile(r"(?P<sign>-?)(?:(?P<whole>\d{1,9})\s+)?(?P<top>\d{1,9})\s*/\s*(?P<bottom>\d{1,9})")
_ARITHMETIC = re.compile(
    r"\d\s*[+/^](?!\s*10\s*\^)\s*\d|\d\s*[*x]\s*(?!10\s*\^)\d|\d\s+-\s+\d|\d\s+(?:plus|minus|times|divided\s+by)\s+\d",
    re.IGNORECASE,
)
_NO_RANGE = r"(?!(?:or|to|and|through)\b)"
_REASON = re.compile(r",?\s+(?:because|since|as)\b", re.IGNORECASE)
_UNIT = re.compile(
    rf"\s*(?:[%°$€£]|{_NO_RANGE}[a-z°/]{{1,12}}(?:\^\d)?)?(?:\s{_NO_RANGE}[a-z]{{1,12}}){{0,2}}\W*", re.IGNORECASE
)
_PARTS_FOLLOW = re.compile(r":\s|\s\(")
_EQUATIONS = re.compile(r"=[^=]*(?:\b(?:or|and)\b|,|;)[^=]*=")
"""Several of them: x = 2 or x = 3."""
_RESULT = re.compile(
    rf"""
    (?:\b|(?=[等总一共合]))
    (?: total\b(?:\s+(?:number|count|of|is))*
      (?:\s+(?!(?:{_WORD}|not|never|than|least|most|over|under)\b)[a-z]{{1,15}}){{0,2}}
      (?:\s+is\b|\s+of\b)?
      | altogether | in\s+(?:all|total)
      | equals? | (?:we|you|i)\s+(?:get|have|obtain) | (?:which|this|that)\s+(?:gives|makes|leaves|is|equals)(?:\s+us)?
      | (?:plus|minus|times|divided\s+by|and|to|from|of)\s+\S{{1,10}}\s+(?:is|gives?|makes?|equals?|leaves?)(?:\s+us)?
      | result\s+is\b | (?:等于|总共|一共|共有|合计)(?=\W)
      | (?:sum|difference|product|average|mean|number|count)\s[^.\n]{{0,60}}?\bis
      | (?:so|thus|therefore|hence)\b(?:[\s,]+(?:there|we|it|i|the|they)\s+[a-z]+)? )
    [\s,:=]*(?:a\s+total\s+of\s+)?(?:{_NUMBER_PATTERN})
    """,
    _FLAGS,
)
_TOTALLED = re.compile(
    rf"(?:{_NUMBER_PATTERN})(?:\s[a-z]{{1,15}}){{0,3}}\s+(?:in\s+total|altogether|in\s+all|total)\b", _FLAGS
)
_ZERO = re.compile(
    r"\W*(?:in\s[^,.\n]{1,60},\s*)?there\s+(?:(?:are|is)\s+(?:no|zero)|(?:aren't|isn't|are\s+not|is\s+not)\s+any)\s"
    r"(?!(?:way|information|answer|clear|indication|evidence|data|image|mention|number|doubt|more|one)\b)[^.\n]{1,80}\.?\s*",
    re.IGNORECASE,
)


class NumberReader:
    """Reads a number in figures or words.

    An open mark is not read: a number cut off is another number.
    """

    reads_open_marks = False
    is_open = False
    no_is_a_turn = True

    @property
    def rules(self) -> dict[str, Callable[[str], Reading]]:
        """A line that is a number, then a result, then the only number of a short response."""
        return {"label": self.lines, "result": self.result, "only_number": self.only}

    def prepared(self, text: str) -> str:
        """`text` as it is."""
        return text

    def exact(self, content: str) -> Reading:
        """The numbers of `content`; of an equation its right-hand side."""
        if _EQUATIONS.search(content[:300]):
            return NOTHING
        content = content[:300].rpartition("=")[2].strip()
        bare = content.strip(" .\"'()$")
        if bare.casefold() == "none":  # as the VQA evaluation counts it
            return frozenset({"0"})
        fraction = _FRACTION.match(bare)
        if fraction and _UNIT.fullmatch(bare, fraction.end()):
            return _of_fraction(fraction)
        if _ARITHMETIC.search(content):
            return NOTHING
        return mentions(content, _NUMBER, _of_number)

    def stated(self, content: str) -> Reading:
        """The number that `content` begins with, else the only one of its first sentence."""
        sentence = re.split(r"[.!?](?=\s|$)|[;\n]", content.strip(), maxsplit=1)[0]
        start = re.match(r"[\s\"'($]*(?:(?:about|around|approximately|roughly|exactly|大?约)\s*)?[$]?", sentence)
        lead = _NUMBER.match(sentence, start.end() if start else 0)
        goes_on = rf"\s*(?:[-+*/=^<>,~到至]|\bto\b|\bor\b|\band\b)\s*(?:[\w-]*\d|(?:{_WORD})\b)"
        if lead and not re.match(goes_on, sentence[lead.end() :], re.IGNORECASE):
            return _of_number(lead)
        return self.exact(sentence)

    def lines(self, text: str) -> Reading:
        """The last line, else the first, where it is a number and its unit."""
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        for line in (lines[-1], lines[0]) if lines else ():
            start = 1 if line[0] in "$€£" else 0
            match = _NUMBER.match(line, start)
            if match and (_UNIT.fullmatch(line, match.end()) or _REASON.match(line, match.end())):
                return _of_number(match)
        return NOTHING

    def result(self, text: str) -> Reading:
        """The last number that a sum, a total or a conclusion is said to be."""
        found = [*_RESULT.finditer(text[-2000:]), *_TOTALLED.finditer(text[-2000:])]
        return _of_number(max(found, key=lambda match: match.end())) if found else NOTHING

    def only(self, text: str) -> Reading:
        """The only number of a response of at most 40 words: longer ones count and measure other things."""
        if len(text.split()) > 40 or len(text) > 300:
            return NOTHING
        text = text.replace("\n", " ")
        if total := _total(text):
            return total
        dateless = _OF_YEAR.sub("", text)
        value = NOTHING if _YEAR.search(dateless) else self.exact(dateless)
        return value or self.exact(text) or (frozenset({"0"}) if _ZERO.fullmatch(text) else NOTHING)


def _of_number(match: re.Match[str]) -> Reading:
    """The value of a match of _NUMBER; nothing where it is a bound or a name."""
    begins = match.start("minus" if match["minus"] else _which(match))
    before = match.string[max(0, begins - 24) : begins]
    if _NAME_BEFORE.search(before) and _VERB_BEHIND.match(match.string, match.end()):
        return NOTHING
    if _NOT_A_VALUE.search(before) or _BOUND_BEHIND.match(match.string, match.end()):
        return NOTHING
    if (match["word"] or "").casefold() == "one" and not match["word_magnitude"] and not _ONE_COUNTS.search(before):
        return NOTHING  # "the red one"
    figures = (match["figures"] or "").replace(",", "")
    if len(figures) > 40:
        return NOTHING
    words = match["compound"] or match["word"]
    value = Decimal(figures) if figures else Decimal(_of_han(match["han"]) if match["han"] else _of_words(words))
    magnitude = _MAGNITUDES.get((match["magnitude"] or match["word_magnitude"] or "").casefold(), 1)
    value = value * magnitude * (Decimal(10) ** int(match["power"] or 0))
    return frozenset({_decimal_string(-value if match["minus"] else value)})


def _total(text: str) -> Reading:
    """The number before a colon or bracket behind which its parts are told: `4 people: 3 men and 1 woman`."""
    told = _PARTS_FOLLOW.search(text)
    if told is None:
        return NOTHING
    whole, parts = _amounts(text[: told.start()]), _amounts(text[told.end() :])
    is_total = len(whole) == 1 and len(parts) > 1 and sum(parts) == whole[0]
    return frozenset({_decimal_string(whole[0])}) if is_total else NOTHING


def _amounts(text: str) -> list[Decimal]:
    return [Decimal(value) for match in _NUMBER.finditer(text) for value in _of_number(match)]


def _which(match: re.Match[str]) -> str:
    return next(name for name in ("figures", "compound", "word", "han") if match[name])


def _of_words(words: str) -> int:
    """`a` (of "a dozen"), `twenty-one`, `two thousand one hundred and five`."""
    total = small = 0
    for word in re.split(r"[\s-]", words.casefold()):
        magnitude = _MAGNITUDES.get(word, 1)
        small = small * magnitude + (1 if word == "a" else TENS.get(word, WORDS.get(word, 0)))
        if magnitude >= _MAGNITUDES["thousand"]:
            total, small = total + small, 0
    return total + small


def _of_han(text: str) -> int:
    tens, ten, ones = text.rpartition("十")
    return (10 * (_HAN[tens] if tens else 1) if ten else 0) + (_HAN[ones[-1]] if ones else 0)


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
