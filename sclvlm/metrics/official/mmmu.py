"""MMMU's rule for open questions (arXiv 2311.16502; github.com/MMMU-Benchmark/MMMU, eval_utils.py).

Candidates are collected from the places where a response concludes something; one that fits makes it right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sclvlm.errors import SclvlmError

Candidate = str | float

CONCLUSIONS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?e[+-]?\d+", re.IGNORECASE),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?!e[+-]?\d)(?![,\d])", re.IGNORECASE),
)
"""With thousands separators, in scientific notation, plain."""


def mmmu_open_match(response: str, targets: Sequence[str]) -> bool:
    """Whether `response` gives one of `targets`: a number of it is equal to two decimals, or a conclusion holds a text.

    The rule is generous: any number of the conclusions may be the one, and a text may stand anywhere in them. Each
    line concludes at most once.
    Raises SclvlmError for no target.
    """
    if not targets:
        raise SclvlmError("MMMU's open rule needs at least one accepted answer, got none.")
    accepted = [value for target in targets for value in _normalised(target)]
    return any(_fits(candidate, accepted) for candidate in candidates(response))


def candidates(response: str) -> set[Candidate]:
    """The conclusions in lower case, and their numbers to two decimals; of all of it where nothing is concluded."""
    found = list(_conclusions(response)) or [response]
    numbers = [number for text in found for pattern in _NUMBERS for number in pattern.findall(text)]
    return {value for text in (*found, *numbers) for value in _normalised(text)}


def _conclusions(response: str) -> Iterator[str]:
    lines = response.strip().strip(".").lower().split("\n")
    for position, line in enumerate(lines):
        cues = (*CONCLUSIONS, "=") if position == len(lines) - 1 else CONCLUSIONS  # an equation ends in its result
        tails = [tail for cue in cues if cue in line and (tail := line.rpartition(cue)[2].strip())]
        shortest = min(tails, key=len, default="")
        if shortest and shortest not in set(":,.!?;'"):
            yield shortest


def _normalised(text: str) -> list[Candidate]:
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lower = text.lower()
    return [f" {lower}", f"{lower} "] if len(lower) == 1 else [lower]  # a lone letter stands in any text


def _fits(candidate: Candidate, accepted: Sequence[Candidate]) -> bool:
    if isinstance(candidate, str):
        return any(isinstance(value, str) and value in candidate for value in accepted)
    return candidate in accepted
