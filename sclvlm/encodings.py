"""Prompts encoded once for all epochs, with the features of their pictures on disk."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from sclvlm.features import FeatureCache
from sclvlm.features.files import FeatureFiles
from sclvlm.launch import count, index
from sclvlm.pictures import PictureError, load_images
from sclvlm.processes import wait
from sclvlm.progress import progress
from sclvlm.records.mismatches import Trainable
from sclvlm.rendering import Encoded, Renderer

Place = tuple[str, tuple[str, ...]]
"""A prompt: its text through the chat template, and the paths of its pictures."""


class Prompt(NamedTuple):
    """Token ids of one prompt, pictures expanded, its types as in `Encoded`, and the key of its features if any."""

    ids: array[int]
    types: Mapping[str, array[int]]
    features: str | None


@dataclass(frozen=True)
class Encodings:
    """What stands in for the processor and the tower in training; `cache` keeps the files from being evicted."""

    prompts: Mapping[Place, Prompt]
    broken: Mapping[Place, str]  # prompts whose pictures can't be read, and why
    files: FeatureFiles
    cache: FeatureCache | None = None

    def rows(self, places: Sequence[Place]) -> Encoded:
        """What Renderer.encode gives for these prompts, but with features for pixels.

        Raises PictureError as that does.
        """
        if (place := next((each for each in places if each in self.broken), None)) is not None:
            raise PictureError(self.broken[place])
        prompts = [self.prompts[place] for place in places]
        names = dict.fromkeys(name for prompt in prompts for name in prompt.types)
        return Encoded(
            [prompt.ids.tolist() for prompt in prompts],
            self.files.batch([prompt.features for prompt in prompts if prompt.features]),
            {name: [_types(prompt, name) for prompt in prompts] for name in names},
        )

    def __getstate__(self) -> dict[str, Any]:
        """For a worker: it reads, and claims nothing."""
        return {"prompts": self.prompts, "broken": self.broken, "files": self.files, "cache": None}


def _types(prompt: Prompt, name: str) -> list[int]:
    return prompt.types[name].tolist() if name in prompt.types else [0] * len(prompt.ids)  # a prompt of words alone


def encode_once(renderer: Renderer, records: Sequence[Trainable], cache: FeatureCache) -> Encodings:
    """The prompts of `records` encoded, and the features of their pictures in `cache`, computed where missing.

    Raises SclvlmError for features that can't be kept.
    """
    prompts: dict[Place, Prompt] = {}
    broken: dict[Place, str] = {}
    with progress("pictures", len(records)) as advance:
        for record in records:
            place = (renderer.text(record.prompt, reply=True), record.images)
            if place not in prompts and place not in broken:
                try:
                    prompts[place] = _encoded(renderer, record, place[0], cache)
                except PictureError as error:
                    broken[place] = str(error)
            advance()
    return Encodings(prompts, broken, cache.files, cache)


def _encoded(renderer: Renderer, record: Trainable, text: str, cache: FeatureCache) -> Prompt:
    encoded = renderer.encode([text], [load_images(record.images, record.prompt)])
    return Prompt(
        array("q", encoded.ids[0]),
        {name: array("q", rows[0]) for name, rows in encoded.types.items()},
        cache.ensure(record.images, partial(dict, encoded.images)) if record.images else None,
    )


def encode_together(renderer: Renderer, records: Sequence[Trainable], cache: FeatureCache) -> Encodings:
    """The same, where several processes work on the run: each computes a share of the features that are missing."""
    if count() > 1:
        encode_once(renderer, records[index() :: count()], cache)
        wait()
    return encode_once(renderer, records, cache)
