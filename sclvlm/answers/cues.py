"""Announcements: "the answer is B", "B is correct", "that leaves B", 答案是B."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from sclvlm.answers.passages import DENIED, NOTHING, STOP, Reader, Reading, clause_before

_ADVERB = r"(?:here|therefore|thus|then|clearly|indeed|now|probably|likely|hence|simply|actually|certainly|definitely)"
_NAME = (
    r"(?:answer|option|choice|response|letter|(?:correct|right|best|remaining)\s+one"
    r"|(?:statement|claim|assertion)(?=\s+is\b))"
)
_IS = (
    r"(?:\s+(?:is|would\s+be|should\s+(?:be|have\s+been)|must\s+be|will\s+be|has\s+to\s+be|remains|stays)\b"
    r"|'s\b|\s+(?:is|was)(?=n't))"
)
_FLAGS = re.IGNORECASE | re.VERBOSE | re.MULTILINE
_CUE = re.compile(
    rf"""
    \b(?=[aocrlbs])(?<!each\s)(?<!every\s){_NAME}(?:\s+{_ADVERB})? (?:\s+(?:to|for|of|about)\s+[^.?!:;\n]{{1,60}}?)?
    (?: \s*(?:=>|->|[:=]|-(?=\s))\s*
      | (?:\s+{_ADVERB})? {_IS}
        (?P<no>n't\b|\s+not\b|\s+neither\b|\s+no\s+longer\b|\s+anything\s+but\b)? \s*:?\s* )
    | \b(?:verdict|decision|selection|pick)\s*(?:=>|->|[:=])\s*
    | \b(?:respuesta|resposta|risposta|r[ée]ponse|antwort)(?:\s+(?:correct[ae]?|corretta|certa|final))?
      \s+(?:es|é|è|est|ist)\s*:?\s*
    | \b(?:I|we)(?:'d|'ll)?\s+(?:(?:would|will|am|now|still|therefore|thus|finally|can|must|have\s+to)\s+){{0,2}}
      (?:choose|select|pick|prefer|guess|conclude|say|answer|opt\s+for)\b\s*
    | (?:(?:答案|选项|结果|结论)\s*\)?\s*(?:就|应该?|应当|还|便)?\s*(?P<no_zh>不|并非|并不)?\s*(?:是|为|选择?(?!项)|:)
      | (?:答案)\s*\) | 正确的(?:选项|答案)?是 ) \s*:?\s*
    """,
    _FLAGS,
)
"""What is said before an answer of any kind."""

_LONE = r"""(?=(?:option\s+|choice\s+|answer\s+|选项\s?)?["'(]?(?-i:[A-Z])["')]?\s*(?:[.,;!]|$))"""
"""A capital before a stop: a label, whatever the words before it."""

_SHORT_CUE = re.compile(
    rf"""
    \banswer\s+(?:has\s+)?chang(?:ed|es)\s+to\b\s* | \blean(?:ing)?\s+towards?\b\s* | \bAns\b\s*[.:]\s*
    | \b(?:go|going)\s+with\b\s* | \bsettl(?:e|ing)\s+on\b\s* | \b(?:this|that|which)\s+makes\s+
    | \bmak(?:es?|ing)\s+(?:it\s+)?(?=(?:option\s+)?["'(]?(?-i:[A-Z])["')]?\s*(?:[.,;!]|$|the\b))
    | \b(?:that|this|it)\s+should\s+(?:read|have\s+been)\s+ | ^\W{{0,4}}correct\s?:\s* {_LONE}
    | \bit\s+(?:should|must|has\s+to)\s+be\b(?!\s+(?:noted|clear|said))\s*
    | \b(?:chang|revis|correct|updat)(?:e|ing)\s+(?:(?:my|the|to|initial|previous|first|final)\s+){{0,3}}
      (?:answer|choice|response|selection)(?:\s+from\s+\S{{1,20}})?\s+to\b\s*
    | (?:^|(?<=[.!?,;]\s)) (?:so|thus|hence|therefore|then|that\s+means|which\s+means)\b[,:]?\s+(?:it(?:'s|\s+is)\s+)?
      (?=[("']?\w{{1,2}}[)"']?\s*(?:[.!]|$))
    | \bnot\s+(?!only\b|just\b|sure\b|certain\b)\S[^.,;\n]{{0,25}}?
      (?:,[^.,;\n]{{1,40}})?,?\s+but\s+(?:rather\s+)?(?!i\b)
    | \b(?:that\s+)?leav(?:es|ing)(?:\s+us)?(?:\s+(?:with|only))*\s+ | \bleft\s+with(?:\s+only)?\s+
    | \b(?=[acdefiklmprsu])(?<!(?-i:[A-HJ-Z])\s)
      (?:matche?s|fits|corresponds?\s+to|points?\s+(?:to|towards?)|agrees?\s+with|consistent\s+with|favou?rs?|supports?
        |in\s+favou?r\s+of|lean(?:ing)?|keep(?:ing)?|should\s+have\s+(?:said|answered|chosen|picked)
        |(?:argues?|decides?|speaks?)\s+for|suggests?|indicates?|leads?\s+to|still\s+(?:think|believe)
        |(?:revised|changed|corrected|updated)\s+to|(?:I've|I\s+have)\s+(?:chosen|picked|selected))\s+ {_LONE}
    | (?:^|(?<=[.!?:]\s)) (?:choose|select|pick)\s+ {_LONE}
    | (?:(?:->|=>)(?<!(?-i:[A-Z])\s..)(?<!(?-i:[A-Z])..)|∴)\s* {_LONE}
    | \bremaining\s+(?:option|choice|answer|one)s?\b\s*(?:is\b|,|:)?\s*
    | (?:(?P<no_pick>不|别|不应该?|不能|不会|没有)?(?:应该?|应当)?选(?:择|定)?(?!项)(?:的是)?
      | 而是 | 改(?:为|成|选) | 即\s*{_LONE}
      | (?:应该?|应当)(?:是|为) | (?:所以|因此|故|那么)\s*(?:就|应该)?(?:是|为)
      | 认为(?:应该|应当)?(?:是|选)? ) \s*:?\s*
    """,
    _FLAGS,
)
"""What is said before a label or a number. Before words of any kind it may mean something else: "the leaves are"."""

_FIT = r"(?:best|better|well|the|what|all|perfectly|exactly)"
_VERDICT = re.compile(
    r"""
    \b(?:is|are|was|looks|seems|would\s+be|must\s+be)(?P<no>n't|\s+not)?\s+
    (?:(?:definitely|clearly|indeed|also|thus|still|certainly|surely|therefore|probably|most\s+likely|far|much|slightly|somewhat|even)\s+)?
    (?:the\s+)?(?:(?:only|most|best)\s+)?
    (?: (?P<wrong>incorrect|wrong|false) | (?<=only\s)(?:option|choice|answer|one)\b
      | (?:correct|accurate|appropriate|true)\b
      | (?:right|best|final)\s+(?:answer|option|choice|one) | answer\b | likely\b(?=\W*$|[.,;!])
      | (?<=most\s)(?:plausible|probable|suitable|fitting|reasonable|logical|convincing|consistent|likely)\b
      | right\b(?=\W*$|[.,;!]|\s(?:because|since|as)\b) | best\b
      | (?:better|closer|stronger|more\s+(?:likely|accurate|plausible|fitting|appropriate))
        (?=\s+(?:than|given|because|since|here)\b|[.,;!])
      | closer\s+to\s+(?:the\s+|what\s+)?(?:picture|image|photo|description|truth|is\s+shown)\b )
    | (?:选项|项)?\s*(?:是|才是|为)?\s*
      (?:(?P<wrong_zh>不(?:太|够)?(?:正确|对|合适|恰当|准确|合理|符合|成立)|错误|错)|(?:更|最|比较)?(?:合适|恰当|准确|合理)|(?:正确|符合|对(?=的|\s*[.,;!]|\s*$)))(?:的|答案)?(?!答案|选项)
    """,
    _FLAGS,
)
"""What is said behind an answer of any kind."""

_SHORT_VERDICT = re.compile(
    rf"""
    \b(?:fits|matches|describes|answers|works)\b(?=\W*$|[.,;!]|\s+{_FIT}\b)
    | \b(?:explains|represents|captures|suits|reflects|fits|matches|describes)\b
      [^.,;\n]{{0,40}}\s(?:better|best)\b(?=\W*$|[.,;!])
    | \b(?:remains|is\s+left)\b(?=\W*$|[.,;])
    | \bhas\s+the\s+(?:stronger|strongest|better|best)\b | \bis\s+what\s+(?:the|is|we|i(?:'d|\s+would|\s+see))\b
    | \bis\s+(?:a|the)\s+(?:much\s+)?better\s+(?:answer|option|choice|fit|match|one)\b | \bis\s+the\s+(?:one|answer)\b
    | \b(?:is|would\s+be)\s+my\s+(?:final\s+)?(?:answer|choice|pick)\b | \bit\s+is(?=[.!]|\s*$)
    """,
    _FLAGS,
)
"""What is said behind a label or a number."""

_FILLER = re.compile(
    r"(?:(?:that|therefore|thus|then|clearly|most\s+likely|likely|probably|definitely|simply|indeed|actually|now"
    r"|certainly|surely|obviously|instead|still|to\s+be)\b[\s,:]*){0,3}",
    re.IGNORECASE,
)
_HEDGED_CONTENT = re.compile(
    r"\s*(?:not|neither|either|none|possibly|perhaps|maybe|unclear|unknown|one\s+of|anything\s+but|可能|也许|不)(?:\b|(?<=\W))",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:if|whether|unless|(?<!\bi\s)suppose|supposing|assum\w+|initially|thought|could|might|may|perhaps|maybe|otherwise)\b"
    r"|\b(?:previous|initial|original|first|earlier|old|wrong|incorrect)\s+$|如果|可能|也许|或许|是否|假如",
    re.IGNORECASE,
)
_NEGATION_BEFORE = re.compile(
    r"(?:n't|\bnot|\bnothing|\bnever|\bcannot|\bdoubt|\bdisagree|\bden(?:y|ies)|\breject)\s+(?:\w+\s+){0,3}$",
    re.IGNORECASE,
)
_CONDITION_BEHIND = re.compile(r"[^.!?;\n]{0,300}(?:\?|\b(?:if|unless)\b)", re.IGNORECASE)
_BUT = re.compile(r"\s*,?\s*\b(?:but(?:\s+rather)?|rather|it(?:'s|\s+is))\s+|\s*,\s*而是\s*", re.IGNORECASE)
_OPENING = re.compile(r"\b(?:that|why|believe|think|see|since|because|balance|overall|opinion|view)\s+", re.IGNORECASE)
"""Where a clause begins that a verdict is about: "I believe that B is correct"."""
_HEADED = re.compile(
    r"^\W*(?:conclusion|summary|result|verdict|decision|judge?ment|evaluation|review|assessment)\s*:", re.IGNORECASE
)
"""A name of the sentence that a verdict stands in."""
_NAMED_LAST = re.compile(r"[\u4e00-\u9fff](?<![和与或及跟不非])\s*[(\"']?([A-Z])[)\"']?\s*$")
"""The label that a Chinese clause ends with: 我认为之前的答案C."""
_LAST_CUES = 32

_WAVERING = 3


_ALTERNATIVE = re.compile(
    r"\b(?:could|might|may|can)\s+(?:also|well|just\s+as\s+well|equally|just\s+as\s+easily)\s+be\s+(?=\S)",
    re.IGNORECASE,
)
_SENTENCE_GOES_ON = re.compile(r"[.!?]\s+\S|\n\s*\S|[,;]\s+(?:but|however|yet|though|so|still)\b", re.IGNORECASE)


class Cue(NamedTuple):
    """What is announced from `start` on by which words, how to read it, and whether it is denied."""

    start: int
    words: str
    content: str
    reading_of: Callable[[str], Reading]
    denies: bool


def cued(text: str, reader: Reader) -> Reading:
    """The last answer behind a cue such as "the answer is", or before one such as "is correct".

    Conditions, questions and hedges announce nothing. A value that a later cue denies is contradictory, and so
    are three values behind the same words: `Answer: A. Answer: B. Answer: C.`
    """
    denied: set[str] = set()
    affirmed: list[tuple[str, Reading]] = []
    for cue in reversed(_cues(text, reader)):
        reading = cue.reading_of(cue.content)
        if cue.denies and not affirmed:
            denied |= reading
        elif reading and not cue.denies:
            affirmed.append((cue.words, reading))
    if not affirmed:
        return NOTHING
    words, last = affirmed[0]
    same = NOTHING.union(*(reading for others, reading in affirmed if words and others == words))
    if len(same) >= _WAVERING:
        return same
    return last | {DENIED} if last & denied else last


def also_possible(text: str, reader: Reader) -> Reading:
    """What the response says last that the answer could be just as well."""
    offers = list(_ALTERNATIVE.finditer(text))[-1:]
    if not offers or _SENTENCE_GOES_ON.search(text, offers[0].end()):
        return NOTHING
    return reader.stated(text[offers[0].end() : offers[0].end() + 300])


def _cues(text: str, reader: Reader) -> list[Cue]:
    """Each cue that announces something, in the order of the text."""
    cues = []
    for match in _last(text, _CUE, None if reader.is_open else _SHORT_CUE):
        for content, denies in _behind(text, match):
            cues.append(Cue(match.start(), match[0].casefold().strip(), content, reader.stated, denies))
    for match in _last(text, _VERDICT, None if reader.is_open else _SHORT_VERDICT):
        content, denies = _before(text, match)
        cues.append(Cue(match.start(), "", content, reader.exact, denies))
    return sorted((cue for cue in cues if cue.content), key=lambda cue: cue.start)


def _last(text: str, *patterns: re.Pattern[str] | None) -> list[re.Match[str]]:
    return [match for pattern in patterns if pattern for match in list(pattern.finditer(text))[-_LAST_CUES:]]


def _behind(text: str, match: re.Match[str]) -> list[tuple[str, bool]]:
    """What is announced, and whether it is denied; of "not A but B" both halves."""
    before = clause_before(text, match.start())
    if _CONDITION.search(before) or _CONDITION_BEHIND.match(text, match.end()):
        return []
    content = text[match.end() : match.end() + 300].lstrip()
    content = content[_FILLER.match(content).end() :]  # type: ignore[union-attr]  # it matches the empty string
    denies = any(match.groupdict().values()) or bool(_NEGATION_BEFORE.search(before))
    if not denies and (hedge := _HEDGED_CONTENT.match(content)):
        if hedge[0].strip().casefold() not in ("not", "neither", "不"):
            return []
        content, denies = content[hedge.end() :], True
    if not denies:
        return [(content, False)]
    denied, *affirmed = _BUT.split(STOP.split(content, maxsplit=1)[0], maxsplit=1)
    return [(denied, True), *((each, False) for each in affirmed)]


def _before(text: str, match: re.Match[str]) -> tuple[str, bool]:
    before = clause_before(text, match.start())
    if _CONDITION.search(before) or _CONDITION_BEHIND.match(text, match.end()):
        return "", False
    negations = [*match.groupdict().values(), _NEGATION_BEFORE.search(f"{before} ")]
    before = _HEADED.sub("", before, count=1)
    clause = _OPENING.split(before.rpartition(",")[2])[-1]
    if named := _NAMED_LAST.search(clause):
        clause = named[1]
    return clause, sum(map(bool, negations)) % 2 == 1
