"""POPE: 9,000 questions whether an object is in a picture of COCO; the absent ones are random, popular or adversarial.

`category` is which. Official metrics: accuracy, precision, recall, F1 of yes, share of yes, of each category.
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, pictures_in
from data_pipelines.benchmarks.options import yes_or_no
from data_pipelines.pictures import OneOf
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind

FOLDERS = ("", "val2014/", "coco/val2014/")


def published(row: Row) -> Draft:
    """A line of coco_pope_random.json and its fellows; the pictures are those of COCO's val2014."""
    name = row.text("image")
    where = OneOf(tuple(folder + name for folder in FOLDERS))
    return _draft(row, row.text("text"), row.text("label"), row.file.rpartition("_")[2], name, [where])


def on_hub(row: Row) -> Draft:
    """A row of the hub's copy."""
    name = row.maybe("image_source")
    return _draft(row, row.text("question"), row.text("answer"), row.maybe("category"), name, pictures_in(row))


def _draft(row: Row, question: str, label: str, category: str, name: str, images: list[object]) -> Draft:
    return Draft(
        id=f"pope-{category}-{row.text('question_id')}",
        question=question,
        kind=AnswerKind.YES_NO,
        answer=yes_or_no(label),
        images=images,
        category=category,
        group=name,
    )


POPE = Benchmark(
    title="POPE",
    licence="MIT",
    where="https://github.com/AoiDragon/POPE (output/coco), hub id lmms-lab/POPE",
    subset="default",
    files=("coco_pope_*.json", "coco_pope_*.jsonl"),
    layouts=(
        Layout(("question_id", "image", "text", "label"), published),
        Layout(("question_id", "question", "answer", "image", "category"), on_hub),
    ),
    in_turn=True,
)
