"""MMMU: 900 validation questions of 30 college subjects; `<image n>` in question and options stands for image_n.

The markers stay in the texts and the pictures come in their order. Official metric: accuracy by subject; open answers
by a rule of their own, for which `answers` lists all that are accepted.
"""

from __future__ import annotations

import re

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, lettered, numbered_pictures
from data_pipelines.benchmarks.options import letter
from data_pipelines.rows import BrokenError, Row, written_list
from sclvlm.records import AnswerKind

PICTURES = 7
MARKER = re.compile(r"<image (\d+)>")
SUBJECT = re.compile(r"(?:dev|validation|test)_(.+)_\d+")
HIDDEN = "?"  # the answer of a test question


def draft(row: Row) -> Draft:
    """A row of the published Parquet files."""
    name, question, images = row.text("id"), row.text("question"), numbered_pictures(row, PICTURES)
    choices = row.texts("options") if row.has("options") else ()
    if any(int(number) > len(images) for number in MARKER.findall(" ".join((question, *choices)))):
        raise BrokenError("a marker without its image")
    if (answer := row.text("answer")) == HIDDEN:
        raise BrokenError("no answer")
    subject = SUBJECT.fullmatch(name)
    read = Draft(
        id=f"mmmu-{name}",
        question=question,
        kind=AnswerKind.CHOICE,
        answer=answer,
        images=images,
        category=subject[1] if subject else row.subset,
        meta=row.kept("question_type", "subfield", "topic_difficulty"),
    )
    if choices:
        return read._replace(choices=choices, answer=letter(answer, choices))
    accepted = tuple(map(str, written_list(answer) or [answer]))
    return read._replace(kind=AnswerKind.TEXT, answer=accepted[0], answers=accepted[1:])


MMMU = Benchmark(
    title="MMMU",
    licence="Apache-2.0",
    where="hub id MMMU/MMMU (about 3.5 GB) or lmms-lab/MMMU, MMMU_DEV_VAL.tsv of VLMEvalKit",
    split="validation",
    layouts=(
        Layout(("id", "question", "options", "answer", "image_1"), draft),
        lettered("mmmu"),
    ),
    in_turn=True,
)
