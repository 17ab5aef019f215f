"""BlindTest (VLMs are blind): 8,016 questions about lines, circles, squares, grids and letters.

Official metric: accuracy by task, and their mean.
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, pictures_in
from data_pipelines.benchmarks.options import Known, free
from data_pipelines.rows import Row
from sclvlm.records import LETTERS, AnswerKind


def draft(row: Row) -> Draft:
    """A row of the published Parquet file. A grid's answer is rows and columns, such as 5,6.

    A letter of a word is a choice among all letters: as a text, A would be an article, which says nothing.
    """
    answer = row.text("groundtruth")
    known, choices = free(answer), ()
    if len(answer) == 1 and answer.upper() in LETTERS:
        known, choices = Known(AnswerKind.CHOICE, answer.upper()), tuple(LETTERS)
    return Draft(
        id=f"blindtest-{row.number}",
        question=row.text("prompt"),
        kind=known.kind,
        choices=choices,
        answer=known.answer,
        images=pictures_in(row),
        category=row.text("task"),
    )


BLINDTEST = Benchmark(
    title="BlindTest",
    licence="MIT",
    where="hub id XAI/vlmsareblind (valid-00000-of-00001.parquet)",
    split="valid",
    layouts=(Layout(("task", "prompt", "groundtruth", "image"), draft),),
    in_turn=True,
)
