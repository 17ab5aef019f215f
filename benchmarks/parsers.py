"""Simple readers of answers in the manner of those that published evaluations use, in our own words.

They stand beside `sclvlm.answers.extract`: to measure it (`benchmarks.extraction`), and to show how far a conclusion
depends on the reader (`benchmarks.compare_extractors`). Each returns a value, or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sclvlm.answers import extract, normalise

Reader = Callable[[str, str, Mapping[str, str]], str | None]
"""Response, kind and options (label to text; empty but for kind=choice) to a value or None."""

MARKER = re.compile(r"##\s*(.+?)\s*##", re.DOTALL)
CUE = re.compile(r"answer\s*(?:is|:)\s*[(*]*\s*(.+)", re.IGNORECASE)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def ours(text: str, kind: str, labels: Mapping[str, str]) -> str | None:
    """`sclvlm.answers.extract`."""
    return extract(text, kind=kind, choices=labels or None).value


def only_marker(text: str, kind: str, labels: Mapping[str, str]) -> str | None:
    """Strict: what stands between the prompt's marks, and only if it is a value and nothing else."""
    found = MARKER.findall(text)
    return _value(found[-1], kind, labels) if found else None


def whole_response(text: str, kind: str, labels: Mapping[str, str]) -> str | None:
    """Strict: a response that is nothing but a value."""
    return _value(text, kind, labels)


def first_match(text: str, kind: str, labels: Mapping[str, str]) -> str | None:
    """Loose: the first label (capital between word borders), yes or no, or number; else the whole response."""
    return _matches(text, kind, labels, 0)


def last_match(text: str, kind: str, labels: Mapping[str, str]) -> str | None:
    """Loose: the last one."""
    return _matches(text, kind, labels, -1)


def first_capital(text: str, kind: str, labels: Mapping[str, str]) -> str | None:
    """Loosest: the first capital that is a label, inside words too; of other kinds as first_match."""
    if kind != "choice":
        return first_match(text, kind, labels)
    return next((char for char in text if char in labels), None)


def cue_then_first(text: str, kind: str, labels: Mapping[str, str]) -> str | None:
    """Behind "answer is" or "Answer:", else the first match; for choice, options' texts last."""
    cue = CUE.search(text)
    value = first_match(cue[1] if cue else text, kind, labels)
    if value is None and kind == "choice":
        folded = text.casefold()
        value = next((label for label, option in labels.items() if option.casefold() in folded), None)
    return value


def _value(content: str, kind: str, labels: Mapping[str, str]) -> str | None:
    content = content.strip().strip("().*").strip()
    if kind == "choice":
        return content if content in labels else None
    if kind == "yes_no":
        return content.casefold() if content.casefold() in ("yes", "no") else None
    if kind == "number":
        return _decimal(content) if NUMBER.fullmatch(content) else None
    return normalise(content) or None


def _matches(text: str, kind: str, labels: Mapping[str, str], place: int) -> str | None:
    if kind == "choice":
        found = re.findall(rf"\b({'|'.join(map(re.escape, labels))})\b", text)
    elif kind == "yes_no":
        found = re.findall(r"\b(yes|no)\b", text.casefold())
    elif kind == "number":
        found = [_decimal(each) for each in NUMBER.findall(text)]
    else:
        return normalise(text) or None
    return found[place] if found else None


def _decimal(text: str) -> str:
    figures = text.replace(",", "")
    return figures.rstrip("0").rstrip(".") if "." in figures else figures


OURS = "ours"
STAND_INS: dict[str, Reader] = {
    "only_marker": only_marker,
    "whole_response": whole_response,
    "cue_then_first": cue_then_first,
    "first_match": first_match,
    "last_match": last_match,
    "first_capital": first_capital,
}
"""From the strictest to the loosest."""
PARSERS: dict[str, Reader] = {OURS: ours, **STAND_INS}
