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
from sclvlm.processes import wait
from sclvlm.progress import progress
from sclvlm.records.mismatches import Trainable
from sclvlm.rendering import Encoded, Renderer, load_images

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
    files: FeatureFiles
    cache: FeatureCache | None = None

    def rows(self, places: Sequence[Place]) -> Encoded:
        """What Renderer.encode gives for these prompts, but with features for pixels."""
        prompts = [self.prompts[place] for place in places]
        names = dict.fromkeys(name for prompt in prompts for name in prompt.types)
        return Encoded(
            [prompt.ids.tolist() for prompt in prompts],
            self.files.batch([prompt.features for prompt in prompts if prompt.features]),
            {name: [_types(prompt, name) for prompt in prompts] for name in names},
        )

    def __getstate__(self) -> dict[str, Any]:
        """For a worker: it reads, and claims nothing."""
        return {"prompts": self.prompts, "files": self.files, "cache": None}


def _types(prompt: Prompt, name: str) -> list[int]:
    return prompt.types[name].tolist() if name in prompt.types else [0] * len(prompt.ids)  # a prompt of words alone


def encode_once(renderer: Renderer, records: Sequence[Trainable], cache: FeatureCache) -> Encodings:
    """The prompts of `records` encoded, and the features of their pictures in `cache`, computed where missing.

    Raises SclvlmError for a picture that can't be read, and for features that can't be kept.
    """
    prompts: dict[Place, Prompt] = {}
    with progress("pictures", len(records)) as advance:
        for record in records:
            text = renderer.text(record.prompt, reply=True)
            if (text, record.images) not in prompts:
                encoded = renderer.encode([text], [load_images(record.images, record.prompt)])
                prompts[text, record.images] = Prompt(
                    array("q", encoded.ids[0]),
                    {name: array("q", rows[0]) for name, rows in encoded.types.items()},
                    cache.ensure(record.images, partial(dict, encoded.images)) if record.images else None,
                )
            advance()
    return Encodings(prompts, cache.files, cache)


def encode_together(renderer: Renderer, records: Sequence[Trainable], cache: FeatureCache) -> Encodings:
    """The same, where several processes work on the run: each computes a share of the features that are missing."""
    if count() > 1:
        encode_once(renderer, records[index() :: count()], cache)
        wait()
    return encode_once(renderer, records, cache)
