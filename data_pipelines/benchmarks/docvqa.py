"""DocVQA and InfoVQA: questions about scanned documents and about infographics, several accepted answers each.

Official metric: ANLS, the best edit similarity of any accepted answer, 0 below one half.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, pictures_in
from data_pipelines.pictures import OneOf
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind


def drafter(name: str) -> Callable[[Row], Draft]:
    """What reads an entry of the published JSON or a row of the hub's copy."""

    def draft(row: Row) -> Draft:
        answers = row.texts("answers")
        return Draft(
            id=f"{name}-{row.text('questionId')}",
            question=row.text("question"),
            kind=AnswerKind.TEXT,
            answer=answers[0] if answers else "",
            answers=answers[1:],
            images=_image(row),
            category=", ".join(row.texts("question_types")) if row.has("question_types") else "",
            group=row.maybe("docId") or row.maybe("image_local_name"),
        )

    return draft


def _image(row: Row) -> list[Any]:
    path = row["image_local_name"] if row.has("image_local_name") else row["image"]
    if not isinstance(path, str):
        return pictures_in(row)
    return [OneOf((path, f"images/{path}", f"infographicsvqa_images/{path}", PurePath(path).name))]


LICENCE = "by the terms of the Robust Reading Competition, after registration"
DOCVQA = Benchmark(
    title="DocVQA",
    licence=LICENCE,
    where="https://rrc.cvc.uab.es/?ch=17 (task 1), hub id lmms-lab/DocVQA",
    split="val",
    subset="DocVQA",
    layouts=(Layout(("questionId", "question", "answers", "image"), drafter("docvqa")),),
)
INFOVQA = Benchmark(
    title="InfoVQA",
    licence=LICENCE,
    where="https://rrc.cvc.uab.es/?ch=17 (task 3), hub id lmms-lab/DocVQA",
    split="val",
    subset="InfographicVQA",
    layouts=(
        Layout(("questionId", "question", "answers", "image_local_name"), drafter("infovqa")),
        Layout(("questionId", "question", "answers", "image"), drafter("infovqa")),
    ),
)
