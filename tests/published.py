"""One pair, and one about two pictures, in every published layout of preference data."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from data_pipelines.preferences import build
from sclvlm.records import Message, PreferencePair, text_message
from sclvlm.storage import read_records

Row = dict[str, Any]


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (shade, 7, 9)).save(buffer, "png")
    return buffer.getvalue()


def user(text: str, images: int = 0) -> Message:
    return text_message("user", text, images=images)


def said(text: str) -> Message:
    return text_message("assistant", text)


def plain(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def folder_in(parent: Path) -> Path:
    """A folder with images/1.png and images/2.png."""
    (parent / "source" / "images").mkdir(parents=True)
    for number in (1, 2):
        (parent / "source" / "images" / f"{number}.png").write_bytes(picture(number))
    return parent / "source"


def file_of(folder: Path, *rows: Row, name: str = "rows.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def imported(source: Path, **settings: Any) -> list[PreferencePair]:
    """The pairs that come of a source."""
    out = source.parent / "out"
    build(str(source), out, **settings)
    return list(read_records(out / "pairs.jsonl", PreferencePair))


def words(pair: PreferencePair) -> tuple[list[Message], list[Message], list[Message], list[bytes]]:
    """What a pair says and shows."""
    return pair.prompt, pair.chosen, pair.rejected, [Path(image).read_bytes() for image in pair.images]


def drops(source: Path, **settings: Any) -> dict[str, int]:
    """How many rows are left out for each reason."""
    tally = build(str(source), source.parent / "out", **settings)
    return {why: len(places) for why, places in tally.screen.places.items()}


# One pair in words alone, and one about two pictures, in every layout that has a place for it.
IN_WORDS = ([user("Which?")], [said("blue")], [said("teal")], [])
ABOUT_TWO = (
    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "or "}, *user("this?", 1)["content"]]}],
    *IN_WORDS[1:3],
    [picture(1), picture(2)],
)
TWO: Row = {"images": ["images/1.png", "images/2.png"]}
BLUE, TEAL = plain("assistant", "blue"), plain("assistant", "teal")
TURNS = {"chosen": {"from": "gpt", "value": "blue"}, "rejected": {"from": "gpt", "value": "teal"}}
PARTS = [{"type": "image"}, {"type": "text", "text": "or "}, {"type": "image"}, {"type": "text", "text": "this?"}]
SAME_WORDS: dict[str, tuple[str, Row]] = {
    "TRL standard, prompt apart": ("trl", {"prompt": "Which?", "chosen": "blue", "rejected": "teal"}),
    "TRL standard, prompt within": ("trl", {"chosen": "Which? blue", "rejected": "Which? teal"}),
    "TRL messages, prompt apart": (
        "trl",
        {"prompt": [plain("user", "Which?")], "chosen": [BLUE], "rejected": [TEAL]},
    ),
    "TRL messages, prompt within": (
        "trl",
        {"chosen": [plain("user", "Which?"), BLUE], "rejected": [plain("user", "Which?"), TEAL]},
    ),
    "HH-RLHF": (
        "hh",
        {"chosen": "\n\nHuman: Which?\n\nAssistant: blue", "rejected": "\n\nHuman: Which?\n\nAssistant: teal"},
    ),
    "UltraFeedback-binarized": (
        "ultrafeedback",
        {
            "prompt": "Which?",
            "prompt_id": "c0ffee",
            "messages": [plain("user", "Which?"), BLUE],
            "chosen": [plain("user", "Which?"), BLUE],
            "rejected": [plain("user", "Which?"), TEAL],
            "score_chosen": 8.5,
            "score_rejected": 3.0,
        },
    ),
    "LLaMA-Factory, ShareGPT": (
        "llama_factory",
        {"conversations": [{"from": "human", "value": "Which?"}], **TURNS},
    ),
    "LLaMA-Factory, Alpaca": (
        "llama_factory",
        {"instruction": "Which?", "input": "", "chosen": "blue", "rejected": "teal"},
    ),
    "ms-swift": ("ms_swift", {"messages": [plain("user", "Which?"), BLUE], "rejected_response": "teal"}),
    "ms-swift, both in full": (
        "ms_swift",
        {"messages": [plain("user", "Which?"), BLUE], "rejected_messages": [plain("user", "Which?"), TEAL]},
    ),
    "ms-swift, query and response": ("ms_swift", {"query": "Which?", "response": "blue", "rejected_response": "teal"}),
}
SAME_PICTURES: dict[str, tuple[str, Row]] = {
    "TRL with markers": ("trl", {"prompt": "<image>or <image>this?", "chosen": "blue", "rejected": "teal", **TWO}),
    "TRL with placeholders": (
        "trl",
        {"prompt": [{"role": "user", "content": PARTS}], "chosen": [BLUE], "rejected": [TEAL], **TWO},
    ),
    "TRL, prompt within": (
        "trl",
        {
            "chosen": [
                {"role": "user", "content": PARTS},
                {"role": "assistant", "content": [{"type": "text", "text": "blue"}]},
            ],
            "rejected": [
                {"role": "user", "content": PARTS},
                {"role": "assistant", "content": [{"type": "text", "text": "teal"}]},
            ],
            **TWO,
        },
    ),
    "LLaMA-Factory": (
        "llama_factory",
        {"conversations": [{"from": "human", "value": "<image>or <image>this?"}], **TURNS, **TWO},
    ),
    "ms-swift": (
        "ms_swift",
        {"messages": [plain("user", "<image>or <image>this?"), BLUE], "rejected_response": "teal", **TWO},
    ),
}
SOUND: Row = {"prompt": [plain("user", "Which?")], "chosen": [BLUE], "rejected": [TEAL], "images": []}
