"""ChartQA: 2,500 test questions about charts, half written by people and half by a model.

Official metric: relaxed accuracy, numbers within 5 % of the known one, over all questions and over each half.
"""

from __future__ import annotations

from typing import Any

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, pictures_in
from data_pipelines.benchmarks.options import free
from data_pipelines.pictures import OneOf
from data_pipelines.rows import Row

PEOPLE = {"0": "human", "1": "augmented", "human_test": "human", "augmented_test": "augmented"}


def published(row: Row) -> Draft:
    """An entry of test_human.json or test_augmented.json; the pictures lie in png/."""
    name = row.text("imgname")
    return _draft(row, row.text("query"), row.text("label"), row.file.rpartition("_")[2], name, _beside(name))


def with_label(row: Row) -> Draft:
    """A row of HuggingFaceM4/ChartQA: the label is a list of one."""
    label = row["label"][0] if isinstance(row["label"], list) and row["label"] else row["label"]
    said = row.maybe("human_or_machine")
    return _draft(row, row.text("query"), "" if label is None else str(label), said, "", pictures_in(row))


def with_answer(row: Row) -> Draft:
    """A row of lmms-lab/ChartQA."""
    return _draft(row, row.text("question"), row.text("answer"), row.maybe("type"), "", pictures_in(row))


def _beside(name: str) -> list[Any]:
    return [OneOf((f"png/{name}", name))]


def _draft(row: Row, question: str, label: str, by: str, name: str, images: list[Any]) -> Draft:
    known = free(label)
    return Draft(
        id=f"chartqa-{row.number}",
        question=question,
        kind=known.kind,
        answer=known.answer,
        images=images,
        category=PEOPLE.get(by, by),
        group=name,
    )


CHARTQA = Benchmark(
    title="ChartQA",
    licence="GPL-3.0",
    where="https://github.com/vis-nlp/ChartQA (ChartQA Dataset), hub ids HuggingFaceM4/ChartQA, lmms-lab/ChartQA",
    files=("*_human.json", "*_augmented.json"),
    layouts=(
        Layout(("imgname", "query", "label"), published),
        Layout(("image", "query", "label"), with_label),
        Layout(("image", "question", "answer"), with_answer),
    ),
)
