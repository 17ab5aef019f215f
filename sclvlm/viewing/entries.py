"""Questions and traces as the page's script reads them: plain data in blocks, so that a page is written as a stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sclvlm.errors import SclvlmError
from sclvlm.records import GradedTrace, GradedTurn, Message, Sample, Trace, Turn, message_text
from sclvlm.viewing.sources import Source

T = TypeVar("T")
Entry = dict[str, Any]

BLOCK = 500
"""Entries a block: small enough to be flat in memory, large enough to be few."""


def blocks_of(items: Iterable[T]) -> Iterator[list[T]]:
    """`items` in lists of BLOCK, the last one shorter."""
    rest = iter(items)
    while block := list(islice(rest, BLOCK)):
        yield block


def sample_entry(sample: Sample, folder: Path, number: Callable[[str], int]) -> Entry:
    """A question as plain data. number: the place of a picture in the page, of its path."""
    return {
        "id": sample.id,
        "category": sample.category,
        "question": sample.question,
        "hint": sample.hint,
        "choices": list(sample.labels.items()),
        "gold": list(dict.fromkeys((sample.answer, *sample.answers))),
        "images": [[number(image), os.path.relpath(image, folder)] for image in sample.images],
    }


def trace_block(traces: Iterable[Trace], source: Source, place: Mapping[tuple[Path, str], int]) -> Entry:
    """Traces as plain data; `place` gives the position of the sample of a file and id.

    Prompts stand once in `texts`, and in the turns as positions there: a review prompt is the same for all.
    Raises SclvlmError for a trace of no sample.
    """
    texts: dict[str, int] = {}
    entries = [_trace_entry(trace, _place(trace, source, place), texts) for trace in traces]
    return {"stage": source.stage, "texts": list(texts), "traces": entries}


def _place(trace: Trace, source: Source, place: Mapping[tuple[Path, str], int]) -> int:
    key = (source.samples, trace.id)
    if key not in place:
        raise SclvlmError(
            f"{source.traces}: trace {trace.id!r} is about no sample of {source.samples}. "
            "Name the file that the run was made from."
        )
    return place[key]


def _trace_entry(trace: Trace, sample: int, texts: dict[str, int]) -> Entry:
    return {
        "sample": sample,
        "draw": trace.draw,
        "transition": trace.transition if isinstance(trace, GradedTrace) else None,
        "error": str(trace.meta.get("error") or "no reason was kept") if trace.failed else "",
        "turns": [_turn_entry(turn, texts) for turn in trace.turns],
    }


def _turn_entry(turn: Turn, texts: dict[str, int]) -> Entry:
    graded = turn.model_dump(mode="json", include={"answer", "method", "verdict"})
    said = {"response": turn.response, "tokens": turn.num_tokens, "ended": turn.finish_reason}
    prompt = texts.setdefault(_prompt_text(turn.prompt), len(texts))
    return {**said, "prompt": prompt, **(graded if isinstance(turn, GradedTurn) else {})}


def _prompt_text(messages: list[Message]) -> str:
    """What the model was told, each message under its role where there are several."""
    said = [(message.get("role", ""), message_text(message)) for message in messages if message.get("content")]
    return said[0][1] if len(said) == 1 else "\n\n".join(f"{role}:\n{text}" for role, text in said)
