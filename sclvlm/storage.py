"""Record files: JSON lines, one record a line, read as a stream, appended line by line, replaced atomically.

Image paths stand in a file relative to that file, and in memory as absolute paths: `read_records` and the
writers translate.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from sclvlm.errors import SclvlmError
from sclvlm.records import Record, Sample

R = TypeVar("R", bound=Record)
BLOCK = 1 << 16


def read_records(
    path: Path, model: type[R], *, skip: Callable[[str, dict[str, Any]], bool] | None = None
) -> Iterator[R]:
    """The records of `path`, one at a time, with absolute image paths.

    skip: is told file:line and the fields of each line, and says whether to pass it over. Raises SclvlmError naming
    file:line:field for a line that breaks the record's rules, and for a file that is missing or holds no record.
    """
    if not path.is_file():
        raise SclvlmError(f"{path}: no such file. Expected JSON lines of {model.__name__} records.")
    empty = True
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                empty = False
                where = f"{path}:{number}"
                data = _object(line, where)
                if skip is None or not skip(where, data):
                    yield _record(data, where, model, path.parent)
    if empty:
        raise SclvlmError(f"{path}: the file is empty, expected at least one {model.__name__} record a line.")


def read_placed(path: Path, model: type[R]) -> Iterator[tuple[int, R]]:
    """The records of a file that is being appended to, each with the byte its line starts at.

    No file, and a file without a record, hold none; a last line without its end is passed over. Raises SclvlmError
    naming file:line:field for a line that breaks the record's rules.
    """
    if not path.is_file():
        return
    start = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.endswith(b"\n") and line.strip():
                where = f"{path}:{number}"
                yield start, _record(_object(line, where), where, model, path.parent)
            start += len(line)


def count_records(path: Path) -> int:
    """How many lines of `path` hold something; none where there is no file."""
    if not path.is_file():
        return 0
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write all `records` to `path`, which appears whole or not at all. Returns how many."""
    count = 0
    with AtomicFile(path) as file:
        for record in records:
            file.write(to_line(record, path.parent))
            count += 1
    return count


class RecordAppender:
    """Appends records to a file, each line flushed, after cutting off a last line torn by a crash."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        repair_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def append(self, record: Record) -> None:
        """Write one record as one line."""
        self._file.write(to_line(record, self._path.parent))
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def repair_torn_line(path: Path) -> None:
    """Cut `path` behind its last newline: a line without one was being written when a run died."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        keep = 0
        for stop in range(end, 0, -BLOCK):  # from the end: the file may be larger than the memory
            start = max(stop - BLOCK, 0)
            file.seek(start)
            if (newline := file.read(stop - start).rfind(b"\n")) >= 0:
                keep = start + newline + 1
                break
        if keep < end:
            file.truncate(keep)


def partial_path(path: Path) -> Path:
    """Where this process writes what will replace `path` once it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def remove_folder(folder: Path) -> None:
    """Remove `folder` at once, so that a kill can't leave half of it under its name; no folder is no error."""
    going = folder.with_name(f".{folder.name}.going.partial")
    shutil.rmtree(going, ignore_errors=True)
    if folder.is_dir():
        os.replace(folder, going)
        shutil.rmtree(going)


class AtomicFile:
    """A text file that replaces `path` when the block ends well, and leaves nothing behind otherwise."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = partial_path(path)

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("w", encoding="utf-8")
        return self

    def write(self, text: str) -> None:
        """Append `text` to the file being made."""
        self._file.write(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._file:
                if kind is None:
                    self._file.flush()
                    os.fsync(self._file.fileno())
            if kind is None:
                os.replace(self._partial, self._path)
        finally:
            self._partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, atomically."""
    with AtomicFile(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def to_line(record: Record, folder: Path) -> str:
    """`record` as a line of a file in `folder`, image paths relative to it."""
    data = record.model_dump(mode="json")
    if data.get("images"):
        data["images"] = [os.path.relpath(image, folder) for image in data["images"]]
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"


def file_hash(path: Path) -> str:
    """SHA-256 of the bytes of `path`, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except UnicodeDecodeError as error:
        raise SclvlmError(f"{where}: not UTF-8 ({error.reason} at byte {error.start + 1}).") from None
    except json.JSONDecodeError as error:
        raise SclvlmError(f"{where}: not a JSON object ({error.msg} at column {error.colno}).") from None
    if not isinstance(data, dict):
        raise SclvlmError(f"{where}: expected a JSON object, got {type(data).__name__}.")
    return data


def _record(data: dict[str, Any], where: str, model: type[R], folder: Path) -> R:
    try:
        record = model.model_validate(data)
    except ValidationError as error:
        raise SclvlmError(f"{where}: {describe(error)}. Fix the line or remove it.") from None
    return _with_absolute_images(record, folder, where)


def describe(error: ValidationError, shown: Callable[[Any], str] = repr) -> str:
    """The first problem of a pydantic error as `field: law, got value`; the others only counted.

    shown: the value as text, of which the beginning is quoted.
    """
    first, *others = error.errors(include_url=False)
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    found = "" if first["type"] in ("missing", "value_error") else f", got {shown(first['input']):.80}"
    more = f" (and {len(others)} more)" if others else ""
    return f"{place}: {message}{found}{more}" if place else f"{message}{found}{more}"


def _with_absolute_images(record: R, folder: Path, where: str) -> R:
    images: tuple[str, ...] = getattr(record, "images", ())
    if not images:
        return record
    # Strings all the way: a Path would have Python keep a table of all names it has seen.
    root = os.path.abspath(folder)
    resolved = tuple(os.path.normpath(os.path.join(root, image)) for image in images)
    if isinstance(record, Sample):
        _check_inside(images, resolved, root, where)
    return record.model_copy(update={"images": resolved})


def _check_inside(images: Iterable[str], resolved: Iterable[str], root: str, where: str) -> None:
    for image, path in zip(images, resolved, strict=True):
        if not path.startswith(os.path.join(root, "")):
            raise SclvlmError(f"{where}: images: {image!r} leaves the folder of the file. Keep images beside it.")
