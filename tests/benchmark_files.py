"""Small files in the layouts in which public benchmarks are published, written at test time."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from data_pipelines.benchmarks.catalogue import BENCHMARKS
from data_pipelines.benchmarks.importing import Tally, build
from sclvlm.records import Sample
from sclvlm.storage import read_records

Row = dict[str, Any]


def picture(shade: int, kind: str = "png") -> bytes:
    """A small picture; another shade is another picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (shade, 40, 200)).save(buffer, kind)
    return buffer.getvalue()


def in_base64(shade: int) -> str:
    """A picture as a TSV holds it."""
    return base64.b64encode(picture(shade)).decode()


def stored(shade: int) -> Row:
    """A picture as Parquet files of a hub hold it."""
    return {"bytes": picture(shade), "path": f"{shade}.png"}


def tsv(path: Path, *rows: Row) -> Path:
    """A file as pandas writes it: tabs, quotes where a cell holds a quote, a tab or a new line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


def parquet(path: Path, *rows: Row) -> Path:
    """A shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def whole(path: Path, data: Any) -> Path:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1))
    return path


def lines(path: Path, *rows: Row) -> Path:
    """A file of JSON lines, whatever its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def drawn(path: Path, shade: int) -> Path:
    """A picture of its own file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(shade, {".jpg": "jpeg"}.get(path.suffix, "png")))
    return path


def imported(name: str, source: Path, out: Path, **settings: Any) -> tuple[list[Sample], Tally]:
    """The samples that come of a source, and the counts."""
    tally = build(name, BENCHMARKS[name], str(source), out, **settings)
    return list(read_records(out / "samples.jsonl", Sample)), tally


def reasons(tally: Tally) -> dict[str, int]:
    """How many rows are left out for each reason."""
    return {why: len(places) for why, places in tally.screen.places.items()}


# A question as the TSV of OpenCompass and VLMEvalKit holds it.
LETTERED: Row = {
    "index": 7,
    "question": 'Which side\tis "left"?',
    "hint": "Look.",
    "A": "this",
    "B": "that",
    "C": "",
    "D": "",
    "answer": "B",
    "category": "place",
    "l2-category": "relation",
    "image": in_base64(1),
}
