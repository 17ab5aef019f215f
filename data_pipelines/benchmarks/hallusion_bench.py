"""HallusionBench: 1,129 yes/no questions about pictures that mislead, some without the picture.

`meta` has set_id, figure_id and question_id. Official metrics: accuracy over questions, over figures (all questions
about one right) and over question pairs (a question right with every figure).
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, pictures_in
from data_pipelines.benchmarks.options import yes_or_no
from data_pipelines.pictures import OneOf
from data_pipelines.rows import Row
from sclvlm.records import AnswerKind

IDS = ("set_id", "figure_id", "question_id")
NEEDED = ("category", "subcategory", *IDS, "visual_input", "question", "gt_answer")


def draft(row: Row) -> Draft:
    """An entry of HallusionBench.json or a row of the hub's copy. visual_input 0 asks without a picture."""
    kind = f"{row.text('category')}-{row.text('subcategory')}"
    numbers = "-".join(row.text(name) for name in IDS)
    return Draft(
        id=f"hallusion-{kind}-{row.text('visual_input')}-{numbers}",
        question=row.text("question"),
        kind=AnswerKind.YES_NO,
        answer=yes_or_no(row.text("gt_answer")),
        images=[] if row.whole("visual_input") == 0 else _image(row),
        category=kind,
        group=f"{kind}-{row.text('set_id')}",
        meta=row.kept("category", "subcategory", "visual_input", *IDS),
    )


def _image(row: Row) -> list[object]:
    if row.has("image"):
        return pictures_in(row)
    name = row.text("filename").removeprefix("./")
    return [OneOf((name, f"hallusion_bench/{name}", name.removeprefix("hallusion_bench/")))]


HALLUSION_BENCH = Benchmark(
    title="HallusionBench",
    licence="BSD-3-Clause",
    where="https://github.com/tianyi-lab/HallusionBench (HallusionBench.json, hallusion_bench.zip), "
    "hub id lmms-lab/HallusionBench",
    split="image+non_image",
    files=("HallusionBench.json",),
    layouts=(Layout(NEEDED, draft),),
)
