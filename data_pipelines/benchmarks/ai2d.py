"""AI2D: 3,088 test questions about diagrams of school science. Official metric: accuracy."""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, lettered, pictures_in
from data_pipelines.benchmarks.options import letter_at
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind


def draft(row: Row) -> Draft:
    """A row of the hub's copy; the answer is an index written as text."""
    choices = row.texts("options")
    return Draft(
        id=f"ai2d-{row.number}",
        question=row.text("question"),
        kind=AnswerKind.CHOICE,
        choices=choices,
        answer=letter_at(row.whole("answer"), choices),
        images=pictures_in(row),
    )


AI2D = Benchmark(
    title="AI2D",
    licence="CC BY-SA 4.0",
    where="hub id lmms-lab/ai2d, AI2D_TEST.tsv of VLMEvalKit",
    layouts=(lettered("ai2d"), Layout(("question", "options", "answer", "image"), draft)),
)
