"""Reading yes or no, or a short free text."""

from __future__ import annotations

import re
from collections.abc import Callable

from sclvlm.answers.passages import NOTHING, Reading
from sclvlm.answers.vqa import normalise

_LEAD = re.compile(
    r"[\s\"'(\[]*(?:(?:so|therefore|thus|hence|and|but|well)\b[\s,]*)?"
    r"(?:(?:the|my|final|correct)\s+){0,3}(?:answer\b\s*(?:is\b)?\s*:?)?\s*"
    r"(?:(?:i\s+(?:think|believe|guess|would\s+say|meant?)|i'd\s+say|(?:that|it|this|(?:the|this)\s+(?:statement|claim|assertion))\s+is|that's|it's|most\s+likely|likely|probably|definitely|certainly"
    r"|clearly|simply|obviously)\b[\s,:]*){0,3}(?:(?:a|an|clear|definite|simple)\s+){0,2}[\"'(]*",
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
    is_open = False
    no_is_a_turn = False

    _WORD = re.compile(
        r"(?P<yes>(?:yes|yeah|yep|true)\b(?!\s*['-]\w)|correct\b(?=\W*$|\s*[,.;!])|y(?=\W*$)"
        r"|(?:是的?|对的?|有的?|正确)(?=\W*$|\s*[,.;:!\n]))"
        r"|(?P<no>(?:no|nope|false)\b(?=\W*$|\s*[,.;:!\n\"')\]]|\s+-\s|\s+(?:and|or)\s+yes\b|\s*/"
        r"|\s+(?:it|there|he|she|they|this|that|these|those|the|i|we|you|because|since|as|to\s+(?:this|that|the|your))\b)"
        r"|incorrect\b(?=\W*$|\s*[,.;!])|n(?=\W*$)|(?:否|不是的?|不|没有|不对|不正确|错误?)(?=\W*$|\s*[,.;:!\n]))",
        re.IGNORECASE,
    )
    _NOT = re.compile(
        r"(?:absolutely\s+|of\s+course\s+|surely\s+)?not(?=\W*$|\s*[,.;:!])"
        r"|i\s+(?:don't|do\s+not)\s+(?:think|believe)\s+so\b|not\s+at\s+all\b(?!\s+(?:sure|certain|clear|easy))"
        r"|not\s+(?:true|correct|the\s+case)\b(?![^.;\n]*?(?:\b(?:no|not|none|never|nobody|nothing|neither)\b|n't\b))",
        re.IGNORECASE,
    )
    """A denial of the question, unless it denies a denial."""
    _PARTLY = re.compile(
        r"\s*,?\s*(?:but\s+)?(?:only\s+)?(?:partly|partially|in\s+part|to\s+some\s+extent|if|unless|provided)\b",
        re.IGNORECASE,
    )
    _JUDGED = re.compile(
        r"(?P<said>yes|no)\W+(?:that|it|this)(?:'s|\s+is)(?P<no>n't|\s+not)?\s+(?P<wrong>wrong|incorrect|false)\b",
        re.IGNORECASE,
    )
    """Yes or no to a statement, with a word on it: "No, that isn't wrong" says both."""
    _SOURCE = re.compile(
        r"^\W*(?:based\s+on|according\s+to|looking\s+at|from|in|after|upon)\s[^,.:\n]{1,80}[,:]\s*", re.IGNORECASE
    )
    _LAST_CLAUSE = re.compile(r",\s*(?:(?:so|but|then|thus|therefore|hence)\s+)?(yes|no)\W*$", re.IGNORECASE)
    _EITHER = r"(?:yes|no|true|false)\s*(?:/|\bor\b|\band\b|,)\s*(?:maybe\s+|perhaps\s+)?(?:yes|no|true|false)\b"
    _BOTH = re.compile(_EITHER, re.IGNORECASE)
    _ASKED = re.compile(rf"\W*{_EITHER}\s*[:?]\s*", re.IGNORECASE)

    _WHOLE = re.compile(
        r"(?:(?P<yes>certainly|absolutely|definitely|indeed|of\s+course|affirmative|sure|i\s+(?:think|believe)\s+so"
        r"|exactly)|(?P<no>negative|i\s+(?:think|believe)\s+not)"
        r"|(?:it|he|she|they|there|that|this)\s+(?:is|are|does|do|has|have|can|was|were|did)(?P<not>n't|\s+not)?)\W*",
        re.IGNORECASE,
    )
    """A response that agrees or denies without the word; as an opening most of these are only polite."""

    _SAID = re.compile(r"yes|no")
    _SAID_OFTEN = re.compile(r"\W*(?:(?:yes|no)\b\W*){2,}", re.IGNORECASE)

    @property
    def rules(self) -> dict[str, Callable[[str], Reading]]:
        """Only one: the sentences that lead with yes or no."""
        return {"label": self.leading}

    def prepared(self, text: str) -> str:
        """`text` without a "Yes or no?" in front."""
        return self._ASKED.sub("", text, count=1) if self._ASKED.match(text) else text

    def exact(self, content: str) -> Reading:
        """The yes or no that `content` begins with."""
        content = _without_lead(self._SOURCE.sub("", content[:300], count=1))
        if self._BOTH.match(content):
            return frozenset({"yes", "no"})
        if (judged := self._JUDGED.match(content)) and (judged["said"].casefold() == "yes") is not bool(judged["no"]):
            return frozenset({"yes", "no"})
        if self._NOT.match(content):
            return frozenset({"no"})
        word = self._WORD.match(content)
        if word and self._PARTLY.match(content, word.end()):
            return NOTHING
        return frozenset({"yes" if word["yes"] else "no"}) if word else NOTHING

    def stated(self, content: str) -> Reading:
        """The same: what follows yes or no explains it."""
        return self.exact(content)

    def leading(self, text: str) -> Reading:
        """The yes or no that opens the first or the last sentence, or closes it; two may contradict."""
        sentences = [sentence for sentence in _SENTENCE_END.split(text) if sentence and sentence.strip()]
        if not sentences:
            return NOTHING
        if both := self._SAID_OFTEN.fullmatch(text[:300]):
            return frozenset(self._SAID.findall(both[0].casefold()))
        if whole := self._WHOLE.fullmatch(text[:60]):
            return frozenset({"no" if whole["no"] or whole["not"] else "yes"})
        closing = self._LAST_CLAUSE.search(sentences[-1][-40:])
        alone = {sentence.strip(" \t,:)").casefold() for sentence in sentences} & {"yes", "no"}
        said = (*alone, f"{sentences[0]}.", f"{sentences[-1]}.", closing[1] if closing else "")
        return NOTHING.union(*map(self.exact, said))


class TextReader:
    """Reads a short free text, VQA-normalised. A long response that marks nothing has no answer to read."""

    reads_open_marks = False  # a word cut off is another word
    is_open = True
    no_is_a_turn = True

    _MARKED_WORDS, _STATED_WORDS, _WHOLE_WORDS = 30, 6, 5
    _REASON = re.compile(
        r",?\s+(?:because|since|as|which|due\s+to|based\s+on|given)\b|\s-\s|,\s|,?\s*因为", re.IGNORECASE
    )
    _NAMED = re.compile(r"\A\s*A\s?:\s+")
    _BECAUSE = re.compile(r",?\s+(?:because|since|due\s+to)\b", re.IGNORECASE)
    _LIST = re.compile(
        r"[\w' -]{1,30}(?:,\s[\w' -]{1,30}){0,5},?\s(?:and|or|&)\s[\w' -]{1,30}|[\w'-]{1,20}(?:,\s[\w'-]{1,20}){2,6}",
        re.IGNORECASE,
    )
    _NO_ANSWER = re.compile(
        r"(?:clear|obvious|based|found|given|that|not|unclear|shown|visible|provided|as\s+follows|correct|wrong|in\s+the"
        r"|either|neither|possibly|perhaps|maybe|unknown)\b",
        re.IGNORECASE,
    )
    _REFUSAL = re.compile(
        r"\b(?:sorry|cannot|unable|don't\s+(?:know|see|have|think)|can't|couldn't|i\s+am|i'm|i\s+do|it\s+is\s+not|isn't|doesn't)\b"
        r"|\bnot\s+(?:sure|visible|clear|possible|known|given)\b|^\W*(?:maybe|perhaps|possibly|not|neither|either|never|(?:it\s+)?(?:could|might|may|can)\s+be)\b|\b(?:or|is|are|was|were|shows?|has|have)\b"
        r"|^\W*n/a\W*$|不知道|无法|不清楚|不确定|可能|抱歉",
        re.IGNORECASE,
    )
    _NAME = re.compile(r"\W*(?:(?:the|my|your|final|correct)\s+)*answer(?:\s+is\b.*)?\W*|.*:\W*", re.IGNORECASE)
    _LABEL = re.compile(r"\s*(?:the\s+)?(?:final\s+|correct\s+)?answer\s*(?:is\b\s*:?|:)\s*", re.IGNORECASE)
    _HEDGE = re.compile(
        r"\W*(?:probably|most\s+likely|likely|it\s+(?:is|says|reads)|it's|it\s+must\s+be|i\s+think(?:\s+it(?:'s|\s+is))?)\s+",
        re.IGNORECASE,
    )

    @property
    def rules(self) -> dict[str, Callable[[str], Reading]]:
        """Only one: a response that is nothing but a few words."""
        return {"whole": self.whole}

    def prepared(self, text: str) -> str:
        """`text` without an "A:" in front."""
        return self._NAMED.sub("", text, count=1)

    def exact(self, content: str) -> Reading:
        """All of `content`."""
        content = self._LABEL.sub("", content, count=1)
        return _text(content) if len(content.split()) <= self._MARKED_WORDS else NOTHING

    def stated(self, content: str) -> Reading:
        """The beginning of `content`, up to the end of the sentence or the reason given."""
        value = _first_sentence(content)
        if not self._LIST.fullmatch(value):
            value = self._REASON.split(value, maxsplit=1)[0]
        if self._NO_ANSWER.match(value) or len(value.split()) > self._STATED_WORDS:
            return NOTHING
        return _text(value)

    def whole(self, text: str) -> Reading:
        """The whole response where it is a few words on one line, and no refusal."""
        text = self._HEDGE.sub("", text, count=1) if self._HEDGE.match(text) else text
        text = self._BECAUSE.split(text, maxsplit=1)[0]
        if "\n" in text or len(text.split()) > self._WHOLE_WORDS or len(text) > 100 or self._REFUSAL.search(text):
            return NOTHING
        return NOTHING if self._NAME.fullmatch(text) else _text(text)


def _text(content: str) -> Reading:
    value = normalise(content.strip(" \t\n\"'.,:;"))
    return frozenset({value}) if value else NOTHING
