"""RealWorldQA: 765 questions about scenes of everyday life, many seen from a car.

Options and an instruction how to answer stand inside the question; both are taken out. Official metric: the letter, or
the same text without regard to case.
"""

from __future__ import annotations

import re

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, lettered, pictures_in
from data_pipelines.benchmarks.options import apart, free, letter, letters_inside
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind

INSTRUCTION = re.compile(r"\s*Please answer [^\n]*$")


def draft(row: Row) -> Draft:
    """A row of the published Parquet files."""
    published, answer = row.text("question"), row.text("answer")
    asked = INSTRUCTION.sub("", published)
    read = Draft(
        id=f"realworldqa-{row.number}",
        question=asked,
        kind=AnswerKind.TEXT,
        answer=answer,
        images=pictures_in(row),
        meta={"published_question": published, **row.kept("image_path")},
    )
    if (found := apart(asked)) is not None:
        return read._replace(**found._asdict(), kind=AnswerKind.CHOICE, answer=letter(answer, found.choices))
    if len(answer) == 1 and answer.isalpha():
        choices, note = letters_inside(asked, answer), "options left inside the question"
        return read._replace(kind=AnswerKind.CHOICE, choices=choices, answer=letter(answer, choices), note=note)
    return read._replace(**free(answer)._asdict())


REALWORLDQA = Benchmark(
    title="RealWorldQA",
    licence="CC BY-ND 4.0",
    where="hub id xai-org/RealworldQA or lmms-lab/RealWorldQA, RealWorldQA.tsv of VLMEvalKit",
    layouts=(lettered("realworldqa"), Layout(("question", "answer", "image"), draft)),
)
