"""VQAv2, OK-VQA and TextVQA: short answers of ten people each, all kept in `answers`.

Official metric: VQA accuracy, left one out, after the official normalisation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, pictures_in
from data_pipelines.pictures import OneOf
from data_pipelines.rows import BrokenError, CellError, Row, Source, Wanted, files_of, open_rows, opened, read
from sclvlm.errors import ConfigError
from sclvlm.records import AnswerKind


def joined(wanted: Wanted) -> Source:
    """A folder with the questions in one file and the answers in another; anything else is opened as it is.

    The answers are held in memory, as texts; the questions and pictures are not.
    """
    folder = Path(wanted.name).expanduser()
    if not folder.is_dir() or not any(folder.rglob("*questions*.json")):
        return open_rows(wanted)
    questions, annotations = _one(folder, "*questions*.json", wanted), _one(folder, "*annotations*.json", wanted)
    answers = {row["question_id"]: row for row in read(annotations)}
    rows = (_with(row, answers.get(row["question_id"])) for row in read(questions))
    source = opened(wanted.name, rows, [folder, questions.parent])
    return source if wanted.images is None else source._replace(roots=(wanted.images.expanduser(), *source.roots))


def _one(folder: Path, pattern: str, wanted: Wanted) -> Path:
    found = [path for path in files_of(folder, wanted.split, (pattern,)) if path.match(pattern)]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ConfigError(f"{folder}: expected one {pattern} of the split {wanted.split!r}, got {names}.")
    return found[0]


def _with(row: Row, answers: Row | None) -> Row:
    added: Mapping[Any, Any] = answers.cells if answers is not None else {"answers": None}
    return replace(row, cells={**added, **row.cells}, flaw=row.flaw or (answers.flaw if answers else ""))


def said(row: Row) -> tuple[str, ...]:
    """The answers of all people: texts, or objects with an "answer"."""
    given = row["answers"]
    if isinstance(given, list) and given and isinstance(given[0], dict):
        texts = [each.get("answer") if isinstance(each, dict) else None for each in given]
        if not all(isinstance(text, str) for text in texts):
            raise CellError(f"column 'answers': expected objects with an 'answer', got {given!r:.80}")
        return tuple(str(text).strip() for text in texts)
    return row.texts("answers")


def drafter(name: str, image: Callable[[Row], list[Any]]) -> Callable[[Row], Draft]:
    """What reads a row of the benchmark called `name`. image: of a row that doesn't hold its picture itself."""

    def draft(row: Row) -> Draft:
        answers = said(row)  # one that is empty is a person's, too
        if not any(answers):
            raise BrokenError("no answer")
        return Draft(
            id=f"{name}-{row.text('question_id')}",
            question=row.text("question"),
            kind=AnswerKind.TEXT,
            answer=row.maybe("multiple_choice_answer") or Counter(filter(None, answers)).most_common(1)[0][0],
            answers=answers,
            images=pictures_in(row) if row.has("image") else image(row),
            category=row.maybe("answer_type"),
            group=row.maybe("image_id"),
            meta=row.kept("question_type"),
        )

    return draft


def coco(row: Row) -> list[Any]:
    """The picture of COCO 2014 with this image_id, which the published files call by its number."""
    number = row.whole("image_id")
    names = (f"{part}2014/COCO_{part}2014_{number:012d}.jpg" for part in ("val", "train", "test"))
    places = tuple(place for name in names for place in (name, name.partition("/")[2]))
    return [OneOf(places)]


def open_images(row: Row) -> list[Any]:
    """The picture of Open Images with this image_id."""
    name = f"{row.text('image_id')}.jpg"
    return [OneOf((f"train_images/{name}", f"test_images/{name}", name))]


def in_vqa_format(title: str, name: str, where: str, licence: str, image: Callable[[Row], list[Any]]) -> Benchmark:
    """A benchmark published as VQAv2 is: questions and annotations apart, or together on a hub."""
    needs = ("question_id", "question", "answers")
    return Benchmark(title, licence, where, (Layout(needs, drafter(name, image)),), split="val", open=joined)


VQAV2 = in_vqa_format(
    "VQAv2",
    "vqav2",
    "https://visualqa.org/download.html with COCO's val2014, hub id lmms-lab/VQAv2",
    "CC BY 4.0; pictures by the terms of COCO",
    coco,
)
OK_VQA = in_vqa_format(
    "OK-VQA",
    "okvqa",
    "https://okvqa.allenai.org/download.html with COCO's val2014, hub id lmms-lab/OK-VQA",
    "see the source; pictures by the terms of COCO",
    coco,
)
TEXTVQA = in_vqa_format(
    "TextVQA",
    "textvqa",
    "https://textvqa.org/dataset (TextVQA_0.5.1_val.json, train_val_images.zip), hub id lmms-lab/textvqa",
    "CC BY 4.0",
    open_images,
)
