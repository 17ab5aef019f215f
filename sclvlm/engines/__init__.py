"""Generation: every engine answers a batch of openings and the same follow-ups in one conversation each."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from sclvlm.errors import SclvlmError
from sclvlm.records import Message


@dataclass(frozen=True)
class Opening:
    """The first user message of a conversation, the paths of its images, and who draws its random numbers."""

    id: str
    draw: int
    message: Message
    images: tuple[str, ...]


class Reply(NamedTuple):
    """What the model wrote. `logp` is the sum of its tokens' log-probabilities at temperature 1, in nats.

    opened: see `Turn`; a server tells of thoughts in its own way.
    """

    text: str
    num_tokens: int
    finish_reason: Literal["stop", "length"]
    logp: float | None
    opened: str = ""


class Engine(Protocol):
    """Anything that can hold conversations."""

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        """For each opening its replies: one to the opening, one to each follow-up in turn."""
        ...


class Answered(NamedTuple):
    """A conversation that was held, or what it failed of."""

    opening: Opening
    replies: list[Reply] | SclvlmError


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine that knows no batches, and no order."""

    def stream(self, openings: Iterable[Opening], follow_ups: Sequence[Message]) -> Generator[Answered]:
        """All conversations, each as soon as it is there; a failed one stops no other."""
        ...


@runtime_checkable
class ForesightedEngine(Engine, Protocol):
    """An engine that prepares what it will be asked next while it still answers."""

    def expect(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> None:
        """Tell what `converse` will be asked after its next call; nothing where there are no openings."""
        ...

    def forget(self) -> None:
        """Nothing more is asked: what was expected or prepared goes, with the thread that does it."""
        ...
