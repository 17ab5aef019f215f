"""SEED-Bench: 14,233 questions about pictures in 9 dimensions (those about videos are left out).

Official metric: accuracy by question type.
"""

from __future__ import annotations

from typing import Any

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, lettered, options_in, pictures_in
from data_pipelines.benchmarks.options import letter
from data_pipelines.pictures import OneOf
from data_pipelines.rows import Row, Source, Wanted, open_rows
from sclvlm.records import AnswerKind

DIMENSIONS = (
    *("Scene Understanding", "Instance Identity", "Instance Attributes", "Instance Location", "Instances Counting"),
    *("Spatial Relation", "Instance Interaction", "Visual Reasoning", "Text Understanding"),
)
CHOICES = ("choice_a", "choice_b", "choice_c", "choice_d")


def about_pictures(wanted: Wanted) -> Source:
    """Without the questions about videos, which stand in the same file."""
    return open_rows(wanted).only("data_type", "image")


def draft(row: Row) -> Draft:
    """A row of SEED-Bench.json, whose pictures are named by data_id, or of the hub's copy, which holds them."""
    number, choices = row.whole("question_type_id"), options_in(row, CHOICES)
    return Draft(
        id=f"seed-{row.text('question_id')}",
        question=row.text("question"),
        kind=AnswerKind.CHOICE,
        choices=choices,
        answer=letter(row.text("answer"), choices),
        images=pictures_in(row) if row.has("image") else _beside(row.text("data_id")),
        category=DIMENSIONS[number - 1] if 0 < number <= len(DIMENSIONS) else str(number),
        meta=row.kept("question_type_id", "data_id"),
    )


def _beside(name: str) -> list[Any]:
    return [OneOf((f"SEED-Bench-image/{name}", name))]


SEED_BENCH = Benchmark(
    title="SEED-Bench",
    licence="CC BY-NC 4.0",
    where="hub id AILab-CVC/SEED-Bench (SEED-Bench.json, SEED-Bench-image.zip) or lmms-lab/SEED-Bench",
    files=("SEED-Bench.json",),
    open=about_pictures,
    layouts=(
        Layout(("question_id", "question", *CHOICES, "answer", "data_type", "question_type_id"), draft),
        lettered("seed"),
    ),
    in_turn=True,
)
