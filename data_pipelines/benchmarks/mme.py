"""MME: 2,374 yes/no questions in 14 subtasks, two about each picture; `group` is the picture.

Official metric: accuracy and accuracy+ (both questions of a picture) of each subtask, times 100.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, pictures_in
from data_pipelines.benchmarks.options import yes_or_no
from data_pipelines.pictures import OneOf
from data_pipelines.rows import Row, Source, Wanted, open_rows, opened
from sclvlm.records import AnswerKind

TEXTS = "questions_answers_YN"  # beside images/ in some subtasks; in the others both lie together
SCORER = "eval_tool"  # a folder with texts of another kind
SUFFIXES = (".jpg", ".png", ".jpeg")


def open_mme(wanted: Wanted) -> Source:
    """The published folder of one folder a subtask, where a text file beside each picture holds its questions."""
    folder = Path(wanted.name).expanduser()
    found = sorted(folder.rglob("*.txt")) if folder.is_dir() else []
    texts = [path for path in found if SCORER not in path.parts and path.stem.lower() != "readme"]
    if not texts:
        return open_rows(wanted)
    return opened(wanted.name, (row for path in texts for row in _rows(path)), [folder])


def _rows(path: Path) -> Iterator[Row]:
    subtask = path.parent.parent if path.parent.name == TEXTS else path.parent
    folder = subtask / "images" if path.parent.name == TEXTS else subtask
    image = OneOf(tuple(str((folder / path.stem).absolute()) + suffix for suffix in SUFFIXES))
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        question, _, answer = line.strip().rpartition("\t")
        cells = {"question": question, "answer": answer, "category": subtask.name, "image": image}
        if line.strip():
            yield Row({**cells, "question_id": f"{subtask.name}/{path.stem}"}, f"{path}, row {number}")


def draft(row: Row) -> Draft:
    """A line of a text file, or a row of the hub's copy."""
    category, about = row.text("category"), row.maybe("question_id") or row.maybe("image_path")
    image = row["image"]
    return Draft(
        id=f"mme-{category}-{row.number}",
        question=row.text("question"),
        kind=AnswerKind.YES_NO,
        answer=yes_or_no(row.text("answer")),
        images=[image] if isinstance(image, OneOf) else pictures_in(row),
        category=category,
        group=about if about.startswith(category) else f"{category}/{about}" if about else "",
        row=row.maybe("index"),
    )


MME = Benchmark(
    title="MME",
    licence="for research only, by the authors' terms",
    where="https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models (folders), hub id lmms-lab/MME",
    layouts=(Layout(("question", "answer", "category", "image"), draft),),
    open=open_mme,
)
