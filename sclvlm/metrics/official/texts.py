"""Official scores of one free answer: VQA accuracy, relaxed accuracy, ANLS, exact match, equality at a precision."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from statistics import fmean

from sclvlm.answers import normalise
from sclvlm.errors import SclvlmError

AGREEMENT = 3
"""So many people who say the same make an answer wholly right."""

_NUMBER = re.compile(r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)


def vqa_accuracy(answer: str | None, answers: Sequence[str]) -> float:
    """The mean, over the people asked, of min(1, matches among the others / 3): 0, .3, .6, .9, 1 of ten people.

    VQA v2 (arXiv 1612.00837; github.com/GT-Vision-Lab/VQA, vqaEval.py), used by OK-VQA and TextVQA. Both sides are
    normalised, also where all people agree. Raises SclvlmError for fewer than two answers: nobody is left to agree.
    """
    if len(answers) < 2:
        raise SclvlmError(
            f"VQA accuracy needs the answers of several people, got {len(answers)}. exact_match takes one."
        )
    if answer is None:
        return 0.0
    said = normalise(answer)
    agrees = [normalise(other) == said for other in answers]
    return fmean(min(1.0, (sum(agrees) - own) / AGREEMENT) for own in agrees)


def direct_answer_accuracy(answer: str | None, answers: Sequence[str]) -> float:
    """A-OKVQA's direct answers (arXiv 2206.01718): min(1, matches / 3), nobody left out.

    Its script compares as it is written; here both sides are VQA-normalised. Raises SclvlmError for no answers.
    """
    if not answers:
        raise SclvlmError("direct-answer accuracy needs the answers of several people, got none.")
    said = normalise(answer) if answer is not None else None
    return min(1.0, sum(normalise(other) == said for other in answers) / AGREEMENT)


def relaxed_match(answer: str | None, target: str, *, tolerance: float = 0.05) -> bool:
    """ChartQA (arXiv 2203.10244, section 5.1): numbers within 5 % of the target, other texts the same but for case.

    5% is 0.05 on either side. Thousands separators and a trailing dot are no difference. A target of 0 has nothing to
    be relative to: it takes 0 itself.
    """
    if answer is None:
        return False
    said, meant = number(answer), number(target)
    if said is None or meant is None:
        return _bare(answer) == _bare(target)
    return abs(said - meant) <= tolerance * abs(meant) + 1e-12


def anls(answer: str | None, targets: Sequence[str], *, threshold: float = 0.5) -> float:
    """Average normalised Levenshtein similarity, of one question (Biten et al., arXiv 1905.13648, equation 1).

    1 - d / max(length) for the nearest target, 0 from a distance of `threshold` on; case is no difference, spaces are.
    DocVQA (arXiv 2007.00398), InfographicVQA (arXiv 2104.12756). Raises SclvlmError for no target.
    """
    if not targets:
        raise SclvlmError("ANLS needs at least one accepted answer, got none.")
    if answer is None:
        return 0.0
    return max(_similarity(answer.strip().lower(), target.strip().lower(), threshold) for target in targets)


def exact_match(answer: str | None, target: str) -> bool:
    """The same text, but for case, surrounding space and a final dot (RealWorldQA)."""
    return answer is not None and _bare(answer) == _bare(target)


def equal_at_precision(answer: str | None, target: str, *, answer_type: str, precision: float | None = None) -> bool:
    """MathVista (arXiv 2310.02255; github.com/lupantech/MathVista, calculate_score.py), once the answer is extracted.

    integer: what stands before the decimal point is equal. float: equal when rounded to `precision` decimals. list,
    text: equal as texts. Its script compares "1.20" with "1.2" as texts and finds them different; here they are not.
    Raises SclvlmError for a float without precision, and for a numeric target that is none.
    """
    if answer_type not in ("integer", "float"):
        return answer is not None and answer.strip() == target.strip()
    if (meant := number(target)) is None:
        raise SclvlmError(f"the answer must be a number for answer_type={answer_type}, got {target!r}.")
    if answer_type == "float" and precision is None:
        raise SclvlmError("answer_type=float needs the question's precision, in decimals.")
    if answer is None or (said := number(answer)) is None:
        return False
    decimals = int(precision or 0)
    return int(said) == int(meant) if answer_type == "integer" else round(said, decimals) == round(meant, decimals)


def number(text: str) -> float | None:
    """The number that `text` is: thousands separators, one trailing dot and a percent sign (a hundredth) allowed."""
    bare = text.strip().removesuffix(".")
    figures = bare.removesuffix("%").strip()
    if not _NUMBER.fullmatch(figures):
        return None
    value = float(figures.replace(",", "")) / (100 if bare.endswith("%") else 1)
    return value if isfinite(value) else None


def edit_distance(one: str, other: str) -> int:
    """Levenshtein's distance: characters inserted, removed or replaced."""
    row = list(range(len(other) + 1))
    for i, char in enumerate(one, start=1):
        above, row[0] = row[0], i
        for j, against in enumerate(other, start=1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (char != against))
    return row[-1]


def _similarity(answer: str, target: str, threshold: float) -> float:
    longest = max(len(answer), len(target))
    if not longest:
        return 1.0
    if abs(len(answer) - len(target)) >= threshold * longest:  # the distance is no less: a long response costs nothing
        return 0.0
    distance = edit_distance(answer, target) / longest
    return 1 - distance if distance < threshold else 0.0


def _bare(text: str) -> str:
    return text.strip().removesuffix(".").strip().casefold()
