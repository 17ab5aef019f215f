"""What a benchmark is: where it is published, and how a row of each of its published layouts becomes a sample."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from data_pipelines.benchmarks.options import letter
from data_pipelines.pictures import Base64
from data_pipelines.rows import BrokenError, Row, Source, Wanted, open_rows, written_list
from sclvlm.errors import ConfigError
from sclvlm.records import LETTERS, AnswerKind

POINTER = 64  # characters of an image cell that can't be a picture: it names the row whose picture it shares


class SameAs(NamedTuple):
    """The pictures of the row whose `Draft.row` this is."""

    row: str


class Draft(NamedTuple):
    """A sample whose pictures are still as they were published.

    images: what `Pictures.keep` takes, or one SameAs; row: what SameAs of other rows calls this one; note: what the
    card counts, such as a departure from the usual reading. The other fields are those of `sclvlm.records.Sample`.
    """

    id: str
    question: str
    kind: AnswerKind
    answer: str
    images: Sequence[Any] = ()
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    hint: str = ""
    category: str = ""
    group: str = ""
    meta: Mapping[str, Any] = MappingProxyType({})
    row: str = ""
    note: str = ""


class Layout(NamedTuple):
    """A published layout: the columns that tell it, and what a row becomes."""

    needs: tuple[str, ...]
    draft: Callable[[Row], Draft]


class Benchmark(NamedTuple):
    """One benchmark. layouts: the more particular ones first; split, subset, files: what `Wanted` says by default;
    in_turn: write a question of each category in turn, as the published order is by category.
    """

    title: str
    licence: str
    where: str
    layouts: tuple[Layout, ...]
    split: str = "test"
    subset: str | None = None
    files: tuple[str, ...] = ()
    open: Callable[[Wanted], Source] = open_rows
    in_turn: bool = False

    @property
    def name(self) -> str:
        """What meta.benchmark of its samples says, by which its official metric is found: the title without a way of
        asking.
        """
        return self.title.partition(",")[0]


def layout_of(benchmark: Benchmark, columns: Collection[str], where: str) -> Layout:
    """The first layout of `benchmark` that has its columns.

    Raises ConfigError naming the column that the nearest one misses, and the columns found.
    """
    missing = {layout.needs: [each for each in layout.needs if each not in columns] for layout in benchmark.layouts}
    for layout in benchmark.layouts:
        if not missing[layout.needs]:
            return layout
    lost = min(missing.values(), key=len)
    known = " or ".join("+".join(needs) for needs in missing)
    raise ConfigError(
        f"{where}: {benchmark.title} needs the column {lost[0]!r}, found: {', '.join(columns) or 'none'}. "
        f"Its published layouts have {known}."
    )


def pointed(index: str) -> str:
    """An index as rows point at it: pandas writes 7 as 7.0 where a cell of the column is empty."""
    return index.strip().removesuffix(".0")


def pictures_in(row: Row, column: str = "image") -> list[Any]:
    """The pictures of a cell: stored ones, a list of them, base64, a written list of it, or what points at a row.

    Raises BrokenError for an empty cell.
    """
    if not row.has(column):
        raise BrokenError(f"no {column}")
    value = row[column]
    if isinstance(value, str) and len(value.strip()) <= POINTER:
        return [SameAs(pointed(value))]
    found = (written_list(value) or [value]) if isinstance(value, str) else value
    listed = found if isinstance(found, list) else [found]
    return [Base64(each) if isinstance(each, str) else each for each in listed if each is not None]


def numbered_pictures(row: Row, count: int) -> list[Any]:
    """The pictures in the columns image_1 to image_`count`, in this order. Raises BrokenError for a gap."""
    present = [row[f"image_{number}"] for number in range(1, count + 1)]
    images = [image for image in present if image is not None]
    if present[: len(images)] != images:
        raise BrokenError("a gap among the images")
    return images


def options_in(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    """The options in these columns, up to the last that says something. Raises BrokenError for a gap."""
    texts = [row.maybe(column) for column in columns]
    while texts and not texts[-1]:
        texts.pop()
    if not all(texts):
        raise BrokenError("a gap among the options")
    return tuple(texts)


def lettered(name: str) -> Layout:
    """The TSV of OpenCompass and VLMEvalKit: options in columns from A on, the picture in base64."""

    def draft(row: Row) -> Draft:
        index = pointed(row.text("index"))
        choices = options_in(row, LETTERS)
        return Draft(
            id=f"{name}-{index}",
            question=row.text("question"),
            kind=AnswerKind.CHOICE,
            choices=choices,
            answer=letter(row.text("answer"), choices),
            images=pictures_in(row),
            hint=row.maybe("hint"),
            category=row.maybe("category"),
            meta=row.kept("l2-category", "l2_category", "L2-category", "split", "source", "bench"),
            row=index,
        )

    return Layout(("index", "question", "A", "B", "answer", "image"), draft)
