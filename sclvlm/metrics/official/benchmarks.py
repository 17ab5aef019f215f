"""Which official metric belongs to which benchmark: answered questions into the figures its leaderboard would show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from sclvlm.errors import SclvlmError
from sclvlm.metrics.official.final import final_text
from sclvlm.metrics.official.groups import (
    ROTATION,
    Figures,
    HallusionQuestion,
    by_category,
    circular,
    consistency,
    genuine_accuracy,
    hallusion,
    mean,
    mme,
)
from sclvlm.metrics.official.mmmu import mmmu_open_match
from sclvlm.metrics.official.texts import (
    anls,
    direct_answer_accuracy,
    equal_at_precision,
    exact_match,
    relaxed_match,
    vqa_accuracy,
)
from sclvlm.metrics.official.yes_no import both_readings, pope_answer
from sclvlm.prompts import MARKER, in_plain_marks
from sclvlm.records import AnswerKind, GradedTurn, Sample, Verdict
from sclvlm.suites import benchmark_key


class Answered(NamedTuple):
    """A question and the turn that answers it. marker: what the final answer was asked to stand between."""

    sample: Sample
    turn: GradedTurn
    marker: str = MARKER

    @property
    def right(self) -> bool:
        """Whether the answer was read and is the known one."""
        return self.turn.verdict is Verdict.CORRECT

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every accepted text, in order; people's answers with repetitions. `answers` may leave out `answer`."""
        sample = self.sample
        return sample.answers if sample.answer in sample.answers else (sample.answer, *sample.answers)

    @property
    def response(self) -> str:
        """The response with its final answer between ## marks, whatever marks were asked for."""
        return in_plain_marks(self.turn.response, self.marker)

    @property
    def failed(self) -> bool:
        """Whether no response could be had."""
        return self.turn.finish_reason == "error"

    @property
    def text(self) -> str | None:
        """The answer as it was written; None where there is none."""
        return final_text(in_plain_marks(self.turn.said, self.marker))

    def told(self, key: str) -> Any:
        """What the sample's meta says under `key`. Raises SclvlmError when it doesn't."""
        if (value := self.sample.meta.get(key)) is None:
            raise SclvlmError(
                f"sample {self.sample.id!r}: the official metric of its benchmark needs meta.{key}, and it is not "
                "there. Write the samples again from the published files."
            )
        return value

    def number(self, key: str) -> float | None:
        """The number under `key` of the sample's meta; None where it says none. Raises SclvlmError for no number."""
        if (value := self.sample.meta.get(key)) in (None, ""):
            return None
        try:
            return float(value)
        except (TypeError, ValueError):
            raise SclvlmError(f"sample {self.sample.id!r}: meta.{key} must be a number, got {value!r}.") from None


Official = Callable[[Sequence[Answered]], Figures]
Score = Callable[[Answered], float]
_GRID = re.compile(r"\s*\d+\s*,\s*\d+\s*")


def in_points(benchmark: str) -> bool:
    """Whether the figures of a benchmark are points, not shares."""
    return benchmark_key(benchmark) == "mme"


def _by_category(answered: Sequence[Answered]) -> Figures:
    return by_category([one.right for one in answered], [one.sample.category for one in answered])


def _by_second_level(answered: Sequence[Answered]) -> Figures:
    """A letter is compared as it was written where the options stand inside the question: A alone is no text."""
    levels = [str(_second_level(one.sample)) for one in answered]
    return by_category([bool(_same(one)) for one in answered], levels)


def _second_level(sample: Sample) -> Any:
    names = ("l2", "l2_category", "l2-category")
    return next((sample.meta[name] for name in names if name in sample.meta), sample.category)


def _accuracy(answered: Sequence[Answered]) -> Figures:
    return {"accuracy": mean([one.right for one in answered])}


def _scienceqa(answered: Sequence[Answered]) -> Figures:
    """By subject; then, as its tables do, by what the question comes with (text and image may both) and by grade."""
    parts: dict[str, list[float]] = {}
    for one in answered:
        for part in (*_modalities(one.sample), *_grades(one.sample)):
            parts.setdefault(part, []).append(one.right)
    return _by_category(answered) | {part: fmean(parts[part]) for part in sorted(parts)}


def _modalities(sample: Sample) -> tuple[str, ...]:
    comes_with = {
        "modality/text": sample.meta.get("has_hint", sample.hint),
        "modality/image": sample.meta.get("has_image", sample.images),
    }
    return tuple(name for name, there in comes_with.items() if there) or ("modality/none",)


def _grades(sample: Sample) -> tuple[str, ...]:
    """The half of school that meta.grade (grade7) lies in; nothing where it isn't told."""
    grade = re.fullmatch(r"\D*(\d+)", str(sample.meta.get("grade", "")))
    return () if grade is None else ("grade/1-6" if int(grade[1]) <= 6 else "grade/7-12",)


def _mmbench(answered: Sequence[Answered]) -> Figures:
    return circular([one.right for one in answered], _indices(answered))


def _indices(answered: Sequence[Answered]) -> list[int]:
    """The published index where the sample has kept it; else the group's, rotated once more each time it comes."""
    seen: Counter[str] = Counter()
    numbers: dict[str, int] = {}
    found = []
    for one in answered:
        group = one.sample.group or one.sample.id
        place = numbers.setdefault(group, len(numbers)) + ROTATION * seen[group]
        seen[group] += 1
        index = one.number("index")
        found.append(place if index is None else int(index))
    return found


def _pope(answered: Sequence[Answered]) -> Figures:
    """By our reading, which may abstain, and by the official one (`official/...`), which never does; splits apart.

    A response that could not be had is wrong in both: there is nothing the official script could read.
    """
    splits = sorted({one.sample.category for one in answered})
    parts = {"": list(answered)} | {
        f"{split}/": [one for one in answered if one.sample.category == split] for split in splits if len(splits) > 1
    }
    figures: Figures = {}
    for prefix, part in parts.items():
        published = [None if one.failed else pope_answer(one.response) for one in part]
        found = both_readings([one.turn.answer for one in part], published, [one.sample.answer for one in part])
        figures |= {f"{prefix}{name}": value for name, value in found.items()}
    return figures


def _mme(answered: Sequence[Answered]) -> Figures:
    return mme(
        [one.right for one in answered],
        [one.sample.category for one in answered],
        [one.sample.cluster for one in answered],
    )


def _hallusion(answered: Sequence[Answered]) -> Figures:
    keys = [
        HallusionQuestion(
            category=str(one.sample.meta.get("category", one.sample.category.partition("/")[0])),
            subcategory=str(one.sample.meta.get("subcategory", one.sample.category.partition("/")[2])),
            set_id=str(one.told("set_id")),
            figure_id=str(one.told("figure_id")),
            question_id=str(one.told("question_id")),
        )
        for one in answered
    ]
    return hallusion([one.right for one in answered], keys)


def _genuine(answered: Sequence[Answered]) -> Figures:
    return genuine_accuracy([one.right for one in answered], [one.sample.cluster for one in answered])


def _nlvr(answered: Sequence[Answered]) -> Figures:
    return consistency([one.right for one in answered], [one.sample.cluster for one in answered])


def _mmmu(answered: Sequence[Answered]) -> Figures:
    right = [_mmmu_right(one) for one in answered]
    return by_category(right, [one.sample.category for one in answered])


def _mmmu_right(one: Answered) -> bool:
    if one.sample.kind is AnswerKind.CHOICE:
        return one.right
    return mmmu_open_match(one.response, (one.sample.answer, *one.sample.answers))


def _mathvista(answered: Sequence[Answered]) -> Figures:
    return by_category([_mathvista_right(one) for one in answered], [one.sample.category for one in answered])


def _mathvista_right(one: Answered) -> bool:
    if one.sample.kind is AnswerKind.CHOICE:
        return one.right
    answer = one.turn.answer if one.sample.kind is AnswerKind.NUMBER else one.text
    answer_type = str(one.told("answer_type"))
    return equal_at_precision(answer, one.sample.answer, answer_type=answer_type, precision=one.number("precision"))


def _blindtest(answered: Sequence[Answered]) -> Figures:
    return by_category([_blindtest_right(one) for one in answered], [one.sample.category for one in answered])


def _blindtest_right(one: Answered) -> bool:
    """A grid's rows and columns by the numbers that are said, in order; a letter in either case; others as read."""
    known, said = one.sample.answer, one.text or ""
    if _GRID.fullmatch(known):
        return re.findall(r"\d+", said) == re.findall(r"\d+", known)
    if one.sample.kind is AnswerKind.TEXT and len(known) == 1:
        return re.sub(r"[\W_]", "", said).casefold() == known.casefold()
    return one.right


def _mean(score: Score, name: str) -> Official:
    """The mean of a score of each answer."""
    return lambda answered: {name: mean([score(one) for one in answered])}


def _choice_or(score: Score, name: str) -> Official:
    """Multiple choice by its letter, the other questions by a score; each left out where there is none of it."""

    def figures(answered: Sequence[Answered]) -> Figures:
        chosen = [one for one in answered if one.sample.kind is AnswerKind.CHOICE]
        other = [one for one in answered if one.sample.kind is not AnswerKind.CHOICE]
        parts = {"choice_accuracy": [float(one.right) for one in chosen], name: [score(one) for one in other]}
        return {part: fmean(scores) for part, scores in parts.items() if scores}

    return figures


def _chartqa(answered: Sequence[Answered]) -> Figures:
    """Over all questions, then over those by people (`human`) and by a model (`augmented`), as the category tells."""
    scores = [(one.sample.category, _relaxed(one)) for one in answered]
    halves = {half: [score for by, score in scores if by == half] for half in ("human", "augmented")}
    overall = {"relaxed_accuracy": mean([score for _, score in scores])}
    return overall | {half: fmean(found) for half, found in halves.items() if found}


def _vqa(one: Answered) -> float:
    return vqa_accuracy(one.turn.answer, one.sample.answers)


def _direct(one: Answered) -> float:
    return direct_answer_accuracy(one.turn.answer, one.accepted)


def _relaxed(one: Answered) -> float:
    return float(any(relaxed_match(one.text, target) for target in one.accepted))


def _anls(one: Answered) -> float:
    return anls(one.text, one.accepted)


def _same(one: Answered) -> float:
    """A choice by its letter, anything else as it was written."""
    if one.sample.kind is AnswerKind.CHOICE:
        return float(one.right)
    return float(any(exact_match(one.text, target) for target in one.accepted))


OFFICIAL: dict[str, Official] = {
    "mmbench": _mmbench,
    "mmstar": _by_second_level,
    "seedbench": _by_category,
    "mmtbench": _by_category,
    "realworldqa": _mean(_same, "accuracy"),
    "scienceqa": _scienceqa,
    "mmmu": _mmmu,
    "mathvista": _mathvista,
    "ai2d": _accuracy,
    "aokvqa": _choice_or(_direct, "direct_answer_accuracy"),
    "vqav2": _mean(_vqa, "vqa_accuracy"),
    "okvqa": _mean(_vqa, "vqa_accuracy"),
    "textvqa": _mean(_vqa, "vqa_accuracy"),
    "pope": _pope,
    "mme": _mme,
    "hallusionbench": _hallusion,
    "chartqa": _chartqa,
    "docvqa": _mean(_anls, "anls"),
    "infovqa": _mean(_anls, "anls"),
    "infographicvqa": _mean(_anls, "anls"),
    "mmevalpro": _genuine,
    "blink": _by_category,
    "nlvr": _nlvr,
    "nlvr2": _nlvr,
    "easyvqa": _by_category,
    "blindtest": _blindtest,
    "puzzlevqa": _by_category,
}
