"""Answers inside JSON. A response need not be valid JSON: it may be fenced, cut off, or written in Python's quotes."""

from __future__ import annotations

import re

_QUALITY = r"(?:(?:final|correct|selected|predicted|chosen|best|your|my)[\s_-]?)?"
_STRING = r"\"(?P<double>(?:[^\"\\\n]|\\.){0,300})(?:\"|\Z)|'(?P<single>(?:[^'\\\n]|\\.){0,300})(?:'(?!\w)|\Z)"
_OTHER = r"\[(?P<list>[^\[\]\n]{0,200})\]|(?P<bare>[+-]?\w[\w.+-]{0,40})(?=\s*[,}\n])"


def _entry(names: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?<!\w)[\"']?{_QUALITY}(?:{names})[\"']?\s{{0,3}}:\s{{0,3}}(?:{_STRING}|{_OTHER})", re.IGNORECASE
    )


_ANSWER = _entry("answer")
_SYNONYM = _entry("choice|option|letter|prediction|result|count|total")


def box_entries(text: str) -> str:
    """`text` with the answers of its JSON objects in `<answer>` tags; a string that was cut off stays open.

    A key that is called answer counts alone; choice, option, count and the like where there is none.
    """
    if "{" not in text:
        return text
    return (_ANSWER if _ANSWER.search(text) else _SYNONYM).sub(_boxed, text)


def _boxed(match: re.Match[str]) -> str:
    content = next(each for each in match.groups() if each is not None)
    whole = match["double"] is match["single"] is None or match[0][-1] in "\"'"
    content = content.replace('"', "").replace("<", " ").replace("\\\\", "\\")
    return f"<answer>{content}</answer>" if whole else f"<answer>{content}"
