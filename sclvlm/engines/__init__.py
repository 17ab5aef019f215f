"""Generation: every engine answers a batch of openings and the same follow-ups in one conversation each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from sclvlm.records import Message


@dataclass(frozen=True)
class Opening:
    """The first user message of a conversation, the paths of its images, and who draws its random numbers."""

    id: str
    draw: int
    message: Message
    images: tuple[str, ...]


class Reply(NamedTuple):
    """What the model wrote. `logp` is the sum of its tokens' log-probabilities at temperature 1, in nats."""

    text: str
    num_tokens: int
    finish_reason: Literal["stop", "length"]
    logp: float | None


class Engine(Protocol):
    """Anything that can hold conversations."""

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        """For each opening its replies: one to the opening, one to each follow-up in turn."""
        ...
