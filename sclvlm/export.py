"""Preference pairs in the formats other trainers read: Parquet for TRL, LLaMA-Factory, ms-swift.

Each writer takes a `pairs.jsonl` and a path to write, and what it writes appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sclvlm.errors import SclvlmError
from sclvlm.records import Message, PreferencePair, message_text
from sclvlm.storage import AtomicFile, partial_path, read_records, write_json

ROWS = 256  # a Parquet row group; embedded pictures make rows heavy
IMAGE_TAG = "<image>"  # what LLaMA-Factory and ms-swift replace by a picture
SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}  # of ShareGPT


def export_parquet(pairs: Path, out: Path) -> int:
    """A Parquet file with embedded pictures: `load_dataset("parquet", ...)` is what TRL's DPOTrainer trains on.

    The column `images` is there when a pair has a picture: TRL takes its presence for a vision data set.
    """
    import pyarrow
    from datasets import Features, Image, List, Value
    from pyarrow import parquet

    messages = List({"role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")})})
    columns = {"id": Value("string"), "prompt": messages, "chosen": messages, "rejected": messages}
    if any(pair.images for pair in _checked(pairs)):
        columns["images"] = List(Image())
    schema = Features(columns).arrow_schema
    rows = (_row(pair) for pair in read_records(pairs, PreferencePair))
    partial, count = partial_path(out), 0
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with parquet.ParquetWriter(partial, schema) as writer:
            while block := list(islice(rows, ROWS)):
                writer.write_table(pyarrow.Table.from_pylist(block, schema=schema))
                count += len(block)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return count


def export_llamafactory(pairs: Path, out: Path) -> int:
    """A folder for `dataset_dir`: pairs.json (ShareGPT, ranking) and the dataset_info.json that describes it.

    Image paths are relative to the folder, where LLaMA-Factory looks for them.
    """
    rows = [_ranked(pair, out) for pair in _checked(pairs)]
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"}
    described = {"file_name": "pairs.json", "formatting": "sharegpt", "ranking": True, "columns": columns}
    _refuse_foreign(out)
    partial = partial_path(out)
    try:
        write_json(partial / "pairs.json", rows)
        write_json(partial / "dataset_info.json", {"sclvlm_pairs": described})
        shutil.rmtree(out, ignore_errors=True)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(rows)


def export_swift(pairs: Path, out: Path) -> int:
    """JSON lines for `swift rlhf --rlhf_type dpo --dataset`. Image paths are absolute: it looks nowhere else."""
    count = 0
    with AtomicFile(out) as file:
        for pair in _checked(pairs):
            file.write(json.dumps(_swift(pair), ensure_ascii=False) + "\n")
            count += 1
    return count


EXPORTS: dict[str, Callable[[Path, Path], int]] = {
    "parquet": export_parquet,
    "llamafactory": export_llamafactory,
    "swift": export_swift,
}
NAMES = {"parquet": "pairs.parquet", "llamafactory": "llamafactory", "swift": "swift.jsonl"}


def _checked(path: Path) -> Iterator[PreferencePair]:
    """The pairs in `path`; raises SclvlmError before the first when pictures are missing."""
    missing = [
        (pair.id, image)
        for pair in read_records(path, PreferencePair)
        for image in pair.images
        if not Path(image).is_file()
    ]
    if missing:
        name, image = missing[0]
        raise SclvlmError(
            f"{path}: images are missing ({len(missing)}), the first is {image} of pair {name!r}. Put them there, or "
            "remove these pairs."
        )
    yield from read_records(path, PreferencePair)


def _row(pair: PreferencePair) -> dict[str, Any]:
    sides = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    return {
        "id": pair.id,
        **{name: [_structured(message, pair) for message in side] for name, side in sides.items()},
        "images": [{"bytes": Path(image).read_bytes(), "path": Path(image).name} for image in pair.images],
    }


def _structured(message: Message, pair: PreferencePair) -> Message:
    _refuse_other_keys(message, pair)
    content = message["content"]
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return {"role": message["role"], "content": [{"type": p["type"], "text": p.get("text")} for p in content]}


def _ranked(pair: PreferencePair, folder: Path) -> dict[str, Any]:
    conversations = [_said(message, pair) for message in pair.prompt]
    chosen, rejected = (_said(_only(side, pair), pair) for side in (pair.chosen, pair.rejected))
    images = [os.path.relpath(image, folder) for image in pair.images]
    return {"conversations": conversations, "chosen": chosen, "rejected": rejected, "images": images}


def _said(message: Message, pair: PreferencePair) -> dict[str, str]:
    if message["role"] not in SPEAKERS:
        raise SclvlmError(f"pair {pair.id!r}: ShareGPT knows {', '.join(SPEAKERS)}, got role {message['role']!r}.")
    return {"from": SPEAKERS[message["role"]], "value": _tagged(message, pair)}


def _swift(pair: PreferencePair) -> dict[str, Any]:
    messages = [*pair.prompt, _only(pair.chosen, pair)]
    return {
        "messages": [{"role": message["role"], "content": _tagged(message, pair)} for message in messages],
        "rejected_response": _tagged(_only(pair.rejected, pair), pair),
        "images": list(pair.images),
    }


def _only(messages: list[Message], pair: PreferencePair) -> Message:
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise SclvlmError(
            f"pair {pair.id!r}: this format takes one assistant message a side, got {len(messages)} messages. "
            "Export to parquet, which keeps them all."
        )
    return messages[0]


def _tagged(message: Message, pair: PreferencePair) -> str:
    """The message as one text, a tag where a picture stands."""
    _refuse_other_keys(message, pair)
    if IMAGE_TAG in message_text(message):
        raise SclvlmError(
            f"pair {pair.id!r}: its text holds {IMAGE_TAG}, which this format would take for a picture. "
            "Export to parquet, or remove the pair."
        )
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(IMAGE_TAG if part["type"] == "image" else part["text"] for part in content)


def _refuse_other_keys(message: Message, pair: PreferencePair) -> None:
    """What a format has no place for is not dropped in silence."""
    content = message["content"]
    kinds = {part["type"] for part in content} if not isinstance(content, str) else set()
    if other := [*sorted(message.keys() - {"role", "content"}), *sorted(kinds - {"image", "text"})]:
        raise SclvlmError(f"pair {pair.id!r}: only text and images can be exported, got a message with {other[0]!r}.")


def _refuse_foreign(folder: Path) -> None:
    """Keep from replacing a file, or a folder that holds more than an earlier export."""
    names = {path.name for path in folder.glob("*")} if folder.is_dir() else set()
    if folder.is_file() or names - {"pairs.json", "dataset_info.json"}:
        raise SclvlmError(f"{folder}: holds something else already. Name another folder with --out.")
