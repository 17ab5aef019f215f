"""Reading the option that is left: "A, B and D can be ruled out", "only C fits", "all but C are wrong"."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sclvlm.answers.passages import DENIED, NOTHING, Reading, clause_before

_FEWEST = 3
"""Options of a question where ruling out names an answer: of two, "not A" may be the start of anything."""

_READ = 8_000
"""Characters from the end that are read: no response weighs its options at greater length."""

_NEGATED = r"(?:\s?not\b|n?'t\b)(?!\s(?:only|just|wrong|incorrect|false|ruled|excluded|eliminated|impossible))"
_BE = (
    r"(?:\s(?:both|all|also|can|could|must|should|is|are|was|were|has|have|been|be|therefore|thus|clearly"
    r"|immediately)){1,4}\s"
)
_OUT = (
    r"(?:ruled\sout|eliminated|excluded|discarded|dismissed|rejected|crossed\sout|off\sthe\stable"
    r"|out\sof\sthe\squestion)\b"
)
_RULED_OUT = rf"(?:{_BE}{_OUT}|\s?(?:选?项)?\s?(?:都|均|也|可以|可|被){{0,2}}\s?排除)"
_WRONG = (
    rf"(?:{_BE}(?:incorrect|wrong|false|impossible|contradicted|inconsistent)\b"
    rf"|\s(?:is|are|was|were|can|could|do|does|did|would){_NEGATED}|\s(?:fails?|contradicts?|lacks?)\b"
    r"|\s?(?:选?项)?\s?(?:都|均|也|是)?\s?(?:不(?=正确|对|符|是|成立|可能)|错))"
)
_RULES_OUT = (
    r"(?:\b(?:rul(?:e|es|ed|ing)\sout|eliminat(?:e|es|ed|ing)|exclud(?:e|es|ed|ing)|discard(?:s|ed|ing)?"
    r"|dismiss(?:es|ed|ing)?|reject(?:s|ed|ing)?)\s(?:both\s|all\sof\s)?(?:the\s)?|排除了?\s?)"
)
_HOLDS = (
    r"(?:is|fits?|matches|remains?|satisf(?:ies|y)|shows?|has|can|makes|works|contains|agrees|describes|meets|survives"
    r"|explains|corresponds|reflects|captures)"
)
_GOES_ON = r"(?![^.;\n]{0,80}?(?:\bnot\b|n't\b|\bwrong\b|\bincorrect\b|\bif\b|\?))"
_SUPPOSED = re.compile(r"\b(?:if|whether|unless|might|may|could|perhaps|maybe)\b|如果|可能", re.IGNORECASE)
_NOT_SO = re.compile(r"(?:n't|\b(?:not|never|cannot))\b[^,]*\Z|(?:不能|无法)[^,]*\Z", re.IGNORECASE)
_ASKED = re.compile(r"[^.!?;\n]{0,100}\?")
_NONE_FITS = re.compile(
    r"\bnone\s(?:of\s(?:them|these|the\s\w+|those)\s)?(?:is|are|fits?|match(?:es)?|seems?|works?)\b|\ball\s(?:of\s)?(?:them|these|the\s\w+|options)\s"
    r"(?:are|can)\b|都不",
    re.IGNORECASE,
)


class Elimination:
    """Reads what is left of the options where a response turns all others down.

    To rule out is to choose what is left; to call the others wrong is so only where the last one is named.
    """

    def __init__(self, choices: Mapping[str, str]) -> None:
        self._labels = frozenset(choices)
        some = "|".join(re.escape(label) for label in sorted(self._labels, key=len, reverse=True))
        name = rf"(?<![\w'])(?:{some})(?![\w'])"
        label = rf"(?:[Oo]ptions?\s|[Cc]hoices?\s)?\(?{name}\)?"
        listed = rf"{label}(?:\s?(?:,\s?(?:and\s|or\s|nor\s)?|/|&|\b(?:and|or|nor)\b|和|或|与)\s?{label}){{0,25}}"
        self._is_named = any(re.search(name, text) for text in choices.values())
        self._one = re.compile(name)
        self._named = re.compile(rf"(?<![\w'])({some})(?=\)?\s{_HOLDS}\b|\)?\s?(?:[.,:;!)]|\Z))")
        self._ruled_out = re.compile(
            rf"({listed})(?={_RULED_OUT})|{_RULES_OUT}({listed})|\b(?:can|could)(?:\s?not|n?'t)\sbe\s({listed})"
            rf"|{_OUT}[.;,]\s(?:and\s)?[Ss]o\s(?:is|are)\s({listed})"
        )
        self._wrong = re.compile(
            rf"({listed})(?={_WRONG})|\b[Nn]either\s({listed})|\b(?:[Nn]ot|nor|(?:nor|neither)\s(?:is|are|does|can))\s({label})"
        )
        self._kept = re.compile(
            rf"(?<!\b[Nn]ot\s)\b[Oo]nly\s({listed})(?=\s{_HOLDS}\b|\s?(?:[.!]|\Z)){_GOES_ON}"
            rf"|\b(?:[Nn]one|[Nn]othing)\b[^.;\n]{{0,40}}?\s(?:except|but)\s(?:for\s)?({listed})(?=\s{_HOLDS}\b){_GOES_ON}"
            rf"|\b(?:[Aa]ll|[Ee]verything|[Ee]very|[Ee]ach|[Aa]ny)\b[^.;\n]{{0,40}}?\s(?:except|but)\s(?:for\s)?"
            rf"({listed})(?={_RULED_OUT}|{_WRONG})"
            rf"|(?:n't|\bnot)\s(?:right|correct|fit|match|hold\sup|work|it)\b[^\n,]{{0,80}}?[.;]\s(?:but\s)?({label})\s"
            r"(?:is|does)(?=\s?[.!]|\Z)"
        )

    def left(self, text: str) -> Reading:
        """The one label that alone is said to fit, else the one that is left when all others are turned down.

        Nothing where an option's own text names a label ("only A").
        """
        if self._is_named:
            return NOTHING
        text = text[-_READ:]
        kept = self._found(text, self._kept)
        rest = self._kept.sub(" ", text)
        ruled_out = self._found(rest, self._ruled_out)
        denied = ruled_out | self._found(rest, self._wrong)
        if kept:
            return kept | ({DENIED} if kept & denied else NOTHING)
        left = self._labels - (denied if self._labels - denied <= set(self._named.findall(rest)) else ruled_out)
        enough = len(self._labels) >= _FEWEST and len(left) == 1
        return left if enough and not _NONE_FITS.search(text) else NOTHING

    def _found(self, text: str, pattern: re.Pattern[str]) -> Reading:
        """The labels in the matches of `pattern`, but for those that a clause denies or supposes."""
        found: set[str] = set()
        for match in pattern.finditer(text):
            before = clause_before(text, match.start())
            if not (_SUPPOSED.search(before) or _NOT_SO.search(before) or _ASKED.match(text, match.end())):
                found.update(*(self._one.findall(part) for part in match.groups() if part))
        return frozenset(found)
