"""ScienceQA: 4,241 test questions of school science, 2,017 of them with a picture.

Official metric: accuracy, also by subject, modality and grade.
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, lettered, pictures_in
from data_pipelines.benchmarks.options import letter_at
from data_pipelines.pictures import OneOf
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind


def draft(row: Row) -> Draft:
    """A problem of problems.json, its picture in a folder of its own, or a row of the hub's copy, which holds it."""
    choices = row.texts("choices")
    folder, name = f"{row.maybe('split')}/{row.key}", row["image"]
    beside = OneOf(tuple(f"{start}{folder}/{name}" for start in ("", "images/", "../images/")))
    images = [] if not row.has("image") else [beside] if isinstance(name, str) else pictures_in(row)
    return Draft(
        id=f"scienceqa-{row.key or row.number}",
        question=row.text("question"),
        kind=AnswerKind.CHOICE,
        choices=choices,
        answer=letter_at(row.whole("answer"), choices),
        images=images,
        hint=row.maybe("hint"),
        category=row.maybe("subject"),
        meta={
            "has_image": bool(images),
            "has_hint": row.has("hint"),
            **row.kept("grade", "topic", "category", "skill"),
        },
    )


SCIENCEQA = Benchmark(
    title="ScienceQA",
    licence="CC BY-NC-SA 4.0",
    where="https://github.com/lupantech/ScienceQA (problems.json, images), hub id derek-thomas/ScienceQA",
    files=("problems.json",),
    layouts=(lettered("scienceqa"), Layout(("question", "choices", "answer", "image"), draft)),
)
