"""Official metrics that count questions by what they belong to: a category, a set of rotations, an image, a triplet.

Every function takes one entry a question, in any order, and returns figures by name. Shares are fractions of 1, but
for MME, which counts in points. `name/part` is the figure of a part.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from statistics import fmean
from typing import NamedTuple, TypeVar

from sclvlm.errors import SclvlmError

Figures = dict[str, float]

V = TypeVar("V")
K = TypeVar("K", bound=Hashable)

ROTATION = 1_000_000
"""MMBench's copies of a question with its options rotated stand at index + k * ROTATION."""

PERCEPTION = frozenset(
    ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "ocr")
)
COGNITION = frozenset(("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"))


class HallusionQuestion(NamedTuple):
    """Where a question of HallusionBench stands. category: VD or VS; figure_id 0 of VS is no picture at all."""

    category: str
    subcategory: str
    set_id: str
    figure_id: str
    question_id: str


def by_category(correct: Sequence[bool], categories: Sequence[str]) -> Figures:
    """Accuracy over questions, its mean over categories (`macro`), and that of each (`category/<name>`).

    SEED-Bench (arXiv 2307.16125), MMStar (arXiv 2403.20330, over l2_category), MMT-Bench (arXiv 2404.16006), MMMU by
    subject (arXiv 2311.16502), BLINK (arXiv 2404.12390), ScienceQA (arXiv 2209.09513).
    """
    parts = {name: fmean(found) for name, found in _by_key(correct, categories).items()}
    return {
        "accuracy": fmean(correct),
        "macro": fmean(parts.values()),
        **{f"category/{name or '(none)'}": parts[name] for name in sorted(parts)},
    }


def circular(correct: Sequence[bool], indices: Sequence[int]) -> Figures:
    """MMBench (arXiv 2307.06281, section 3.2): right only where every rotation of the options is answered right.

    indices: as published. `vanilla` is the accuracy on the questions as first asked, index < 1e6. Either figure is left
    out where there is nothing it is about: no rotation at all, or no question as first asked.
    """
    _same_length(correct, indices)
    asked_first = [right for right, index in zip(correct, indices, strict=True) if index < ROTATION]
    figures = {"vanilla": fmean(asked_first)} if asked_first else {}
    if any(index >= ROTATION for index in indices):
        figures = {"circular": all_right(correct, [index % ROTATION for index in indices])["share"]} | figures
    return figures


def genuine_accuracy(correct: Sequence[bool], triplets: Sequence[str]) -> Figures:
    """MMEvalPro (arXiv 2407.00468): a question counts with its perception and its knowledge question or not at all.

    `micro` is the accuracy over all questions. Triplets that were not asked as a whole don't count for `genuine`, which
    is left out where there are no others.
    """
    whole = all_right(correct, triplets, size=3)
    return {**({"genuine": whole["share"]} if whole["groups"] else {}), "micro": fmean(correct)}


def consistency(correct: Sequence[bool], sentences: Sequence[str]) -> Figures:
    """NLVR (Suhr et al. 2017) and NLVR2 (arXiv 1811.00491): the share of sentences judged right under every picture."""
    return {"accuracy": mean(correct), "consistency": all_right(correct, sentences)["share"]}


def hallusion(correct: Sequence[bool], questions: Sequence[HallusionQuestion]) -> Figures:
    """HallusionBench (arXiv 2310.14566): accuracy by question (aAcc), by figure (fAcc), by question pair (qAcc).

    A figure, or a question with its figures, counts where all of it is right. Questions without a picture (VS, figure
    0) belong to no figure. The paper's judge is a language model that may call an answer "unclear"; here such an
    answer is wrong, also where there is no picture to be clear about.
    """
    _same_length(correct, questions)
    pairs = [(*asked[:3], asked.question_id) for asked in questions]
    drawn = [
        (right, asked[:4])
        for right, asked in zip(correct, questions, strict=True)
        if not (asked.category.upper() == "VS" and asked.figure_id == "0")
    ]
    figures = {"aAcc": fmean(correct)}
    if drawn:
        figures["fAcc"] = all_right([right for right, _ in drawn], [figure for _, figure in drawn])["share"]
    return {**figures, "qAcc": all_right(correct, pairs)["share"]}


def mme(correct: Sequence[bool], subtasks: Sequence[str], images: Sequence[str]) -> Figures:
    """MME (arXiv 2306.13394), in points: each subtask's accuracy and accuracy+ times 100, and their sums.

    accuracy+ is the share of images both of whose questions are right; images with another number of questions don't
    count for it. `perception` (ten subtasks, at most 2000) and `cognition` (four, at most 800) add up the subtasks that
    were asked.
    """
    parts: dict[str, Figures] = {}
    asked = list(zip(correct, images, strict=True))
    for name, answers in sorted(_by_key(asked, subtasks).items()):
        right = [one for one, _ in answers]
        plus = all_right(right, [image for _, image in answers], size=2)["share"]
        parts[name] = {"accuracy": 100 * fmean(right), "accuracy_plus": 100 * plus}
    scores = {name.casefold(): sum(points.values()) for name, points in parts.items()}
    totals = {"perception": PERCEPTION, "cognition": COGNITION}
    return {
        **{total: _sum_of(scores, names) for total, names in totals.items() if names & scores.keys()},
        **{f"{name}/{which}": value for name, points in parts.items() for which, value in points.items()},
    }


def mean(scores: Sequence[float]) -> float:
    """The mean of scores, one a question. Raises SclvlmError of none."""
    _same_length(scores, scores)
    return fmean(scores)


def all_right(correct: Sequence[bool], groups: Sequence[Hashable], *, size: int | None = None) -> Figures:
    """`share`: groups all of whose questions are right, of the `groups` that count; 0 of none.

    size: only groups of so many questions count.
    """
    found = [all(group) for group in _by_key(correct, groups).values() if size is None or len(group) == size]
    return {"share": fmean(found) if found else 0.0, "groups": float(len(found))}


def _by_key(values: Sequence[V], keys: Sequence[K]) -> dict[K, list[V]]:
    _same_length(values, keys)
    members: dict[K, list[V]] = {}
    for value, key in zip(values, keys, strict=True):
        members.setdefault(key, []).append(value)
    return members


def _same_length(values: Sequence[object], keys: Sequence[object]) -> None:
    if not values:
        raise SclvlmError("accuracy of nothing: an official metric needs at least one answer, got none.")
    if len(values) != len(keys):
        raise SclvlmError(f"expected one entry a question, got {len(values)} answers and {len(keys)} keys.")


def _sum_of(scores: Figures, names: Iterable[str]) -> float:
    return sum(scores[name] for name in names if name in scores)
