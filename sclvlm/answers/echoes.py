"""What a response says without saying anything: instructions of the prompt said over, one thing said many times."""

from __future__ import annotations

import re

_INSTRUCTION = re.compile(
    r"""
    (?:^|(?<=[.?!:)]\s)) [ \t]{0,4}
    (?:(?:hint|instructions?|note) \s?:\s{0,2})?
    (?:(?:please|now|first|then|and|only|just)\b[\s,]{1,3}){0,3}
    (?:answer|respond|reply|choose|select|pick|write|provide|give|reason|think|put|output|return|end|finish)\b
    [^.\n?!:]{0,100}?
    \b(?:option'?s?'?\s(?:letter|label)|letter\s(?:of|from)|given\s(?:choices|options)|(?:options?|choices)\s(?:above|below)
       |the\s(?:following\s)?(?:options|question)|one\sof|yes\sor\sno|single\s(?:word|letter|number)|word\sor\sphrase|one\sword
       |step\sby\sstep|between\stwo|correct\s(?:option|answer|letter)(?!\sis))\b
    (?:[^.\n?!:]|\.g\.|\.(?=\w)){0,120} (?:[.:!]+|$)
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
"""A sentence that tells how to answer, as the prompts of published evaluations do."""


_IDIOM = re.compile(
    r"\bif\s(?:(?:i|we)\s(?:had|have|must)\sto|(?:i\s(?:am|were|was)\s|i'm\s)?forced\sto)\s(?:choose|guess|pick|answer|say|decide)\b[^,.\n]{0,30},",
    re.IGNORECASE,
)
"""A condition that is none."""


_BUT_NOT = re.compile(r"\banything\sbut\b", re.IGNORECASE)


_ASKED = re.compile(r"\A\s*Q(?:uestion)?\s?:[^\n]{1,500}\n\s*A(?:nswer)?\s?:", re.IGNORECASE)
"""The question said over, and the name of the answer: its A is no label."""


def without_instructions(text: str) -> str:
    """`text` without the sentences that only say an instruction over."""
    text = _ASKED.sub("", text, count=1)
    return _BUT_NOT.sub("not", _IDIOM.sub(" ", _INSTRUCTION.sub(" ", text))).strip()


def said_once(text: str) -> str:
    """One word or one line said many times is said once."""
    words = text.split()
    if len(words) > 1 and len({word.strip(".,;:!").casefold() for word in words}) == 1:
        return words[0]
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[0] if len(lines) > 1 and len(set(lines)) == 1 else text
