"""Second thoughts: "A... wait, B". What a response says after the last of them counts."""

from __future__ import annotations

import re
from typing import NamedTuple

_MOST = 16
"""Second thoughts that are told apart: a response with more of them wavers without end."""

_CLAUSE = (
    r"(?:^|(?<=[.!?,;:)\"\n-]))\s{0,4}(?:(?:oh|ah|no|but|hmm+|oops|well|or|and|so|then|however|yet)\b\W{1,4}){0,3}"
)
_WORDS = r"""
    (?: oops\b | wait\b(?=\W*[,.!:;-]|\s(?:a|no|i|let|that)\b|\s*$) | actually\b | on\ssecond\sthoughts?\b | hold\son\b
      | correction\b(?=\s*:) | scratch\sthat\b | sorry\b(?=\s*[,.:!-]) | hmm+\b
      | (?:it\swas\s)?my\smistake\b | or\srather\b | my\sapolog(?:y|ies)\b | i\sapologi[sz]e\b
      | i\s(?:made|made\sa|see\sthat\si\smade)\s(?:a\s|an\s)?(?:mistake|error)\b | i\swas\swrong\b
      | let\sme\s(?:re-?(?:check|think|consider|examine|visit|evaluate|count|do|view|read|calculate)|correct|double)\b
      | let\sme\s(?:look|check|think|count)\sagain\b
      | (?:up)?on\s(?:re-?\w+|(?:closer|further|second|careful)\s(?:inspection|look|examination|review))\b
      | looking\s(?:again|closer|more\sclosely)\b
      | (?:it\swas|(?:that|this)(?:'s|\sis|\swas))
      \s(?:not\s(?:right|correct)|wrong|incorrect|(?:a\s|an\s|my\s)(?:mistake|error))\b
      | i\s(?:take\sthat\sback|changed?\smy\smind)\b
    )
"""
_CHINESE = (
    r"(?<=[\s,.!?;:])(?:等等|等一下|更正|其实|实际上|重新看|再看一[下遍]|抱歉|我错了|(?<![A-Za-z]\s)不对(?=\s*[,.!]))"
)
_FLAGS = re.IGNORECASE | re.MULTILINE | re.VERBOSE
_THOUGHT = re.compile(rf"(?:{_CLAUSE}{_WORDS}|{_CHINESE})\W{{0,4}}", _FLAGS)
_THOUGHT_OR_NO = re.compile(
    rf"(?:{_CLAUSE}{_WORDS}|{_CHINESE}|(?<=[.!?,;]\s)(?:no\b(?=[,.!-]\s)|不(?=,\s)))\W{{0,4}}(?:no\b\W{{1,4}})?", _FLAGS
)
_WITHDRAWN = re.compile(
    r"\b(?:(?:not|no\slonger|less)\s(?:so\s|entirely\s)?(?:sure|certain|right|correct|convinced|confident)|unsure|wrong|incorrect|mistaken?|error|doubts?|retract|withdraw|disregard)\b"
    r"|\b(?:don't\sknow|cannot|can't|(?:maybe|perhaps)\snot|(?:could|might|may)\s(?:also\s)?be)\b|不确定|不对|不知道|错",
    re.IGNORECASE,
)


_RESTATED = re.compile(
    r"(?:^|:\s)\W*(?:it\s+is|it's|it\s+should|that's|this\s+is|there\s+(?:are|is)|they\s+are|应该?是|是)\b",
    re.IGNORECASE,
)
_FEW_WORDS = 4


class Part(NamedTuple):
    """What is said between two second thoughts, and the words that announce it."""

    turn: str
    said: str

    @property
    def restates(self) -> bool:
        """Whether it begins by saying what is the case, so that it announces an answer."""
        return bool(_RESTATED.search(self.said)) or len(self.said.split()) <= _FEW_WORDS

    @property
    def withdraws(self) -> bool:
        """Whether it takes back what was said before, supposing that it names no answer itself."""
        return bool(_WITHDRAWN.search(f"{self.turn} {self.said[:300]}"))


def parts(text: str, *, after_no: bool) -> list[Part]:
    """`text` cut at its second thoughts. after_no: a "No," between sentences is one too."""
    turns = list((_THOUGHT_OR_NO if after_no else _THOUGHT).finditer(text))[-_MOST:]
    turns = [turn for turn in turns if text[: turn.start()].strip() or text[turn.end() :].strip()]
    ends = [turn.start() for turn in turns] + [len(text)]
    first = Part("", text[: ends[0]])
    later = (Part(turn[0], text[turn.end() : end]) for turn, end in zip(turns, ends[1:], strict=True))
    return [part for part in (first, *later) if part.turn or part.said.strip()]
