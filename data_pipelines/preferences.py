"""Public preference data as our pairs: from a local file or folder, or from a hub.

    python -m data_pipelines.preferences openbmb/RLHF-V-Dataset --out data/rlhf_v

writes `pairs.jsonl`, its images under their content hashes, and `card.md`. The layout is recognised by the columns, or
named with `--layout`. Rows that are no sound pair are left out and counted, or end the import with `--strict`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from data_pipelines.arguments import size
from data_pipelines.cards import table
from data_pipelines.pictures import Pictures
from data_pipelines.preference_layouts import (
    LAYOUTS,
    NEEDS,
    USES,
    Row,
    described,
    missing,
    recognised,
)
from data_pipelines.rows import BrokenError, CellError
from data_pipelines.streams import loaded
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.records import PreferencePair
from sclvlm.screening import Screen, told
from sclvlm.storage import describe, partial_path, remove_folder, write_records, write_text

FORMATS = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
DESCRIPTION = "dataset_info.json"  # of LLaMA-Factory, beside its files
OWN = frozenset(("id", "source", "weight", "meta"))  # of our pairs


class Source(NamedTuple):
    """What is imported, opened. folder: where its pictures' relative paths begin."""

    name: str
    rows: Iterable[Row]
    first: Row
    columns: tuple[str, ...]
    folder: Path
    licence: str


@dataclass
class Tally:
    """What an import comes to."""

    layout: str
    named: bool
    screen: Screen
    read: int = 0
    kept: int = 0
    columns: dict[str, set[str]] = field(default_factory=lambda: {"kept in meta": set(), "left out": set()})


def open_source(name: str, split: str) -> Source:
    """The data set called `name`: a json, jsonl or parquet file, a folder of them, or a hub id.

    A file that a dataset_info.json of LLaMA-Factory describes has the columns which that says. Raises ConfigError for
    what can't be found or opened.
    """
    path = Path(name)
    if path.is_dir() and (file := _one_file(path)) is not None:
        return open_source(str(file), split)
    if path.is_file() and path.suffix not in FORMATS:
        raise ConfigError(f"{name}: expected {', '.join(FORMATS)}, a folder of these or a hub id, got {path.suffix!r}.")
    if not path.exists() and (path.suffix in FORMATS or name.startswith((".", "/", "~"))):
        raise ConfigError(f"{name}: no such file or folder.")
    try:
        data = _loaded(path, name, split)
        first = next(iter(data), None)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{name}, split {split}: can't be opened as a data set: {error}") from None
    if first is None:
        raise SclvlmError(f"{name}, split {split}: holds no row.")
    entry = _entry_of(path)
    named = partial(described, entry=entry or {})
    first = named(first)
    return Source(
        name=name,
        rows=map(named, data),
        first=first,
        columns=tuple(dict.fromkeys((*named(dict.fromkeys(data.column_names or ())), *first))),
        folder=(path.parent if path.is_file() else path).absolute(),
        licence=str(data.info.license or "not stated by the source"),
    )


def _loaded(path: Path, name: str, split: str) -> Any:
    if path.is_file():
        return loaded(FORMATS[path.suffix], split, data_files={split: str(path)})
    return loaded(str(path) if path.is_dir() else name, split)


def _descriptions(folder: Path) -> dict[str, dict[str, Any]]:
    """The local files that a dataset_info.json of LLaMA-Factory in `folder` describes."""
    if not (folder / DESCRIPTION).is_file():
        return {}
    try:
        found = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{folder / DESCRIPTION}: not valid JSON: {error}") from None
    entries = found.items() if isinstance(found, dict) else ()
    return {key: each for key, each in entries if isinstance(each, dict) and "file_name" in each}


def _entry_of(path: Path) -> dict[str, Any] | None:
    entries = _descriptions(path.parent) if path.is_file() else {}
    return next((each for each in entries.values() if each["file_name"] == path.name), None)


def _one_file(folder: Path) -> Path | None:
    """The file that `folder` is about: the one with ranking in its dataset_info.json, or the only one of a format."""
    entries = [each for each in _descriptions(folder).values() if each.get("ranking")]
    if len(entries) > 1:
        files = ", ".join(str(each["file_name"]) for each in entries)
        raise ConfigError(f"{folder / DESCRIPTION}: describes {len(entries)} files with ranking: {files}. Name one.")
    if entries:
        return folder / str(entries[0]["file_name"])
    only = [path for path in folder.iterdir() if path.suffix in FORMATS and path.name != DESCRIPTION]
    return only[0] if len(only) == 1 else None


def layout_of(source: Source, asked: str) -> str:
    """The layout to read `source` in. Raises ConfigError naming the columns that are missing, and those found."""
    found = ", ".join(source.columns)
    layout = asked
    if asked == "auto":
        layout = recognised(source.columns, source.first) or ""
    if not layout:
        known = "; ".join(f"{name}: {' or '.join('+'.join(each) for each in sets)}" for name, sets in NEEDS.items())
        raise ConfigError(f"{source.name}: no known layout has these columns: {found}. Known ones need {known}.")
    if lost := missing(layout, source.columns):
        raise ConfigError(f"{source.name}: layout {layout} needs the column {lost[0]!r}, found: {found}.")
    return layout


def read_pairs(source: Source, tally: Tally, pictures: Pictures, limit: int | None) -> Iterator[PreferencePair]:
    """The sound pairs among the first `limit` rows. Raises SclvlmError naming the row and column of a wrong cell."""
    try:
        for number, row in enumerate(islice(source.rows, limit), start=1):
            where = f"{source.name}, row {number}"
            tally.read = number
            try:
                pair = _pair(row, number, where, tally, pictures)
            except CellError as error:
                raise SclvlmError(f"{where}: {error}. Mend the row, or name another --layout.") from None
            except BrokenError as error:
                tally.screen.drop(where, str(error))
                continue
            if pair is not None:
                tally.kept += 1
                yield pair
    except (OSError, ValueError) as error:
        raise SclvlmError(f"{source.name}, behind row {tally.read}: can't be read on: {error}") from error


def _pair(row: Row, number: int, where: str, tally: Tally, pictures: Pictures) -> PreferencePair | None:
    found = LAYOUTS[tally.layout](row)
    if tally.screen.skips(where, found._asdict()):
        return None
    images = pictures.keep(found.images)
    try:
        return PreferencePair.model_validate({**_fields(row, number, tally), **found._asdict(), "images": images})
    except ValidationError as error:
        raise SclvlmError(f"{where}: {describe(error)}.") from None


def _fields(row: Row, number: int, tally: Tally) -> dict[str, Any]:
    """Beside messages and images: what a row says in columns that the layout doesn't read goes into `meta`."""
    used = OWN.union(*NEEDS[tally.layout], USES[tally.layout])
    others = {name: value for name, value in row.items() if name not in used and value is not None}
    meta = {name: value for name, value in others.items() if isinstance(value, str | int | float)}
    tally.columns["kept in meta"] |= meta.keys()
    tally.columns["left out"] |= others.keys() - meta.keys()
    weight = {} if row.get("weight") is None else {"weight": row["weight"]}
    own = {key: value for key, value in (row.get("meta") or {}).items() if value is not None}
    name = f"{tally.layout}-{number}" if row.get("id") in (None, "") else str(row["id"])
    return {"id": name, "source": str(row.get("source") or tally.layout), "meta": {**meta, **own}, **weight}


def build(
    name: str, out: Path, *, layout: str = "auto", split: str = "train", strict: bool = False, limit: int | None = None
) -> Tally:
    """Make `out` from the data set called `name`. It appears whole or not at all, in place of an earlier one.

    Raises ConfigError for a source, layout or folder that can't be used, SclvlmError for a row that is wrong, for the
    first that is no sound pair when `strict`, and where no pair is left.
    """
    out = out.absolute()
    _check_replaceable(out)
    source = open_source(name, split)
    tally = Tally(layout_of(source, layout), layout != "auto", Screen(strict))
    making = partial_path(out)
    shutil.rmtree(making, ignore_errors=True)
    try:
        pictures = Pictures(making / "images", source.folder)
        write_records(making / "pairs.jsonl", read_pairs(source, tally, pictures, limit))
        if not tally.kept:
            raise SclvlmError(f"{name}: none of {tally.read} rows is a sound pair ({told(tally.screen.dropped)}).")
        write_text(making / "card.md", _card(source, split, tally, pictures))
        remove_folder(out)
        os.replace(making, out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return tally


def _card(source: Source, split: str, tally: Tally, pictures: Pictures) -> str:
    how = "named" if tally.named else "recognised by its columns"
    about = {
        "Source": f"{source.name}, split {split}",
        "Licence": source.licence,
        "Layout": f"{tally.layout}, {how}",
        "Made by": "`python -m data_pipelines.preferences`",
    }
    counts = {"rows read": tally.read, "pairs": tally.kept, "images, each kept once": pictures.count}
    dropped = {why: len(places) for why, places in tally.screen.places.items()}
    columns = {what: ", ".join(sorted(names)) or "none" for what, names in tally.columns.items()}
    sections = {
        "# Preference pairs": "".join(f"{key}: {value}  \n" for key, value in about.items()),
        "## Counts": table(("what", "number"), counts.items()),
        "## Rows left out": table(("reason", "rows"), dropped.items()) if dropped else "None.\n",
        "## Other columns": table(("what", "columns"), columns.items()),
    }
    return "\n".join(f"{title}\n\n{text}" for title, text in sections.items())


def _check_replaceable(out: Path) -> None:
    """Refuse to remove a folder that holds anything this module does not write."""
    found = {path.name for path in out.iterdir()} if out.is_dir() else {"a file"} if out.exists() else set()
    if foreign := found - {"pairs.jsonl", "card.md", "images"}:
        raise ConfigError(
            f"{out}: expected a folder of imported pairs or none, got {min(foreign)}. Choose another --out."
        )


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.preferences",
        description="Write public preference data as pairs: pairs.jsonl, images, card.md.",
        epilog="Example: python -m data_pipelines.preferences trl-lib/rlaif-v --split train --out data/rlaif_v",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("source", help="a json, jsonl or parquet file, a folder of them, or a hub id")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--layout", choices=("auto", *LAYOUTS), default="auto", help="auto goes by the columns")
    parser.add_argument("--split", default="train", help="split of a folder or a hub id")
    parser.add_argument("--strict", action="store_true", help="end at the first row that is no sound pair")
    parser.add_argument("--limit", type=size, help="read only so many rows, the first ones")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the folder; 0 when it is there afterwards."""
    options = vars(parser().parse_args(argv))
    out = options["out"]
    try:
        tally = build(options.pop("source"), options.pop("out"), **options)
    except SclvlmError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    lost = f", left out: {told(tally.screen.dropped)}" if tally.screen.dropped else ""
    print(f"{out}: {tally.kept} pairs of {tally.read} rows (layout {tally.layout}){lost}, see {out / 'card.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
