"""MMStar: 1,500 questions that need the picture, in 6 categories of 3 kinds each.

The options stand inside the question; where they can't be told apart the question stays whole and its choices are the
letters alone. Official metric: accuracy, also as the mean over categories.
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, lettered, pictures_in
from data_pipelines.benchmarks.options import apart, letter, letters_inside
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind


def draft(row: Row) -> Draft:
    """A row of the published Parquet file."""
    published, index, answer = row.text("question"), row.text("index"), row.text("answer")
    choices = letters_inside(published, answer)
    whole = Draft(
        id=f"mmstar-{index}",
        question=published,
        kind=AnswerKind.CHOICE,
        choices=choices,
        answer=letter(answer, choices),
        images=pictures_in(row),
        category=row.maybe("category"),
        meta={"published_question": published, **row.kept("l2_category")},
        row=index,
        note="options left inside the question",
    )
    if (found := apart(published)) is None:
        return whole
    return whole._replace(**found._asdict(), answer=letter(answer, found.choices), note="")


MMSTAR = Benchmark(
    title="MMStar",
    licence="see the source; the pictures come from other benchmarks",
    where="hub id Lin-Chen/MMStar (mmstar.parquet, about 40 MB), MMStar.tsv of VLMEvalKit",
    split="val",
    layouts=(lettered("mmstar"), Layout(("index", "question", "image", "answer"), draft)),
    in_turn=True,
)
