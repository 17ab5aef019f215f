"""NLVR: sentences that are true or false of drawn boxes, each drawn in six orders: one sample a drawing.

`group` is the sentence's number, the first part of `identifier`. Official metrics: accuracy, and consistency, the share
of sentences that are judged rightly with every drawing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout
from data_pipelines.benchmarks.options import yes_or_no
from data_pipelines.pictures import OneOf
from data_pipelines.rows import Row, Source, Wanted, open_rows
from sclvlm.records import AnswerKind

ORDERS = range(6)


def in_six_orders(wanted: Wanted) -> Source:
    """Every row six times, with the order of its boxes."""
    source = open_rows(wanted)
    return source._replace(rows=(each for row in source.rows for each in _orders(row)))


def _orders(row: Row) -> Iterator[Row]:
    yield from (replace(row, cells={**row.cells, "order": order}, place=f"{row.place}, {order}") for order in ORDERS)


def draft(row: Row) -> Draft:
    """A line of dev.json and its fellows, with the drawing of one order: images/DIRECTORY/dev-IDENTIFIER-ORDER.png."""
    identifier, order = row.text("identifier"), row.whole("order")
    name = f"{row.text('directory')}/{row.file}-{identifier}-{order}.png"
    return Draft(
        id=f"nlvr-{row.file}-{identifier}-{order}",
        question=f"Is this sentence true of the image? {row.text('sentence')}",
        kind=AnswerKind.YES_NO,
        answer=yes_or_no(row.text("label")),
        images=[OneOf((f"images/{name}", f"{row.file}/images/{name}", name))],
        group=identifier.partition("-")[0],
        meta={"identifier": identifier, "order": order},
    )


NLVR = Benchmark(
    title="NLVR",
    licence="CC BY 4.0",
    where="https://github.com/lil-lab/nlvr (nlvr/dev: dev.json, images)",
    split="dev",
    layouts=(Layout(("sentence", "identifier", "directory", "label"), draft),),
    open=in_six_orders,
)
