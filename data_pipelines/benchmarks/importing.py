"""A benchmark's rows as samples.jsonl, its pictures beside it, and card.md. Rows and pictures pass one at a time."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_pipelines.benchmarks.card import card
from data_pipelines.benchmarks.layouts import Benchmark, Draft, Layout, SameAs, layout_of, pictures_in, pointed
from data_pipelines.pictures import Pictures
from data_pipelines.rows import BrokenError, CellError, Row, Wanted, names_of
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.records import Sample
from sclvlm.screening import Screen, told
from sclvlm.storage import describe, partial_path, remove_folder, write_records, write_text

FILES = frozenset(("samples.jsonl", "card.md", "images"))


@dataclass
class Tally:
    """What an import comes to."""

    screen: Screen
    read: int = 0
    kept: int = 0
    images: int = 0
    bare: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    groups: set[str] = field(default_factory=set)
    licence: str = ""
    other_splits: set[str] = field(default_factory=set)

    def count(self, sample: Sample, note: str) -> None:
        """Take note of one more sample."""
        self.kept += 1
        self.bare += not sample.images
        self.kinds[sample.kind] += 1
        self.categories[sample.category] += 1
        self.answers.setdefault(sample.kind, Counter())[sample.answer] += 1
        if note:
            self.notes[note] += 1
        if sample.group:
            self.groups.add(sample.group)


class Import:
    """Makes samples of rows. A row that shares the picture of one that comes later waits until the end; one that is
    passed over or left out lends its picture all the same. used: the pictures of samples.
    """

    def __init__(self, name: str, layout: Layout, pictures: Pictures, tally: Tally, split: str) -> None:
        self.name, self.layout, self.pictures, self.tally = name, layout, pictures, tally
        self.split = names_of(split)
        self.used: set[str] = set()
        self._known: dict[str, list[str]] = {}
        self._waiting: list[tuple[Row, Draft]] = []
        self._ids: dict[str, str] = {}  # and the part that each stands in
        self._rows: Counter[str] = Counter()  # of each part
        self._twice: Counter[tuple[str, str]] = Counter()  # rows with an id of another part

    def samples(self, rows: Iterable[Row], limit: int | None = None) -> Iterator[Sample]:
        """The sound samples of the first `limit` rows of the split.

        Raises SclvlmError naming row and column of a wrong cell, ConfigError where parts tell the same ids.
        """
        for row in islice(self._of_split(rows), limit):
            self.tally.read += 1
            self._rows[row.part] += 1
            yield from self._sound(row, partial(self._first, row))
        for row, draft in self._waiting:
            yield from self._sound(row, partial(self._sample, row, draft))
        self._check_parts()

    def _of_split(self, rows: Iterable[Row]) -> Iterator[Row]:
        """A file may hold several splits and say of each row which."""
        for row in rows:
            if row.flaw or not row.split or row.split in self.split:
                yield row
            else:
                self.tally.other_splits.add(row.split)
                self._lend(row)

    def _sound(self, row: Row, make: Callable[[], Sample | None]) -> Iterator[Sample]:
        try:
            sample = make()
        except CellError as error:
            raise SclvlmError(f"{row.place}: {error}. Found: {', '.join(map(str, row.cells))}. Mend the row.") from None
        except BrokenError as error:
            self.tally.screen.drop(row.place, str(error))
            self._lend(row)
            return
        if sample is not None:
            yield sample

    def _first(self, row: Row) -> Sample | None:
        if row.flaw:
            raise BrokenError(row.flaw)
        draft = self.layout.draft(row)
        if any(isinstance(image, SameAs) and image.row not in self._known for image in draft.images):
            self._waiting.append((row, draft))
            return None
        return self._sample(row, draft)

    def _sample(self, row: Row, draft: Draft) -> Sample:
        if not draft.answer:
            raise BrokenError("no answer")
        if (first := self._ids.get(draft.id)) is not None:
            self._twice[first, row.part] += first != row.part
            raise BrokenError("id stands twice")
        images = self._kept(draft.images)
        own = {name: value for name, value in draft._asdict().items() if name in Sample.model_fields}
        try:
            meta = {"benchmark": self.name, **draft.meta}
            sample = Sample.model_validate({**own, "images": images, "meta": meta})
        except ValidationError as error:
            raise BrokenError(describe(error).partition(", got")[0]) from None
        self._ids[draft.id] = sys.intern(row.part)
        self.tally.count(sample, draft.note)
        self.used.update(images)
        if draft.row:
            self._known[pointed(draft.row)] = images
        return sample

    def _check_parts(self) -> None:
        """Files that share most of their ids are two forms of the same questions, of which one would be lost."""
        for (first, second), twice in self._twice.items():
            if 2 * twice > (rows := self._rows[second]):
                raise ConfigError(
                    f"{second}: {twice} of {rows} rows have ids that stand in {first}: both are forms of the same "
                    "questions, such as languages. Import one of them: name its file, or --subset of a hub id."
                )

    def _kept(self, images: Sequence[Any]) -> list[str]:
        if not any(isinstance(image, SameAs) for image in images):
            return self.pictures.keep(images)
        (shared,) = images
        if shared.row not in self._known:
            raise BrokenError("image points at a row that is missing or has no sound image")
        return self._known[shared.row]

    def _lend(self, row: Row) -> None:
        """Know the pictures of a row that is no sample, if it has any, for rows that point at it."""
        with suppress(BrokenError, CellError):
            if not row.flaw and (name := pointed(row.text("index"))) not in self._known:
                self._known[name] = self._kept(pictures_in(row))


def build(
    name: str,
    benchmark: Benchmark,
    source: str,
    out: Path,
    *,
    split: str | None = None,
    subset: str | None = None,
    images: Path | None = None,
    limit: int | None = None,
    strict: bool = False,
) -> Tally:
    """Make `out` from the files or the hub id `source`. It appears whole or not at all, in place of an earlier one.

    Raises ConfigError for a source, a column or a folder that can't be used, SclvlmError for a cell of a wrong type,
    for the first row that is no sound sample when `strict`, and where no sample is left.
    """
    out = out.absolute()
    _check_replaceable(out)
    wanted = Wanted(source, split or benchmark.split, subset or benchmark.subset, images, benchmark.files)
    opened = benchmark.open(wanted)
    layout = layout_of(benchmark, opened.columns, opened.name)
    tally = Tally(Screen(strict), licence=opened.licence)
    making = partial_path(out)
    shutil.rmtree(making, ignore_errors=True)
    try:
        pictures = Pictures(making / "images", *opened.roots)
        importing = Import(benchmark.name, layout, pictures, tally, wanted.split)
        samples = importing.samples(opened.rows, limit)
        write_records(making / "samples.jsonl", in_turn(samples) if benchmark.in_turn else samples)
        pictures.leave(importing.used)
        tally.images = pictures.count
        if not tally.read:
            found = ", ".join(sorted(tally.other_splits))
            raise ConfigError(f"{source}: no row of the split {wanted.split!r}, found: {found}. Name another --split.")
        if not tally.kept:
            raise SclvlmError(f"{source}: none of {tally.read} rows is a sound sample ({told(tally.screen.dropped)}).")
        write_text(making / "card.md", card(name, benchmark, wanted, limit, tally))
        remove_folder(out)
        os.replace(making, out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return tally


def in_turn(samples: Iterable[Sample]) -> Iterator[Sample]:
    """One of each category in turn, so that the first ones are of all. All are held, without their pictures."""
    categories: dict[str, list[Sample]] = {}
    for sample in samples:
        categories.setdefault(sample.category, []).append(sample)
    for each in zip_longest(*categories.values()):
        yield from filter(None, each)


def _check_replaceable(out: Path) -> None:
    """Refuse to remove a folder that holds anything this module does not write."""
    found = {path.name for path in out.iterdir()} if out.is_dir() else {"a file"} if out.exists() else set()
    if foreign := found - FILES:
        raise ConfigError(
            f"{out}: expected a folder of imported samples or none, got {min(foreign)}. Choose another --out."
        )
