"""PuzzleVQA: 2,000 abstract patterns in 20 kinds of puzzle, with a missing part to choose.

Official metric: accuracy by puzzle.
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout
from data_pipelines.benchmarks.options import letter_of_text
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind


def draft(row: Row) -> Draft:
    """A line of a puzzle's file; options are numbers or texts, the answer is the text of one."""
    choices, path = row.texts("options"), row.text("image")
    return Draft(
        id=f"puzzlevqa-{row.file}-{path.rpartition('/')[2].partition('.')[0]}",
        question=row.text("question"),
        kind=AnswerKind.CHOICE,
        choices=choices,
        answer=letter_of_text(row.text("answer"), choices),
        images=[path],
        category=row.file,
    )


PUZZLEVQA = Benchmark(
    title="PuzzleVQA",
    licence="see the source",
    where="https://github.com/declare-lab/LLM-PuzzleTest (PuzzleVQA/data)",
    layouts=(Layout(("image", "question", "options", "answer"), draft),),
    in_turn=True,
)
