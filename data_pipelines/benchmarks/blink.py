"""BLINK: 1,901 validation questions of 14 tasks of seeing, with one to four pictures.

Official metric: accuracy by subtask, and their mean.
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, lettered, numbered_pictures
from data_pipelines.benchmarks.options import letter
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind

PICTURES = 4


def draft(row: Row) -> Draft:
    """A row of the published Parquet files; the answer is written (A), and hidden in the test split."""
    choices = row.texts("choices")
    return Draft(
        id=f"blink-{row.text('idx')}",
        question=row.text("question"),
        kind=AnswerKind.CHOICE,
        choices=choices,
        answer=letter(row.text("answer"), choices),
        images=numbered_pictures(row, PICTURES),
        category=row.maybe("sub_task") or row.subset,
    )


BLINK = Benchmark(
    title="BLINK",
    licence="Apache-2.0",
    where="hub id BLINK-Benchmark/BLINK (one folder a subtask), BLINK.tsv of VLMEvalKit",
    split="val",
    layouts=(
        Layout(("idx", "question", "choices", "answer", "image_1"), draft),
        lettered("blink"),
    ),
    in_turn=True,
)
