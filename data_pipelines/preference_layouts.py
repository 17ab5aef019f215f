"""The published layouts of preference data, each a function from a row to the parts of a pair.

A row is what `datasets` gives, pictures undecoded. Texts that stand for whole conversations become messages; where the
prompt isn't told apart, it is what both sides begin with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from data_pipelines.rows import BrokenError, CellError
from sclvlm.records import Message, count_images, text_message
from sclvlm.records.conflicts import Conflict

Row = Mapping[str, Any]
MARKER = "<image>"
SPEAKERS = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "observation", "tool_response"), "tool"),
}
KEPT_KEYS = ("tool_calls", "tool_call_id", "name")  # of a message, beside who says what
TURN = re.compile(r"\n\n(Human|Assistant):")


class Found(NamedTuple):
    """The parts of a pair. images: in the order of the placeholders, as paths, bytes, dicts of both, or PIL images."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    images: list[Any]


def trl(row: Row) -> Found:
    """TRL: texts or messages; the prompt in a column of its own, or what both sides begin with; `images` or `image`."""
    prompt, sides = row.get("prompt"), (row["chosen"], row["rejected"])
    if all(isinstance(side, list) for side in sides):
        chosen, rejected = (_messages(row, name) for name in ("chosen", "rejected"))
        return _with_pictures(_divided(chosen, rejected) if prompt is None else (_said(row), chosen, rejected), row)
    chosen_text, rejected_text = (_text(row, name) for name in ("chosen", "rejected"))
    if prompt is None:
        begun = _common_words(chosen_text, rejected_text)
        asked = [text_message("user", begun.strip())] if begun.strip() else []
        chosen_text, rejected_text = (text[len(begun) :].strip() for text in (chosen_text, rejected_text))
    else:
        asked = _said(row)
    return _with_pictures((asked, *(_answer(text) for text in (chosen_text, rejected_text))), row)


def hh(row: Row) -> Found:
    """HH-RLHF: transcripts of `\\n\\nHuman: ...\\n\\nAssistant: ...`, the prompt being what both begin with."""
    return _with_pictures(_divided(*(_transcript(_text(row, name)) for name in ("chosen", "rejected"))), row)


def ultrafeedback(row: Row) -> Found:
    """UltraFeedback-binarized: the prompt as text, and again as what both lists of messages begin with."""
    chosen, rejected = (_messages(row, name) for name in ("chosen", "rejected"))
    if all(side and side[0]["role"] == "assistant" for side in (chosen, rejected)):
        return _with_pictures((_said(row), chosen, rejected), row)
    return _with_pictures(_divided(chosen, rejected), row)


def llama_factory(row: Row) -> Found:
    """LLaMA-Factory with `ranking`: ShareGPT conversations, or Alpaca's instruction; `<image>` where a picture is."""
    if row.get("conversations") is not None:
        asked = _messages(row, "conversations")
    else:
        lines = [_text(row, "instruction"), _text(row, "input")]
        asked = [*_history(row), text_message("user", "\n".join(line for line in lines if line))]
    if system := _text(row, "system"):
        asked = [text_message("system", system), *asked]
    sides = (_one_message(row, name) for name in ("chosen", "rejected"))
    return _with_pictures((asked, *sides), row, insert=False)


def ms_swift(row: Row) -> Found:
    """ms-swift: the last answer of `messages` against `rejected_response`, or `rejected_messages` in full."""
    if row.get("rejected_images") not in (None, [], row.get("images")):
        raise BrokenError("sides with different images")
    system = [text_message("system", text)] if (text := _text(row, "system")) else []
    said = system + (_messages(row, "messages") if row.get("messages") is not None else _query(row))
    if row.get("rejected_messages"):
        return _with_pictures(_divided(said, system + _messages(row, "rejected_messages")), row, always=True)
    return _with_pictures((said[:-1], said[-1:], _answer(_text(row, "rejected_response"))), row, always=True)


def rlhf_v(row: Row) -> Found:
    """RLHF-V and RLAIF-V: one picture, and question, chosen, rejected in columns or as JSON in `text`."""
    texts: Row = _json_object(row) if row.get("text") is not None else row
    sides = (_answer(_text(texts, name)) for name in ("chosen", "rejected"))
    return _with_pictures(([text_message("user", _text(texts, "question"))], *sides), row)


LAYOUTS: dict[str, Callable[[Row], Found]] = {
    "ms_swift": ms_swift,
    "llama_factory": llama_factory,
    "rlhf_v": rlhf_v,
    "hh": hh,
    "ultrafeedback": ultrafeedback,
    "trl": trl,
}
NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {  # columns, one set of which must be there
    "ms_swift": (
        ("messages", "rejected_response"),
        ("messages", "rejected_messages"),
        ("query", "response", "rejected_response"),
    ),
    "llama_factory": (("conversations", "chosen", "rejected"), ("instruction", "chosen", "rejected")),
    "rlhf_v": (("image", "question", "chosen", "rejected"), ("image", "text")),
    "hh": (("chosen", "rejected"),),
    "ultrafeedback": (("prompt", "chosen", "rejected"),),
    "trl": (("chosen", "rejected"),),
}

USES: dict[str, tuple[str, ...]] = {  # columns that are read beside those where they are there
    "ms_swift": ("images", "image", "rejected_images", "system", "history"),
    "llama_factory": ("images", "image", "system", "history", "input"),
    "rlhf_v": ("images",),
    "hh": ("images", "image"),
    "ultrafeedback": ("images", "image"),
    "trl": ("prompt", "images", "image"),
}


def recognised(columns: Collection[str], first: Row) -> str | None:
    """The layout of these columns and this first row; None when it is none of them."""
    plain = isinstance(first.get("chosen"), str)
    fitting = [name for name in LAYOUTS if not missing(name, columns)]
    if "instruction" in columns and not plain and "conversations" not in columns:
        fitting = [name for name in fitting if name != "llama_factory"]
    if not plain or first.get("prompt") is not None or not TURN.match(first["chosen"]):
        fitting = [name for name in fitting if name != "hh"]
    if not isinstance(first.get("prompt"), str) or not isinstance(first.get("chosen"), list):
        fitting = [name for name in fitting if name != "ultrafeedback"]
    return next(iter(fitting), None)


def missing(layout: str, columns: Collection[str]) -> tuple[str, ...]:
    """The columns that `layout` lacks most narrowly; empty when it has all it needs."""
    return min((tuple(name for name in names if name not in columns) for names in NEEDS[layout]), key=len)


def described(row: Row, entry: Mapping[str, Any]) -> Row:
    """`row` with the default names of LLaMA-Factory, where `entry` of its dataset_info.json gives it others."""
    defaults = {"prompt": "instruction", "query": "input", "messages": "conversations"}
    columns = {theirs: defaults.get(key, key) for key, theirs in (entry.get("columns") or {}).items()}
    renamed = {columns.get(name, name): value for name, value in row.items()}
    tags = entry.get("tags") or {}
    if not tags:
        return renamed
    roles = {theirs: key.removesuffix("_tag") for key, theirs in tags.items()}
    who, what = tags.get("role_tag", "from"), tags.get("content_tag", "value")

    def said(value: Any) -> Any:
        if isinstance(value, list):
            return [said(each) for each in value]
        if not isinstance(value, dict):
            return value
        speaker = roles.get(value.get(who), value.get(who))
        return {"from": "function_call" if speaker == "function" else speaker, "value": value.get(what)}

    return {
        name: said(value) if name in ("conversations", "chosen", "rejected") else value
        for name, value in renamed.items()
    }


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    if value is not None and not isinstance(value, str):
        raise CellError(f"column {column!r}: expected text, got {type(value).__name__}")
    return value or ""


def _messages(row: Row, column: str) -> list[Message]:
    value = row.get(column)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise CellError(f"column {column!r}: expected a list of messages, got {value!r:.80}")
    return [_message(each, column) for each in value]


def _one_message(row: Row, column: str) -> list[Message]:
    value = row.get(column)
    if isinstance(value, dict):
        return [_message(value, column)]
    return _answer(value) if isinstance(value, str | None) else _messages(row, column)


def _message(said: Mapping[str, Any], column: str) -> Message:
    """In structured form, from TRL's and ms-swift's role and content, or ShareGPT's from and value."""
    who, what = ("from", "value") if "from" in said else ("role", "content")
    role = SPEAKERS.get(str(said.get(who)))
    if role is None:
        raise BrokenError(Conflict.ROLE)
    more = {key: _full(said[key]) for key in KEPT_KEYS if said.get(key)}
    return {"role": role, "content": _parts(said.get(what), column), **more}


def _parts(content: Any, column: str) -> list[dict[str, Any]]:
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content or ""}]
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise CellError(f"column {column!r}: expected text or parts as content, got {content!r:.80}")
    if other := {str(part.get("type")) for part in content} - {"image", "text"}:
        raise BrokenError(f"a part that is {min(other)}, neither text nor image")
    texts = ({"type": "text", "text": part.get("text") or ""} for part in content)
    return [{"type": "image"} if part["type"] == "image" else text for part, text in zip(content, texts, strict=True)]


def _full(value: Any) -> Any:
    """Without the keys that a table gave every row because one has them."""
    if isinstance(value, dict):
        return {key: _full(each) for key, each in value.items() if each is not None}
    return [_full(each) for each in value] if isinstance(value, list) else value


def _said(row: Row) -> list[Message]:
    """The prompt's column: messages, or a text that the user says."""
    if isinstance(row.get("prompt"), list):
        return _messages(row, "prompt")
    text = _text(row, "prompt")
    return [text_message("user", text)] if text.strip() else []


def _answer(text: str | None) -> list[Message]:
    return [text_message("assistant", text or "")]


def _divided(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen, rejected: the prompt is the messages that both begin with, short of the last one of either."""
    steps = list(zip(chosen, rejected, strict=False))
    same = len(list(takewhile(lambda step: step[0] == step[1], steps)))
    length = max(min(same, len(steps) - 1), 0)
    return chosen[:length], chosen[length:], rejected[length:]


def _common_words(one: str, other: str) -> str:
    """What both texts begin with, up to the end of a word in both."""
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
    while same and not (one[same - 1].isspace() or all(text[same : same + 1].isspace() for text in (one, other))):
        same -= 1
    return one[:same]


def _transcript(text: str) -> list[Message]:
    before, *turns = TURN.split(text)
    if before.strip() or not turns:
        raise BrokenError(Conflict.ROLE)
    return [
        text_message({"Human": "user", "Assistant": "assistant"}[who], what.strip())
        for who, what in zip(turns[::2], turns[1::2], strict=True)
    ]


def _history(row: Row) -> list[Message]:
    """Earlier exchanges, as Alpaca and ms-swift list them: [[request, answer], ...]."""
    turns = row.get("history") or []
    if not isinstance(turns, list) or not all(isinstance(each, list) and len(each) == 2 for each in turns):
        raise CellError(f"column 'history': expected pairs of texts, got {turns!r:.80}")
    return [text_message(who, text) for turn in turns for who, text in zip(("user", "assistant"), turn, strict=True)]


def _query(row: Row) -> list[Message]:
    return [*_history(row), text_message("user", _text(row, "query")), *_answer(_text(row, "response"))]


def _json_object(row: Row) -> Row:
    text = row["text"]
    if isinstance(text, dict):
        return text
    try:
        found = json.loads(_text(row, "text"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CellError(f"column 'text': expected JSON with question, chosen, rejected, got {text!r:.80}")
    if lost := {"question", "chosen", "rejected"} - found.keys():
        raise CellError(f"column 'text': expected JSON with question, chosen, rejected, got none of {min(lost)!r}")
    return found


def _with_pictures(sides: tuple[list[Message], ...], row: Row, *, always: bool = False, insert: bool = True) -> Found:
    """The pair with placeholders in its messages.

    Placeholders that are there stay the only ones. Else markers in the text become some, in rows that have pictures or
    whose layout always means a picture by them (`insert=False`, `always`); if there are none, pictures come first in
    what the user first says, unless the layout asks for markers (`insert=False`).
    """
    images = [image for name in ("images", "image") for image in _listed(row.get(name))]
    prompt, chosen, rejected = sides
    if count_images(prompt) == 0 and (images or always or not insert):
        prompt, chosen, rejected = ([_marked(message) for message in side] for side in sides)
        if insert and count_images(prompt) == 0:
            prompt = _before_words(prompt, len(images))
    return Found(prompt, chosen, rejected, images)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _marked(message: Message) -> Message:
    """With a placeholder for each marker in its texts; what stands around them stays as it is."""
    parts: list[dict[str, Any]] = []
    for part in message["content"]:
        first, *others = part["text"].split(MARKER) if part["type"] == "text" else [""]
        parts += [part] if not others else [{"type": "text", "text": first}] if first else []
        for text in others:
            parts += [{"type": "image"}, *([{"type": "text", "text": text}] if text else [])]
    return {**message, "content": parts}


def _before_words(prompt: list[Message], count: int) -> list[Message]:
    place = next((place for place, message in enumerate(prompt) if message["role"] == "user"), None)
    if place is None or not count:
        return prompt
    asked = {**prompt[place], "content": [{"type": "image"}] * count + prompt[place]["content"]}
    return [*prompt[:place], asked, *prompt[place + 1 :]]
