"""A-OKVQA: 1,145 validation questions that need knowledge of the world, with four options or open.

`aokvqa` asks with the options (accuracy), `aokvqa_direct` without (VQA accuracy over ten answers).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, pictures_in
from data_pipelines.benchmarks.options import letter_at
from data_pipelines.pictures import OneOf
from data_pipelines.rows import BrokenError, Row
from sclvlm.records import AnswerKind


def with_options(row: Row) -> Draft:
    """An entry of aokvqa_v1p0_val.json or a row of the hub's copy; the test split has no correct_choice_idx."""
    choices = row.texts("choices")
    return Draft(
        id=f"aokvqa-{row.text('question_id')}",
        question=row.text("question"),
        kind=AnswerKind.CHOICE,
        choices=choices,
        answer=letter_at(row.whole("correct_choice_idx"), choices),
        images=_image(row),
        group=row.maybe("image_id"),
        meta=row.kept("difficult_direct_answer"),
    )


def direct(row: Row) -> Draft:
    """The same, without the options."""
    answers = row.texts("direct_answers")
    if not answers:
        raise BrokenError("no answer")
    return Draft(
        id=f"aokvqa-{row.text('question_id')}",
        question=row.text("question"),
        kind=AnswerKind.TEXT,
        answer=Counter(answers).most_common(1)[0][0],
        answers=answers,
        images=_image(row),
        group=row.maybe("image_id"),
        meta=row.kept("difficult_direct_answer"),
    )


def _image(row: Row) -> list[Any]:
    """The picture in the row, or the one of COCO 2017 with its image_id."""
    if row.has("image"):
        return pictures_in(row)
    name = f"{row.whole('image_id'):012d}.jpg"
    return [OneOf((*(f"{part}2017/{name}" for part in ("val", "train", "test")), name))]


def _benchmark(title: str, column: str, draft: Callable[[Row], Draft]) -> Benchmark:
    return Benchmark(
        title=title,
        licence="see the source; pictures by the terms of COCO",
        where="https://github.com/allenai/aokvqa with COCO's val2017, hub id HuggingFaceM4/A-OKVQA",
        split="val",
        files=("aokvqa_*.json",),
        layouts=(Layout(("question_id", "question", "choices", column), draft),),
    )


AOKVQA = _benchmark("A-OKVQA, with options", "correct_choice_idx", with_options)
AOKVQA_DIRECT = _benchmark("A-OKVQA, direct answers", "direct_answers", direct)
