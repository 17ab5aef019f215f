"""Rows of a published data set, one at a time: from a local file or folder as it is published, or from a hub.

A row knows where it stands and reads its own cells; nothing here knows any data set.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from data_pipelines.streams import VALIDATION, configurations, loaded, ways
from sclvlm.errors import ConfigError, SclvlmError

LARGEST_CELL = 2**31 - 1  # bytes of a TSV cell: base64 of a picture is far beyond csv's own limit
BATCH = 16  # rows of a Parquet file that are in memory at once, pictures included
SPLITS = frozenset(("train", "dev", "test", "testmini", *VALIDATION))
SHARD = re.compile(r"([-_.]\d+)?([-_]of[-_]\d+)?\Z")
EMPTY = ("", "nan")  # "nan" is what pandas leaves of an empty cell


class BrokenError(Exception):
    """A row whose columns are right and whose content is not. The text is the reason it is counted under."""


class CellError(Exception):
    """A cell of another type than its column has in this layout. The text says which, and what was found."""


@dataclass(frozen=True)
class Row:
    """One row. place: file and row, as an error says it; number: in the whole source, from 1; file: its stem; key:
    what a JSON object calls it; subset: the configuration of a hub id; flaw: why it can't be read, if it can't."""

    cells: Mapping[Any, Any]
    place: str
    number: int = 0
    file: str = ""
    key: str = ""
    subset: str = ""
    flaw: str = ""

    def __getitem__(self, column: str) -> Any:
        return self.cells.get(column)

    def has(self, column: str) -> bool:
        """Whether the cell says anything."""
        value = self[column]
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        return not missing and not (isinstance(value, str) and value.strip() in EMPTY)

    def text(self, column: str) -> str:
        """The cell as text, numbers too. Raises BrokenError for an empty one, CellError for one of another type."""
        if not self.has(column):
            raise BrokenError(f"no {column}")
        value = self[column]
        if not isinstance(value, str | int | float):
            raise CellError(f"column {column!r}: expected text, got {type(value).__name__}")
        return str(value).strip()

    def maybe(self, column: str) -> str:
        """As `text`, and "" for an empty cell."""
        return self.text(column) if self.has(column) else ""

    def whole(self, column: str) -> int:
        """The cell as a whole number, however it is written: 3, "3", 3.0. Raises BrokenError for anything else."""
        text = self.text(column)
        if not re.fullmatch(r"-?\d+(\.0+)?", text):
            raise BrokenError(f"{column} is no whole number")
        return int(text.partition(".")[0])

    def texts(self, column: str) -> tuple[str, ...]:
        """A list of texts or numbers, also one that is written as a Python or JSON list. Raises what `text` raises."""
        if not self.has(column):
            raise BrokenError(f"no {column}")
        value = self[column]
        found = written_list(value) if isinstance(value, str) else value
        if not isinstance(found, list | tuple) or not all(isinstance(each, str | int | float) for each in found):
            raise CellError(f"column {column!r}: expected a list of texts, got {value!r:.80}")
        return tuple(str(each).strip() for each in found)

    @property
    def part(self) -> str:
        """The file, or the part of a hub id, that the row stands in."""
        return self.place.rpartition(", row ")[0]

    @property
    def split(self) -> str:
        """The split that the row says it is of, in lower case; "" where it says none."""
        return str(self["split"]).strip().lower() if self.has("split") else ""

    def kept(self, *columns: str) -> dict[str, Any]:
        """Those of `columns` that say something, as they stand."""
        return {column: self[column] for column in columns if self.has(column)}


def written_list(text: str) -> list[Any] | None:
    """The list that `text` is in Python's or JSON's writing; None when it is none."""
    if not (text := text.strip()).startswith("["):
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        try:
            found = json.loads(text)
        except ValueError:
            return None
    return list(found) if isinstance(found, list | tuple) else None


class Wanted(NamedTuple):
    """What to open. images: where pictures lie when not beside the file; files: globs of the files of a folder."""

    name: str
    split: str
    subset: str | None = None
    images: Path | None = None
    files: tuple[str, ...] = ()


class Source(NamedTuple):
    """Rows, opened. columns: those of the first row; roots: where relative paths of pictures begin."""

    name: str
    rows: Iterator[Row]
    columns: tuple[str, ...]
    roots: tuple[Path, ...]
    licence: str = ""

    def only(self, column: str, value: str) -> Source:
        """The rows with `value` in `column`, in any case, where there is such a column."""
        if column not in self.columns:
            return self
        return self._replace(rows=(row for row in self.rows if row.flaw or str(row[column]).lower() == value.lower()))


def open_rows(wanted: Wanted) -> Source:
    """The rows of a tsv, json, jsonl or parquet file, of a folder of them, or of a hub id.

    Raises ConfigError for what can't be found or opened, SclvlmError for what holds no row; the rows raise SclvlmError
    where a file can't be read on.
    """
    path = Path(wanted.name).expanduser()
    if path.exists():
        files = [path] if path.is_file() else files_of(path, wanted.split, wanted.files)
        roots = [path.parent if path.is_file() else path, *(file.parent for file in files)]
        source = opened(wanted.name, chain.from_iterable(map(read, files)), roots)
    elif path.suffix in READERS or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", wanted.name):
        raise ConfigError(f"{wanted.name}: no such file or folder.")
    else:
        source = _from_hub(wanted)
    extra = () if wanted.images is None else (wanted.images.expanduser(),)
    return source._replace(roots=(*extra, *source.roots))


def opened(name: str, rows: Iterable[Row], roots: Iterable[Path], licence: str = "") -> Source:
    """`rows` numbered, the first one looked at. Raises SclvlmError when there is none."""
    counted = (replace(row, number=number) for number, row in enumerate(rows, start=1))
    first = next(counted, None)
    if first is None:
        raise SclvlmError(f"{name}: holds no row.")
    places = tuple(dict.fromkeys(root.absolute() for root in roots))
    return Source(name, chain([first], counted), tuple(map(str, first.cells)), places, licence)


def names_of(split: str) -> frozenset[str]:
    """How the split, or each of several joined by "+", may be called."""
    return frozenset(way for each in split.split("+") for way in ways(each.lower()))


def files_of(folder: Path, split: str, patterns: Sequence[str] = ()) -> list[Path]:
    """The files to read of `folder`, at any depth: those that name `split`, or all where none names any split.

    patterns: globs of the files; without them, or where they find nothing, those of one format. split: one, or several
    joined by "+". Raises ConfigError where there is no file, or none of this split, or tables of several names.
    """
    groups = (tuple(patterns), *((f"*{suffix}",) for suffix in (".parquet", ".tsv", ".jsonl", ".json")))
    found = next(filter(None, (_matching(folder, group) for group in groups)), [])
    if not found:
        raise ConfigError(f"{folder}: expected {', '.join(READERS)} files, got none.")
    words = {path: _words(path.relative_to(folder)) for path in found}
    of_split = [path for path in found if words[path] & names_of(split)]
    if not of_split and any(words[path] & SPLITS for path in found):
        names = ", ".join(str(path.relative_to(folder)) for path in found[:5])
        raise ConfigError(f"{folder}: no file of the split {split!r}, found: {names}. Name another --split.")
    _check_one_table(folder, of_split or found)
    return of_split or found


def _check_one_table(folder: Path, files: Sequence[Path]) -> None:
    """Tables of one folder are different benchmarks, or languages of one, unless numbers alone tell them apart."""
    tables = [path.relative_to(folder) for path in files if path.suffix == ".tsv"]
    if len({SHARD.sub("", path.stem) for path in tables}) > 1:
        names = ", ".join(map(str, tables[:5]))
        raise ConfigError(f"{folder}: expected one .tsv of the split, or shards of one, got {names}. Name the file.")


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({path for each in patterns for path in folder.rglob(each) if path.suffix in READERS})


def _words(path: Path) -> set[str]:
    """The words of a path's names: data/non_image-00000-of-00001 holds "data", "non_image" and "image"."""
    parts = [part.lower() for part in (*path.parent.parts, path.stem)]
    return {word for part in parts for pattern in (r"[\W_\d]+", r"[-.\d]+") for word in re.split(pattern, part)}


def read(path: Path) -> Iterator[Row]:
    """The rows of one file. Raises ConfigError for a file of another format, SclvlmError where it can't be read on."""
    if path.suffix not in READERS:
        raise ConfigError(f"{path}: expected {', '.join(READERS)}, a folder of these or a hub id, got {path.suffix!r}.")
    number = 0
    try:
        for number, row in enumerate(READERS[path.suffix](path), start=1):
            yield replace(row, place=f"{path}, row {number}", file=path.stem)
    except csv.Error as error:
        remedy = "Close each quote that begins a cell, and write one within a quoted cell twice."
        raise SclvlmError(f"{path}, behind row {number}: can't be read on: {error}. {remedy}") from None
    except (OSError, ValueError) as error:
        raise SclvlmError(f"{path}, behind row {number}: can't be read on: {error}.") from None


def _tsv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(LARGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for cells in csv.DictReader(file, delimiter="\t", strict=True):  # else a quote left open takes all that follows
            yield Row(cells, "", flaw="more cells than columns" if None in cells else "")


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as lines:
        for line in lines:
            if line.strip():
                yield _from_line(line)


def _from_line(line: str) -> Row:
    try:
        found = json.loads(line)
    except ValueError:
        return Row({}, "", flaw="not valid JSON")
    return Row(found, "") if isinstance(found, dict) else Row({}, "", flaw="not a JSON object")


def _json(path: Path) -> Iterator[Row]:
    """A list, an object that holds one, an object of rows, or JSON lines under this name. It is read at once: pictures
    never stand in such a file."""
    if _is_lines(path):
        return _jsonl(path)
    return _listed(json.loads(path.read_text(encoding="utf-8-sig")))


def _is_lines(path: Path) -> bool:
    """Whether the first of several lines is an object."""
    with path.open(encoding="utf-8-sig") as lines:
        first, second = (next((line for line in lines if line.strip()), "") for _ in range(2))
    return bool(second) and first.lstrip().startswith("{") and not _from_line(first).flaw


def _listed(data: Any) -> Iterator[Row]:
    if isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        if not lists and all(isinstance(value, dict) for value in data.values()):
            yield from (Row(value, "", key=str(key)) for key, value in data.items())
            return
        data = lists[0] if len(lists) == 1 else [data]
    for each in data if isinstance(data, list) else [data]:
        yield Row(each, "") if isinstance(each, dict) else Row({}, "", flaw="not a JSON object")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            yield from (Row(cells, "") for cells in batch.to_pylist())


READERS = {".tsv": _tsv, ".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}


def _from_hub(wanted: Wanted) -> Source:
    name = wanted.name
    try:
        subsets = [wanted.subset] if wanted.subset else configurations(name)
        parts = [(subset, split) for subset in subsets for split in wanted.split.split("+")]
        licence = loaded(name, parts[0][1], parts[0][0]).info.license
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{name}, split {wanted.split}: can't be opened as a data set: {error}") from None
    rows = (row for subset, split in parts for row in _streamed(name, subset, split))
    return opened(f"{name}, split {wanted.split}", rows, [], str(licence or ""))


def _streamed(name: str, subset: str | None, split: str) -> Iterator[Row]:
    about, number = ", ".join(filter(None, (name, subset, f"split {split}"))), 0
    try:
        for number, cells in enumerate(loaded(name, split, subset), start=1):
            yield Row(cells, f"{about}, row {number}", file=split, subset=subset or "")
    except (OSError, ValueError, RuntimeError) as error:
        raise SclvlmError(f"{about}, behind row {number}: can't be read on: {error}") from None
