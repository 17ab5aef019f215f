"""MMEvalPro: 2,138 triplets of an original question, one about what is seen and one about what must be known.

`group` is the triplet. Official metric: genuine accuracy (all three right), and the mean over questions.
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, pictures_in
from data_pipelines.benchmarks.options import letter
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind


def draft(row: Row) -> Draft:
    """A row of the published Parquet files."""
    choices = row.texts("choices")
    return Draft(
        id=f"mmevalpro-{row.text('index')}",
        question=row.text("question"),
        kind=AnswerKind.CHOICE,
        choices=choices,
        answer=letter(row.text("answer"), choices),
        images=pictures_in(row),
        category=row.maybe("question_category"),
        group=row.text("triplet_id"),
        meta=row.kept("source", "eval_type"),
    )


MMEVALPRO = Benchmark(
    title="MMEvalPro",
    licence="CC BY-SA 4.0; pictures and questions belong to MMMU, ScienceQA and MathVista",
    where="hub id MM-Diagnose/MMEvalPro (270 MB)",
    layouts=(Layout(("index", "triplet_id", "question", "choices", "answer", "image"), draft),),
)
