"""A prompt with the completion of another one: what KTO estimates a divergence from."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pydantic import BaseModel, ConfigDict

from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.records import Demonstration, Message, PreferencePair, UnpairedCompletion
from sclvlm.records.held_out import prompt_key


class Mismatched(BaseModel):
    """A training record and `mate`, a completion of another record's prompt. It stands last in `completions`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: PreferencePair | UnpairedCompletion
    mate: list[Message]

    @property
    def id(self) -> str:
        """Of the record."""
        return self.record.id

    @property
    def prompt(self) -> list[Message]:
        """Of the record."""
        return self.record.prompt

    @property
    def images(self) -> tuple[str, ...]:
        """Of the record."""
        return self.record.images

    @property
    def weight(self) -> float:
        """Of the record."""
        return self.record.weight

    @property
    def completions(self) -> tuple[list[Message], ...]:
        """Those of the record, then the mate."""
        return (*self.record.completions, self.mate)


Trainable = PreferencePair | Demonstration | UnpairedCompletion | Mismatched


def labels_of(records: Sequence[Trainable]) -> list[bool]:
    """Whether each of `records` is a desirable completion; empty where they have no label."""
    own = (record.record if isinstance(record, Mismatched) else record for record in records)
    return [record.label for record in own if isinstance(record, UnpairedCompletion)]


def mismatch(
    records: Sequence[PreferencePair | UnpairedCompletion], *, seed: int, fits: Callable[[Mismatched], bool]
) -> list[Mismatched]:
    """Each of `records` with a completion of another prompt, such that `fits` holds, drawn by the seed.

    Kahneman-Tversky optimization, Ethayarajh et al., arXiv 2402.01306, section 4.1, pairs each prompt of a batch with
    the completion of the next one. Here a mate is drawn once for the whole run, so that the reference scores it once,
    and never belongs to the same prompt. Raises ConfigError where all records have one prompt, SclvlmError where no
    mate fits.
    """
    prompts = [prompt_key(record) for record in records]
    if len(set(prompts)) < 2:
        raise ConfigError(
            f"train.loss: kto estimates a divergence from completions of other prompts, and all {len(records)} records "
            "have one prompt. Add records, or choose another loss."
        )
    order = random.Random(seed).sample(range(len(records)), len(records))
    found = {}
    for turn, place in enumerate(order):
        others = (other for other in order[turn + 1 :] + order[:turn] if prompts[other] != prompts[place])
        candidates = map(partial(_with_mate, records[place], turn), (records[other] for other in others))
        found[place] = _first(candidates, fits, records[place].id)
    return [found[place] for place in range(len(records))]


def _with_mate(
    record: PreferencePair | UnpairedCompletion, turn: int, other: PreferencePair | UnpairedCompletion
) -> Mismatched:
    """Of a pair's sides each serves in turn."""
    return Mismatched(record=record, mate=other.completions[turn % len(other.completions)])


def _first(candidates: Iterator[Mismatched], fits: Callable[[Mismatched], bool], name: str) -> Mismatched:
    fitting = next(filter(fits, candidates), None)
    if fitting is None:
        raise SclvlmError(
            f"record {name!r}: with no other prompt's completion is its row as short as train.max_length, so kto can't "
            "estimate its divergence. Raise train.max_length, or remove the record."
        )
    return fitting
