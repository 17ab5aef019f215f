"""A batch of conversations from the first question to the last answer; what fails is found and kept with its reason."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from typing import NamedTuple

from sclvlm.engines import Engine, ForesightedEngine, Opening, Reply, StreamingEngine
from sclvlm.errors import RunError, SclvlmError
from sclvlm.grading import grade
from sclvlm.prompts import Prompt, in_plain_marks, initial_message, review_message
from sclvlm.records import Message, Sample, Verdict

Asked = tuple[Sample, int]
"""A sample and the number of the draw."""
LOST = ("CUDA error", "HIP error", "device-side assert")  # after such an error a process computes nothing more


class Dialogue(NamedTuple):
    """What is asked: the initial prompt, then the review prompt once a further turn."""

    initial: Prompt
    review: Prompt
    turns: int

    @property
    def follow_ups(self) -> list[Message]:
        """The review messages."""
        return [review_message(self.review)] * (self.turns - 1)

    def opening(self, asked: Asked) -> Opening:
        """What the conversation about a sample begins with."""
        sample, draw = asked
        return Opening(sample.id, draw, initial_message(self.initial, sample), sample.images)


class Conversation(NamedTuple):
    """What was said: a reply to the opening and to each follow-up, or why there is none."""

    opening: Opening
    follow_ups: Sequence[Message]
    replies: Sequence[Reply]
    error: Exception | None = None

    @property
    def reason(self) -> str:
        """Why it failed; empty when it didn't. What we don't raise ourselves is told with its type."""
        if self.error is None or isinstance(self.error, SclvlmError):
            return str(self.error or "")
        return f"{type(self.error).__name__}: {str(self.error).strip().splitlines()[0] if str(self.error) else ''}"


def held(asked: Iterable[Asked], engine: Engine, dialogue: Dialogue, batch_size: int) -> Generator[list[Conversation]]:
    """All conversations: in order and in batches, or each as soon as it is there where the engine knows neither."""
    if not isinstance(engine, StreamingEngine) or dialogue.review.wrong:
        yield from _in_batches(iter(asked), engine, dialogue, batch_size)
        return
    with closing(engine.stream(map(dialogue.opening, asked), dialogue.follow_ups)) as stream:
        for opening, said in stream:
            if isinstance(said, SclvlmError):
                yield [Conversation(opening, (), (), said)]
            else:
                yield [Conversation(opening, dialogue.follow_ups, said)]


def _in_batches(
    source: Iterator[Asked], engine: Engine, dialogue: Dialogue, batch_size: int
) -> Iterator[list[Conversation]]:
    following = list(islice(source, batch_size))
    with ExitStack() as end:
        foresighted = engine if isinstance(engine, ForesightedEngine) and not dialogue.review.wrong else None
        if foresighted:
            end.callback(foresighted.forget)
        while batch := following:
            following = list(islice(source, batch_size))
            if foresighted:
                foresighted.expect([dialogue.opening(each) for each in following], dialogue.follow_ups)
            yield converse(batch, engine, dialogue)


def converse(batch: Sequence[Asked], engine: Engine, dialogue: Dialogue) -> list[Conversation]:
    """The conversation about each of `batch`; when one fails, halves are tried until it is found.

    Raises RunError for what is no sample's failure.
    """
    try:
        return list(_converse(batch, engine, dialogue))
    except RunError:
        raise
    except Exception as error:
        if any(sign in str(error) for sign in LOST):
            raise RunError(f"the device fails: {error} Start the command again: it goes on from here.") from error
        if len(batch) == 1:
            return [Conversation(dialogue.opening(batch[0]), (), (), error)]
    # Outside of the handler: the error would keep alive what the failed attempt holds in the device's memory.
    middle = len(batch) // 2
    return converse(batch[:middle], engine, dialogue) + converse(batch[middle:], engine, dialogue)


def _converse(batch: Sequence[Asked], engine: Engine, dialogue: Dialogue) -> Iterator[Conversation]:
    openings = [dialogue.opening(asked) for asked in batch]
    if dialogue.review.wrong:
        yield from _with_feedback(batch, openings, engine, dialogue)
        return
    for opening, replies in zip(openings, engine.converse(openings, dialogue.follow_ups), strict=True):
        yield Conversation(opening, dialogue.follow_ups, replies)


def _with_feedback(
    batch: Sequence[Asked], openings: Sequence[Opening], engine: Engine, dialogue: Dialogue
) -> Iterator[Conversation]:
    """Each review says whether the answer before it is wrong.

    An engine takes the same follow-ups for all: conversations that go on alike are held together, once more from their
    beginning, of which engines make the same again. Raises SclvlmError where one doesn't.
    """
    told: list[tuple[bool, ...]] = [()] * len(batch)
    replies = engine.converse(openings, [])
    for _ in range(dialogue.turns - 1):
        told = [
            (*before, _is_wrong(sample, said[-1], dialogue.review.marker))
            for before, (sample, _), said in zip(told, batch, replies, strict=True)
        ]
        for history in sorted(set(told)):
            places = [place for place, each in enumerate(told) if each == history]
            said_again = engine.converse([openings[place] for place in places], _reviews(dialogue, history))
            for place, said in zip(places, said_again, strict=True):
                _check_same(openings[place], replies[place], said)
                replies[place] = said
    for opening, history, said in zip(openings, told, replies, strict=True):
        yield Conversation(opening, _reviews(dialogue, history), said)


def _reviews(dialogue: Dialogue, wrong: Sequence[bool]) -> list[Message]:
    return [review_message(dialogue.review, wrong=each) for each in wrong]


def _is_wrong(sample: Sample, reply: Reply, marker: str) -> bool:
    """An answer that can't be read is not called wrong."""
    return grade(in_plain_marks(reply.opened + reply.text, marker), sample).verdict is Verdict.INCORRECT


def _check_same(opening: Opening, before: Sequence[Reply], again: Sequence[Reply]) -> None:
    if [reply.text for reply in before] != [reply.text for reply in again[: len(before)]]:
        raise SclvlmError(
            f"sample {opening.id!r} was answered otherwise when it was asked again, so what the review says of its "
            "answer may be untrue. Use an engine and a precision that give the same answer twice."
        )
