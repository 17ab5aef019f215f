"""The answer of a response as it was written: what scores of texts compare, spelling and units included."""

from __future__ import annotations

import re

from sclvlm.answers.cleaning import clean

_PLACES = (
    re.compile(r"#{2,}[ \t]*([^#\n]{1,300}?)[ \t]*#{2,}"),
    re.compile(r"<answer>\s*([^<]{1,300}?)\s*</answer>", re.IGNORECASE),
    re.compile(r"\banswer(?:\s+is\b[ \t]*:?|[ \t]*:)[ \t]*([^\n]{1,300})", re.IGNORECASE),
)
"""Between marks, in a box, behind a cue; within each, the last place counts."""
_NAME = re.compile(r"\W*(?:(?:the|your|my|final)\s+)*answer\W*", re.IGNORECASE)


def final_text(response: str) -> str | None:
    """What stands at the most explicit place of `response`, or all of it where it marks nothing.

    None where nothing is said, or only a thought that was not ended.
    """
    said = clean(response) or ""
    for place in _PLACES:
        found = [match[1].strip() for match in place.finditer(said) if not _NAME.fullmatch(match[1])]
        if found:
            return found[-1].removesuffix(".")
    return said or None
