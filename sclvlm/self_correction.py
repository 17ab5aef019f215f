"""Ask, generate, reconsider, generate, keep the trace: the two turns over any number of samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sclvlm.engines import Engine, Opening, Reply
from sclvlm.errors import SclvlmError
from sclvlm.progress import progress
from sclvlm.prompts import Prompt, initial_message, review_message
from sclvlm.records import Message, ModelRef, Sample, Trace, Turn
from sclvlm.storage import RecordAppender, read_records, repair_torn_line


class Dialogue(NamedTuple):
    """What is asked: the initial prompt, then the review prompt once a further turn."""

    initial: Prompt
    review: Prompt
    turns: int

    @property
    def follow_ups(self) -> list[Message]:
        """The review messages."""
        return [review_message(self.review)] * (self.turns - 1)


class Origin(NamedTuple):
    """What every trace of a run has in common."""

    model: ModelRef
    sampling: dict[str, float | int]
    seed: int


def collect_traces(
    samples: Sequence[Sample],
    path: Path,
    *,
    engine: Engine,
    dialogue: Dialogue,
    origin: Origin,
    draws: int,
    batch_size: int,
    max_failed_share: float,
    what: str,
) -> None:
    """Append to `path` the traces it does not hold yet, `draws` for each sample, in order.

    A sample that can't be answered is kept with its reason; more than `max_failed_share` of them raise
    SclvlmError. What was appended before is complete, so a killed run goes on where it stopped.
    """
    repair_torn_line(path)
    done = {trace.key: trace.failed for trace in _present(path)}
    failed = sum(done.values())
    wanted = [(sample, draw) for sample in samples for draw in range(draws)]
    left = [each for each in wanted if (each[0].id, each[1]) not in done]
    with RecordAppender(path) as file, progress(what, len(wanted), len(wanted) - len(left)) as advance:
        for start in range(0, len(left), batch_size):
            batch = left[start : start + batch_size]
            for trace in _converse(batch, engine, dialogue, origin):
                failed += trace.failed
                if trace.failed and failed > max_failed_share * len(wanted):
                    raise _too_many(trace, failed, len(wanted), max_failed_share)
                file.append(trace)
            advance(len(batch))


def _converse(batch: Sequence[tuple[Sample, int]], engine: Engine, dialogue: Dialogue, origin: Origin) -> list[Trace]:
    """The trace of each sample; when one of the batch fails, they are answered one by one to find it."""
    openings = [_opening(sample, draw, dialogue) for sample, draw in batch]
    try:
        conversations = engine.converse(openings, dialogue.follow_ups)
    except SclvlmError as error:
        if len(batch) > 1:
            return [trace for one in batch for trace in _converse([one], engine, dialogue, origin)]
        return [_trace(openings[0], [_failure(openings[0])], dialogue, origin, error=str(error))]
    return [
        _trace(opening, _turns(opening, dialogue, replies), dialogue, origin)
        for opening, replies in zip(openings, conversations, strict=True)
    ]


def _opening(sample: Sample, draw: int, dialogue: Dialogue) -> Opening:
    return Opening(sample.id, draw, initial_message(dialogue.initial, sample), sample.images)


def _turns(opening: Opening, dialogue: Dialogue, replies: Sequence[Reply]) -> list[Turn]:
    prompts = [opening.message, *dialogue.follow_ups]
    roles = ["initial", *["refined"] * (len(prompts) - 1)]
    return [
        Turn.model_validate({"role": role, "prompt": [prompt], "response": reply.text, **_figures(reply)})
        for role, prompt, reply in zip(roles, prompts, replies, strict=True)
    ]


def _figures(reply: Reply) -> dict[str, object]:
    return {key: value for key, value in reply._asdict().items() if key != "text"}


def _failure(opening: Opening) -> Turn:
    return Turn(role="initial", prompt=[opening.message], response="", num_tokens=0, finish_reason="error")


def _trace(opening: Opening, turns: list[Turn], dialogue: Dialogue, origin: Origin, error: str = "") -> Trace:
    return Trace(
        id=opening.id,
        draw=opening.draw,
        turns=tuple(turns),
        model=origin.model,
        sampling=origin.sampling,
        prompts={"initial": str(dialogue.initial), "refine": str(dialogue.review)},
        seed=origin.seed,
        meta={"error": error} if error else {},
    )


def _too_many(trace: Trace, failed: int, total: int, limit: float) -> SclvlmError:
    return SclvlmError(
        f"sample {trace.id!r}: {trace.meta['error']} {failed} of {total} failed, at most {limit:.1%} may. "
        "To keep such samples with their reason and go on, raise max_failed_share."
    )


def _present(path: Path) -> Iterable[Trace]:
    """The traces in `path`; none when there is no file or nothing in it yet."""
    return read_records(path, Trace) if path.is_file() and path.stat().st_size else ()
