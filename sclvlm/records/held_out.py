"""Records set apart from training, to measure on: whole groups that share a picture or a prompt."""

from __future__ import annotations

import json
import random
from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from sclvlm.errors import ConfigError
from sclvlm.records import Demonstration, PreferencePair, UnpairedCompletion

T = TypeVar("T", bound=PreferencePair | Demonstration | UnpairedCompletion)


class Split(NamedTuple, Generic[T]):
    """Both sides in the order of the file."""

    training: list[T]
    held_out: list[T]


def hold_out(records: Sequence[T], share: float, *, seed: int) -> Split[T]:
    """Set apart groups of `records` that hold about `share` of the prompts, at least one group; 0 sets none apart.

    A prompt is its messages with its pictures. Records of one prompt or with a picture in common are one group, also
    through others, so that what is measured was not trained on. A group that would overshoot is passed over. Which
    ones are taken depends on (records, share, seed) alone. Raises ConfigError when there is only one group.
    """
    if not share:
        return Split(list(records), [])
    groups = _groups(records)
    if len(groups) < 2:
        raise ConfigError(
            f"train.held_out_share: all {len(records)} records share pictures or a prompt, so none can be set apart. "
            "Name a file of other records in data.held_out."
        )
    prompts = [len({prompt_key(records[place]) for place in group}) for group in groups]
    left = share * sum(prompts)
    taken: list[int] = []
    for number in random.Random(seed).sample(range(len(groups)), len(groups)):
        if prompts[number] <= left and len(taken) < len(groups) - 1:
            taken.append(number)
            left -= prompts[number]
    apart = {place for number in taken or [prompts.index(min(prompts))] for place in groups[number]}
    return Split(
        [record for place, record in enumerate(records) if place not in apart],
        [record for place, record in enumerate(records) if place in apart],
    )


def _groups(records: Sequence[T]) -> list[list[int]]:
    """Places of the records of each group, in the order of its first record."""
    parent = list(range(len(records)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    seen: dict[Hashable, int] = {}
    for place, record in enumerate(records):
        for key in _keys(record):
            first, second = sorted((root(seen.setdefault(key, place)), root(place)))
            parent[second] = first
    groups: dict[int, list[int]] = {}
    for place in range(len(records)):
        groups.setdefault(root(place), []).append(place)
    return list(groups.values())


def _keys(record: T) -> Iterator[Hashable]:
    yield prompt_key(record)
    for image in record.images:
        yield ("image", image)


def prompt_key(record: PreferencePair | Demonstration | UnpairedCompletion) -> Hashable:
    """What two records have in common when they have one prompt: its messages and its pictures."""
    return json.dumps(record.prompt, sort_keys=True), record.images
