"""MathVista: 1,000 questions (testmini) of mathematics about pictures, with options or a number or a list to give.

Official metric: the answer is read out, then equal at the given precision, which `meta` keeps.
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, pictures_in
from data_pipelines.benchmarks.options import free, letter_of_text
from data_pipelines.pictures import OneOf
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind


def draft(row: Row) -> Draft:
    """A row of the published Parquet files, or an entry of testmini.json."""
    about = row["metadata"] if isinstance(row["metadata"], dict) else {}
    answer, name = row.text("answer"), row.text("pid")
    path = row.maybe("image")
    read = Draft(
        id=f"mathvista-{name}",
        question=row.text("question"),
        kind=free(answer).kind if row.maybe("answer_type") in ("integer", "float") else AnswerKind.TEXT,
        answer=answer,
        images=pictures_in(row, "decoded_image") if row.has("decoded_image") else [OneOf((path, f"images/{path}"))],
        hint=_hint(row),
        category=str(about.get("task") or ""),
        meta={
            **row.kept("question_type", "answer_type", "precision", "unit"),
            **{key: about[key] for key in ("source", "context", "grade", "skills") if about.get(key)},
        },
    )
    if not row.has("choices"):
        return read
    choices = row.texts("choices")
    return read._replace(kind=AnswerKind.CHOICE, choices=choices, answer=letter_of_text(answer, choices), hint="")


def _hint(row: Row) -> str:
    """What the answer's form is to be: the official query says the same in other words."""
    said = []
    if row.has("precision") and row.maybe("answer_type") == "float":
        said.append(f"Give the number with {row.whole('precision')} decimals.")
    if row.maybe("answer_type") == "list":
        said.append("Give the answer as a Python list, such as [1, 2, 3].")
    if row.has("unit"):
        said.append(f"Unit: {row.text('unit')}.")
    return " ".join(said)


MATHVISTA = Benchmark(
    title="MathVista",
    licence="CC BY-SA 4.0; pictures by the terms of their sources",
    where="hub id AI4Math/MathVista (testmini about 140 MB)",
    split="testmini",
    files=("testmini.json", "test.json"),
    layouts=(Layout(("pid", "question", "image", "choices", "answer"), draft),),
)
