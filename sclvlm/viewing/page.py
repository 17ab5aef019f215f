"""One HTML file that needs nothing else: no server, no network. Written as a stream, so that memory stays flat.

Model output is untrusted: it lies in the page as JSON without a `<`, the script puts it in as text, and the page's
own policy lets no script but that one run, and nothing be made of HTML in a string.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment

from sclvlm.records import Sample
from sclvlm.reporting.html import strict_environment
from sclvlm.storage import AtomicFile, read_records
from sclvlm.viewing.entries import Entry, blocks_of, sample_entry, trace_block
from sclvlm.viewing.pictures import Album
from sclvlm.viewing.sources import Run, Source, sources_of

TITLES = {"infer": "Training questions", "before": "Test, before training", "after": "Test, after training"}


class View(NamedTuple):
    """The page that was written. notes: what of the run it does not show."""

    page: Path
    traces: int
    pictures: int
    notes: list[str]


def write_view(run: Run, page: Path, *, limit: int, picture_mb: float) -> View:
    """Write the traces of `run` to `page`, which appears whole or not at all.

    limit: traces shown of each stage, the first ones. picture_mb: 10^6 bytes of pictures; see `pictures`.
    Raises SclvlmError when there are no traces, and for a broken record file.
    """
    sources = sources_of(run)
    album, place = Album(round(picture_mb * 1e6)), dict[tuple[Path, str], int]()
    about = {"title": str(run.folder), "stages": [_stage(source, limit) for source in sources]}
    pieces = (
        _environment()
        .get_template("view.html.jinja")
        .generate(
            about=about,
            samples=_sample_blocks(sources, limit, place, album),
            traces=_trace_blocks(sources, limit, place),
            pictures=album.pictures(),
            notes=lambda: _notes(sources, limit, album),
            **_parts(),
        )
    )
    with AtomicFile(page) as file:
        for piece in pieces:
            file.write(piece)
    shown = sum(min(source.total, limit) for source in sources)
    return View(page, shown, len(album), _notes(sources, limit, album))


def _title(source: Source) -> str:
    return TITLES.get(source.stage, f"Test, {source.stage}")


def _stage(source: Source, limit: int) -> Entry:
    first = next(source.read(limit))
    return {
        "name": source.stage,
        "title": _title(source),
        "graded": source.graded,
        "model": first.model.adapter or first.model.path,
        "prompts": first.prompts,
        "sampling": first.sampling,
    }


def _sample_blocks(
    sources: Sequence[Source], limit: int, place: dict[tuple[Path, str], int], album: Album
) -> Iterator[list[Entry]]:
    """The samples that traces are about, each once; fills `place` with their positions, and `album`."""
    for block in blocks_of(_asked(sources, limit)):
        for path, sample in block:
            place[path, sample.id] = len(place)
        yield [sample_entry(sample, path.parent, album.number) for path, sample in block]


def _asked(sources: Sequence[Source], limit: int) -> Iterator[tuple[Path, Sample]]:
    for path in dict.fromkeys(source.samples for source in sources):
        ids = {trace.id for source in sources if source.samples == path for trace in source.read(limit)}
        yield from ((path, sample) for sample in read_records(path, Sample) if sample.id in ids)


def _trace_blocks(sources: Sequence[Source], limit: int, place: Mapping[tuple[Path, str], int]) -> Iterator[Entry]:
    for source in sources:
        for block in blocks_of(source.read(limit)):
            yield trace_block(block, source, place)


def _notes(sources: Sequence[Source], limit: int, album: Album) -> list[str]:
    cut = [
        f"{_title(source)}: the first {limit:,} of {source.total:,} traces are shown (--limit)."
        for source in sources
        if source.total > limit
    ]
    return cut + album.notes()


@cache
def _environment() -> Environment:
    environment = strict_environment(Path(__file__).parent)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    return environment


@cache
def _parts() -> dict[str, Any]:
    """Style and script as they stand in the page, and the hash by which the page's policy knows the script."""
    folder = Path(__file__).parent
    script = (folder / "view.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return {"style": (folder / "view.css").read_text(encoding="utf-8"), "script": script, "script_hash": digest}
