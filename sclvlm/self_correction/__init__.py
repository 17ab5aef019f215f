"""Ask, generate, reconsider, generate, keep the trace: the two turns over any number of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

from sclvlm.engines import Engine
from sclvlm.errors import SclvlmError
from sclvlm.progress import progress
from sclvlm.prompts import MARKER
from sclvlm.records import ModelRef, Sample, Trace, Turn
from sclvlm.self_correction.conversing import Conversation, Dialogue, held
from sclvlm.self_correction.journal import Answered, answered, own_file, wanted
from sclvlm.self_correction.shares import ALONE, Share, dealt
from sclvlm.storage import RecordAppender


class Samples(Protocol):
    """Samples that can be gone through more than once, and need not be in memory together."""

    def __iter__(self) -> Iterator[Sample]: ...

    def __len__(self) -> int: ...


class Origin(NamedTuple):
    """What every trace of a run has in common."""

    model: ModelRef
    sampling: dict[str, float | int]
    seed: int


def collect_traces(
    samples: Samples,
    path: Path,
    *,
    engine: Engine,
    dialogue: Dialogue,
    origin: Origin,
    draws: int,
    batch_size: int,
    max_failed_share: float,
    what: str,
    share: Share = ALONE,
    count_failed: Callable[[int], int] | None = None,
    done: Answered | None = None,
) -> None:
    """Append the traces that `path` and the files beside it don't hold yet, `draws` for each sample, as they come.

    That is in order where the engine knows batches. share: of several processes each calls this with its own, and
    appends to a file of its own; `journal.merge` makes one of them, in order, when all have ended. count_failed: adds
    to the failures of this run and returns their sum over all processes. done: what they held before any process
    began, read now by default, which is right for one process alone. A sample that can't be answered is kept with its
    reason; more than `max_failed_share` of all raise SclvlmError. What was appended before is complete, so a killed run
    goes on where it stopped. Memory holds a batch and what is prepared of the next one, and 8 bytes for each trace
    there was.
    """
    done, total = answered(path) if done is None else done, len(samples) * draws
    count_failed = count_failed or _Sum()
    mine = dealt(samples, share, together=max(batch_size // draws, 1))
    left = (asked for asked in wanted(mine, draws) if asked not in done)
    shown = min(len(done), total)
    with (
        RecordAppender(own_file(path, share)) as file,
        progress(what, total, shown) as advance,
        closing(held(left, engine, dialogue, batch_size)) as batches,
    ):
        for batch in batches:
            for conversation in batch:
                if conversation.error:
                    failed = len(done.failed) + count_failed(1)
                    if failed > max_failed_share * total:
                        raise _too_many(conversation, failed, total, max_failed_share) from conversation.error
                file.append(_trace(conversation, dialogue, origin))
            steps = min(len(batch) * share.count, total - shown)  # as if the others were as far
            shown += steps
            advance(steps)


class _Sum:
    """Counts within one process."""

    def __init__(self) -> None:
        self.sum = 0

    def __call__(self, amount: int) -> int:
        self.sum += amount
        return self.sum


def _trace(conversation: Conversation, dialogue: Dialogue, origin: Origin) -> Trace:
    marker = {"marker": dialogue.initial.marker} if dialogue.initial.marker != MARKER else {}
    return Trace(
        id=conversation.opening.id,
        draw=conversation.opening.draw,
        turns=tuple(_turns(conversation)),
        model=origin.model,
        sampling=origin.sampling,
        prompts={"initial": str(dialogue.initial), "refine": str(dialogue.review), **marker},
        seed=origin.seed,
        meta={"error": conversation.reason} if conversation.error else {},
    )


def _turns(conversation: Conversation) -> Iterator[Turn]:
    first = [conversation.opening.message]
    if conversation.error:
        yield Turn(role="initial", prompt=first, response="", num_tokens=0, finish_reason="error")
        return
    prompts = [first, *([message] for message in conversation.follow_ups)]
    for number, (prompt, reply) in enumerate(zip(prompts, conversation.replies, strict=True)):
        yield Turn(
            role="refined" if number else "initial",
            prompt=prompt,
            response=reply.text,
            num_tokens=reply.num_tokens,
            finish_reason=reply.finish_reason,
            logp=reply.logp,
            opened=reply.opened,
        )


def _too_many(conversation: Conversation, failed: int, total: int, limit: float) -> SclvlmError:
    return SclvlmError(
        f"sample {conversation.opening.id!r}: {conversation.reason} {failed} of {total} failed, at most {limit:.1%} "
        "may. To keep such samples with their reason and go on, raise max_failed_share."
    )
