"""What makes a training record of the right fields one that teaches nothing, or something wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from sclvlm.records import count_images

COMPLETIONS = ("chosen", "rejected", "completion")
ROLES = ("system", "user", "assistant", "tool")


class Conflict(StrEnum):
    """Why a record is left out. The values are what `data.json`, cards and the console say."""

    NO_PROMPT = "no prompt"
    ROLE = "missing or unknown role"
    EMPTY = "empty completion"
    SAME = "chosen equals rejected"
    IMAGES = "images and placeholders differ in number"
    TURNS = "roles don't alternate"


def conflict_in(fields: Mapping[str, Any]) -> Conflict | None:
    """The first conflict in the fields of a pair, a demonstration or an unpaired completion; None when there is none.

    fields: as they stand in the file, before the record is made. Roles alternate when a conversation of prompt and
    completion is: system messages, then the user; user or tools, then the assistant; a completion begins and ends
    with the assistant. Fields that are missing or of another type are no conflict but an error, which is for the
    record itself to raise.
    """
    sides = [fields[name] for name in COMPLETIONS if name in fields]
    prompt, images = fields.get("prompt"), fields.get("images") or ()
    if (
        not sides
        or not all(_is_conversation(each) for each in (prompt, *sides))
        or not isinstance(images, list | tuple)
    ):
        return None
    assert isinstance(prompt, list)
    if not prompt:
        return Conflict.NO_PROMPT
    if any(message.get("role") not in ROLES for messages in (prompt, *sides) for message in messages):
        return Conflict.ROLE
    if any(not _says_something(side) for side in sides):
        return Conflict.EMPTY
    if len(sides) > 1 and sides[0] == sides[1]:
        return Conflict.SAME
    if count_images(prompt) != len(images) or any(map(count_images, sides)):
        return Conflict.IMAGES
    if any(not alternates(prompt, side) for side in sides):
        return Conflict.TURNS
    return None


def alternates(prompt: Sequence[Mapping[str, Any]], completion: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each one who speaks may, after who spoke before, and the completion is the assistant's."""
    roles = [message.get("role") for message in (*prompt, *completion)]
    after: dict[Any, tuple[str, ...]] = {
        "system": ("system", "user"),
        "user": ("assistant",),
        "assistant": ("user", "tool"),
        "tool": ("tool", "assistant"),
    }
    steps = zip(["system", *roles], roles, strict=False)
    ends = {roles[len(prompt)], roles[-1]} if completion else set()
    return ends == {"assistant"} and all(role in after.get(before, ()) for before, role in steps)


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) and _is_content(each) for each in value)


def _is_content(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, str) or (isinstance(content, list) and all(isinstance(part, dict) for part in content))


def _says_something(messages: list[dict[str, Any]]) -> bool:
    """Every turn of the assistant has words, or calls a tool; there is one."""
    own = [message for message in messages if message["role"] == "assistant"]
    return bool(messages) and all(_text(message).strip() or message.get("tool_calls") for message in own)


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
