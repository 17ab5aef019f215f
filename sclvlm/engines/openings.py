"""The openings of a batch as the model takes them: each picture decoded once, and encoded once where several ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from sclvlm.engines import Opening
from sclvlm.features import features_of, why_not_kept
from sclvlm.features.files import stand_in
from sclvlm.models import Policy
from sclvlm.pictures import load_images
from sclvlm.records import count_images
from sclvlm.rendering import Encoded, Renderer

Paths = tuple[str, ...]


class Asked(NamedTuple):
    """Rows to be encoded: rendered texts, the paths of their pictures, by which these are known, and the pictures."""

    texts: Sequence[str]
    paths: Sequence[Paths]
    pictures: Sequence[Sequence[Image.Image]]

    def distinct(self) -> tuple[Asked, Tensor]:
        """The rows without repetitions, and which of those each of all is, (rows,)."""
        first: dict[tuple[str, Paths], int] = {}
        which = [first.setdefault(row, len(first)) for row in zip(self.texts, self.paths, strict=True)]
        rows = [which.index(number) for number in range(len(first))]
        texts, paths = zip(*first, strict=True)
        return Asked(texts, paths, [self.pictures[row] for row in rows]), torch.tensor(which)


def pictures_of(openings: Sequence[Opening]) -> list[list[Image.Image]]:
    """The pictures of each, decoded; those at the same paths are the same objects."""
    loaded: dict[tuple[Paths, int], list[Image.Image]] = {}
    keys = [(opening.images, count_images([opening.message])) for opening in openings]
    for key, opening in zip(keys, openings, strict=True):
        if key not in loaded:
            loaded[key] = load_images(opening.images, [opening.message])
    return [loaded[key] for key in keys]


@dataclass(frozen=True)
class Rows:
    """Encoded rows, and the model's inputs for the pictures of those among them that are asked for.

    kept: the features of each row's pictures, None where it shows none; without it all rows' pixels are in `encoded`.
    """

    encoded: Encoded
    kept: Sequence[Mapping[str, Any] | None] | None

    def images(self, rows: Sequence[int]) -> dict[str, Any]:
        """For `rows`, which are all of them where there are pixels."""
        if self.kept is None:
            return dict(self.encoded.images)
        return stand_in([each for row in rows if (each := self.kept[row]) is not None])

    @property
    def divisible(self) -> bool:
        """Whether the pictures of some rows can be had without the others'."""
        return self.kept is not None or not self.encoded.images


class Processed(NamedTuple):
    """What a processor makes of rows: of all together, or of each `apart` where several show the same pictures."""

    rows: list[Encoded]
    apart: bool


def processed(renderer: Renderer, asked: Asked) -> Processed:
    """`asked` through the processor. How its tensors of several rows divide into those is its own matter."""
    seen = [paths for paths in asked.paths if paths]
    if len(set(seen)) == len(seen) or why_not_kept(renderer.policy.model):
        return Processed([renderer.encode(asked.texts, asked.pictures)], apart=False)
    rows = zip(asked.texts, asked.pictures, strict=True)
    return Processed([renderer.encode([text], [shown]) for text, shown in rows], apart=True)


def encode(policy: Policy, asked: Asked, made: Processed) -> Rows:
    """`asked`, of which `made` was made, on the policy's device; features stand for pixels of rows that are apart."""
    if not made.apart:
        return Rows(on_device(made.rows[0], policy), None)
    features: dict[Paths, dict[str, Any]] = {}
    for paths, row in zip(asked.paths, made.rows, strict=True):
        if paths and paths not in features:
            features[paths] = features_of(policy, to_model(row.images, policy))
    names = dict.fromkeys(name for row in made.rows for name in row.types)
    types = {name: [row.types.get(name, [[0] * len(row.ids[0])])[0] for row in made.rows] for name in names}
    return Rows(Encoded([row.ids[0] for row in made.rows], {}, types), [features.get(paths) for paths in asked.paths])


def on_device(encoded: Encoded, policy: Policy) -> Encoded:
    """`encoded` with its tensors where the policy is."""
    return encoded._replace(images=to_model(encoded.images, policy))


def to_model(tensors: Mapping[str, Tensor], policy: Policy) -> dict[str, Tensor]:
    """`tensors` on the policy's device, floating point ones in its precision."""
    return {
        name: tensor.to(policy.device, policy.model.dtype if tensor.is_floating_point() else None)
        for name, tensor in tensors.items()
    }
