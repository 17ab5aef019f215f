"""Reading one of this question's options, by its label or by its text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sclvlm.answers.elimination import Elimination
from sclvlm.answers.numbers import BOUND, NumberReader
from sclvlm.answers.options import OptionTexts
from sclvlm.answers.passages import NOTHING, Reading, mentions

_CAUTION = (
    r"(?:(?:probably|most\s+likely|likely|definitely|certainly|clearly|presumably|surely|obviously|simply)\b[\s,:]*)?"
)
_LEAD = re.compile(
    r"[\s\"'\[(<]*(?:(?:so|therefore|thus|hence|and|but|then|rather)\b[\s,]+|(?:yes|no)\b\s*[,.:;-]\s*)?"
    rf"{_CAUTION}(?:(?:i\s+(?:think|believe|guess|suppose)|it\s+is|it's|it\s+(?:should|must)\s+be)\b[\s,:]*)?{_CAUTION}"
    r"(?:(?:the|my|this|it|final|correct|best|right|only|previous|initial|original|first|earlier)\s+){0,3}"
    r"(?:(?:answer|option|choice|letter|response|label)s?\b\s*(?:is\b|was\b|of\b|would\s+be\b)?\s*[:=]?|is\b\s*:?)?"
    r"\s*(?:(?:the\s+)?(?:option|choice|letter)\b\s*)?(?:[\"'(]*\s*(?:选项|选|答案|应该是|就是|是)\s*:?\s*)?",
    re.IGNORECASE,
)
"""Words before an answer that belong to the sentence, not to the answer."""

_PROSE = re.compile(
    r"(?:because|since|as|for|here|though|due|which|with|given|is|and|but|based|not|instead|rather|over"
    r"|the\s+(?:correct|right|best|better|\w+\s+(?:answer|choice|option|fit)\b)|it\s+is|to\b(?=\s+[A-Z]\b)|选项|项|[\u4e00-\u9fff]+)(?:\b|(?<=\W)|\s|$)",
    re.IGNORECASE,
)
_REASON = re.compile(r"\s*,?\s+(?:because|since|as)\b")
_ARTICLE_LAST = re.compile(r"(?:\bis|\w's)\s+a\W*$")
"""A sentence that broke off behind its article."""

_REMARK = re.compile(
    r"\s*[(\[](?![^)\]\n]*\b(?:not|un\w+|no|low)\b)[^)\]\n]{0,40}(?:confiden\w+|certain\w*|\bsure|\blikely|%)[^)\]\n]{0,40}[)\]]\W*",
    re.IGNORECASE,
)
"""How sure the response is of the label before."""

_REJECTED = re.compile(
    r"\W*(?:(?:this|it|that|option|which|one)\s+)*(?:is\s+|'s\s+)?"
    r"(?:not\s+(?:correct|right|the)\b|isn't\b|incorrect\b|wrong\b|false\b|错|不)",
    re.IGNORECASE,
)
"""What follows a label whose option the response turns down."""


_CLOSING = re.compile(r"[.!?]\s+(\(?[A-Z]\)?)[.!]?\s*\Z")
"""A last sentence that is nothing but a capital."""

_CONCLUDED = re.compile(
    r"(?:[.!?]\s|\n)(?:so|thus|hence|therefore)\b,?\s*(?:it's\s|it\s(?:is|must\sbe)\s)?([^.!?\n]{1,80})[.!]?\s*\Z",
    re.IGNORECASE,
)
"""A last sentence that concludes with nothing but the answer."""

_SAYS = (
    r"\b(?:is|be|[Ss]o|[Tt]hus|[Hh]ence|[Tt]herefore|[Pp]robably|[Dd]efinitely|likely|[Oo]nly|meant|mean|shows?"
    r"|depicts?|towards?|[Pp]ick|chose|choose|keep|makes?|with|[Ss]elect|indicates?)"
)
"""Words that a label may follow without a sign. No nouns: vitamin C, point B."""

_AROUND = " \t\n\"'()[]{}<>|.,:;!"


class ChoiceReader:
    """Reads the label of an option. A label beside the text of another option is contradictory."""

    reads_open_marks = True
    is_open = False

    def __init__(self, choices: Mapping[str, str]) -> None:
        self._labels = {label.casefold(): label for label in choices}
        self._options = OptionTexts(choices)
        self._elimination = Elimination(choices)
        some = "|".join(re.escape(label) for label in sorted(choices, key=len, reverse=True))
        self._label = re.compile(rf"(?:{some})(?![\w'])", re.IGNORECASE)
        self._label_upper = re.compile(rf"(?:{some})(?![\w'])")
        self._sign = re.compile(r"[\"')\]>]*\s*[).:\]]|[\"'\]>]+|\s*[-–](?=\s)")
        self._more = re.compile(
            rf"\s*(?:,\s*(?:or|and)\b|,|/|&|\+|\bor\b|\band\b|或者?|和|还是)\s*(?:both\s+|option\s+)?[\"'(]?({some})(?![\w'])(?!\s+(?!and\b|or\b)[a-z])"
        )
        self._another = re.compile(rf"(?<![\w'])[(]?({some})[).:](?=\s)")
        self._against = re.compile(
            rf"(?:[,;]|\s-)\s*(?:and\s+|but\s+)?not\b|\brather\s+than\b|\binstead\s+of\b|\bas\s+opposed\s+to\b|\(\s*not\b"
            rf"|\s(?:and\s+)?not\s+(?:option\s+)?[\"'(]?(?:{some})(?![\w'])|,\s*(?:而)?不是",
            re.IGNORECASE,
        )
        self._bare_label = re.compile(
            rf"\((?P<round>{some})\)|\b(?:[Oo]ption|[Cc]hoice)\s+(?P<named>{some})(?![\w'])"
            rf"|(?:^|(?<=[.!?:;\n,]\s)|(?:{_SAYS}|\w's|是)\s)(?P<alone>{some})"
            rf"(?=\s*(?:[.,;:!\n]|$)|\s+(?:because|since|as|over|to|it\s+is|the\s+(?:correct|right))\b)(?!\.\w)",
            re.MULTILINE,
        )
        self._verdict = re.compile(
            rf"(?:^|(?<=[{{.;,\n|]\s)|(?<=[{{.;,\n|])|(?<=\s)(?=\(?(?:{some})[).:]\s))[ \t]{{0,4}}"
            rf"(?:[Oo]ption\s)?[\"'(]?({some})(?!\w|'(?!\s?:))[\"']?\s?[).:|]*\s{{0,3}}"
            r"(?:|[^.,;\n:|]{0,60}?[\W_]{1,4})(?:is\s)?"
            r"(?:(?P<wrong>incorrect|not\scorrect|wrong|false|no|错误|不正确|[✗✘✖❌×])|correct|right|true|yes|正确|[✓✔✅])(?![\w-])",
            re.IGNORECASE | re.MULTILINE,
        )

    @property
    def no_is_a_turn(self) -> bool:
        """Unless the question has the options yes and no."""
        return not self._options.answers_yes_or_no

    @property
    def rules(self) -> dict[str, Callable[[str], Reading]]:
        """Verdicts on all options, labels that open lines, what is left, option texts, capitals that stand alone."""
        return {
            "verdicts": self.verdicts,
            "label": self.lines,
            "elimination": self._elimination.left,
            "result": self.result,
            "option_text": self.option_text,
            "bare": self.bare,
        }

    def prepared(self, text: str) -> str:
        """`text` without the list of options that it repeats."""
        return self._options.without_list(text)

    def exact(self, content: str) -> Reading:
        """A label, a label with its text, an option's text, or the one option that the content mentions."""
        if len(content) > 500 or not content.strip():
            return NOTHING
        if alone := self._alone(content, self._label):
            return alone
        if whole := self._by_text(content):
            return whole
        kept = self._affirmed(content)
        if kept != content:
            return self.exact(kept)
        return self._leading(content, self._label) or self._trailing(content) or self._options.mentioned(content)

    def stated(self, content: str) -> Reading:
        """A label or an option's text at the beginning, else the one option that the sentence mentions."""
        line = content.partition("\n")[0]
        sentence = _first_sentence(line)
        if self._label.fullmatch(_inner(sentence)):
            return self._leading(line, self._label) or self.exact(sentence)
        if whole := self._by_text(line) or self._by_text(sentence):
            return whole
        line, sentence = self._affirmed(line), self._affirmed(sentence)
        return self._leading(line, self._label_upper) or self._options.mentioned(sentence)

    def verdicts(self, text: str) -> Reading:
        """`A: no. B: no. C: yes.`: the one option called right where three, or all, are called right or wrong."""
        judged = {match[1].casefold(): match["wrong"] is None for match in self._verdict.finditer(text[:5000])}
        right = [self._labels[label] for label, is_right in judged.items() if is_right]
        enough = len(judged) >= min(3, len(self._labels)) and self.no_is_a_turn
        return frozenset(right) if enough and len(right) == 1 else NOTHING

    def lines(self, text: str) -> Reading:
        """A label alone on a line; else one that opens the first or the last line, where no other opens any.

        Lines that open with different labels list the options.
        """
        lines = [line for line in text.split("\n") if line.strip()]
        label = self._label if len(lines) == 1 else self._label_upper  # a lone letter may be small
        if alone := NOTHING.union(*(self._alone(line, label) for line in lines)):
            return alone
        opened = [self._opening(line) for line in lines]
        if closing := _CLOSING.search(text[-40:]):
            opened.append(self._alone(closing[1], self._label_upper))
        first, last = (opened[0], opened[-1]) if opened else (NOTHING, NOTHING)
        contradictory = next((reading for reading in (first, last) if len(reading) > 1), NOTHING)
        if contradictory or len(frozenset().union(*opened)) != 1:
            return contradictory
        return first or last

    def option_text(self, text: str) -> Reading:
        """The whole response, or its first clause, is an option; else the one option it mentions at all."""
        if self._options.count and (len(NumberReader().exact(text)) > 1 or BOUND.search(text)):
            return NOTHING  # numbers that count several things
        behind = self._trailing(text[-300:])
        if len(behind) > 1:
            return behind
        line = text.partition("\n")[0]
        opening = re.split(r"[,.;:!]\s|\n", text, maxsplit=1)[0]
        concluded = _CONCLUDED.search(text[-200:])
        if found := (
            self._by_text(text[:500])
            or self._by_text(opening[:500])
            or (self._by_text(concluded[1]) if concluded else NOTHING)
        ):
            return found
        lead, mentioned = self._leading(line, self._label_upper), self._options.mentioned(text)
        if mentioned or len(lead) > 1:
            return lead | mentioned
        return self._counted(text) if self._options.unitless else NOTHING

    def _counted(self, text: str) -> Reading:
        """The option that is the only number of a short response: "there are none" is 0."""
        return NOTHING.union(*map(self._options.meant, NumberReader().only(text)))

    def result(self, text: str) -> Reading:
        """Where all options are numbers: the one that a sum, a total or a conclusion is said to be."""
        if not self._options.count:
            return NOTHING
        numbers = NumberReader()
        return NOTHING.union(*map(self._options.meant, numbers.only(text) if "=" in text else numbers.result(text)))

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

    def _alone(self, line: str, pattern: re.Pattern[str]) -> Reading:
        """The label that is all of `line`. The prompt asks for a letter: a letter is a label first, a text second."""
        if pattern.fullmatch(line.strip(_AROUND)):
            return frozenset({self._labels[line.strip(_AROUND).casefold()]})
        if not pattern.fullmatch(_inner(line)) or self._options.meant(line) or _ARTICLE_LAST.search(line):
            return NOTHING
        return frozenset({self._labels[_inner(line).casefold()]})

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

    def _affirmed(self, content: str) -> str:
        """`content` before what it turns down: `B rather than C`, `B, not C`."""
        kept = self._against.split(content, maxsplit=1)[0]
        return kept if kept.strip() else content

    def _by_text(self, content: str) -> Reading:
        return self._options.meant(content) or self._options.meant(content[_lead(content) :])

    def _leading(self, content: str, pattern: re.Pattern[str]) -> Reading:
        """The label that opens `content`, checked against what follows it."""
        match = pattern.match(content, _lead(content)) or pattern.match(content)
        if match is None:
            return NOTHING
        sign = self._sign.match(content, match.end())
        rest = content[sign.end() if sign else match.end() :]
        if rest.strip() and not sign and not self._may_follow(match[0], rest):
            return NOTHING
        return frozenset({self._labels[match[0].casefold()]}) | self._contradicting(content, match, rest)

    def _may_follow(self, label: str, rest: str) -> bool:
        """Whether a label can be meant where text follows it unsigned. "A dog" and "I see" are words."""
        if _REJECTED.match(rest):
            return False
        if rest[0] in ",;/&+" or rest.lstrip()[0] in "([" or _PROSE.match(rest.strip()) or self._more.match(rest):
            return True
        return label.isupper() and label not in ("A", "I") and self._by_text(rest) != NOTHING

    def _contradicting(self, content: str, match: re.Match[str], rest: str) -> Reading:
        """Further labels behind a label, and options of another label whose text follows it."""
        rest = self._affirmed(rest)
        more = self._listed(content, match.end()) | frozenset(self._another.findall(rest))
        if self._label_upper.fullmatch(rest.strip(_AROUND)):
            more |= {rest.strip(_AROUND)}
        return more | self._by_text(_first_sentence(rest))

    def _opening(self, line: str) -> Reading:
        """The label that opens `line` with a sign or a reason behind it: `B.`, `(B)`, `B, because`."""
        opening = re.match(r"\s*\(?", line)
        match = self._label_upper.match(line, opening.end() if opening else 0)
        sign = match and self._sign.match(line, match.end())
        if match and _REASON.match(line, match.end()):
            return frozenset({match[0]})
        if match and (_REMARK.fullmatch(line, match.end()) or self._in_brackets(line[match.end() :])):
            return self._leading(line, self._label_upper)
        if (match and self._affirmed(line[match.end() :]) == "") or (
            match and self._against.match(line, match.end() + 1)
        ):
            return frozenset({match[0]})
        if match is None or not sign or not sign[0].strip("\"'> "):
            return NOTHING
        if _REJECTED.match(line, sign.end()):
            return NOTHING
        return self._leading(line, self._label_upper)

    def _in_brackets(self, rest: str) -> bool:
        """Whether an option's text in brackets is all that follows: `B (blue)`."""
        inside = re.fullmatch(r"\s*[(\[]([^()\[\]\n]{1,80})[)\]]\W*", rest)
        return inside is not None and bool(self._options.meant(inside[1]))

    def _trailing(self, content: str) -> Reading:
        """`blue (B)`: the label behind its text, checked against the text."""
        behind = re.search(r"\(\s*(?:option\s+)?(\w{1,2})\s*\)\W*$", content)
        if behind is None or behind[1].casefold() not in self._labels:
            return NOTHING
        return frozenset({self._labels[behind[1].casefold()]}) | self._by_text(content[: behind.start()])


def _lead(content: str) -> int:
    """Where `content` begins to say something."""
    return _LEAD.match(content).end()  # type: ignore[union-attr]  # it matches the empty string


def _inner(content: str) -> str:
    """`content` without what may stand around a lone label."""
    return content[_lead(content) :].strip(_AROUND)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[\w)\"'])[.!?](?=\s|$)|\n", text, maxsplit=1)[0]
