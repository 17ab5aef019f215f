"""Records with pictures, and policies whose adapters do something: what tests of kept features need."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from sclvlm.collation import Collator
from sclvlm.features import FeatureCache
from sclvlm.models import Policy
from sclvlm.pictures import load_images
from sclvlm.records import PreferencePair, text_message
from sclvlm.rendering import Renderer
from sclvlm.tuning import Lora, tune
from tests import families

Layout = Literal["plain", "shared"]
SEEING: list[Any] = [*families.SEEING, "gemma3"]
# Its processor makes an array of a tensor in a way that numpy warns of.
WARNS = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
SEEING.append(pytest.param("paligemma", marks=WARNS))
ROOMY = 1.0  # GB, more than any test needs


@cache
def adapted(family: str) -> Policy:
    """The family's policy with adapters that do something."""
    bare = families.build(family)
    model = tune(bare.model, Lora(2, 4, 0.0, ["q_proj", "v_proj"]))
    with torch.no_grad():
        for parameter in learning(model):
            parameter.normal_(std=0.1)
    return Policy(model.eval(), bare.processor, bare.ref)


def learning(model: Any) -> list[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def pair(*images: str) -> PreferencePair:
    return PreferencePair(
        id=" ".join(images),
        prompt=[text_message("user", "Hm?" * len(images), images=len(images))],
        chosen=[text_message("assistant", "A red square.")],
        rejected=[text_message("assistant", "No.")],
        images=images,
    )


def processed(policy: Policy, *images: str) -> dict[str, Tensor]:
    """What the processor makes of `images` in a prompt."""
    renderer, prompt = Renderer(policy), pair(*images).prompt
    return renderer.encode([renderer.text(prompt, reply=True)], [load_images(images, prompt)]).images


def kept(features: FeatureCache, *images: str) -> str:
    return features.ensure(images, lambda: processed(features.policy, *images))


def never() -> dict[str, Tensor]:
    raise AssertionError("the processor was called")


def both(policy: Policy, pairs: Sequence[PreferencePair], folder: Path, layout: Layout = "plain") -> tuple[Any, Any]:
    """One batch with pixels, the same with kept features."""
    batch = Collator(Renderer(policy), layout)(pairs)
    features = FeatureCache(policy, folder, limit_gb=ROOMY)
    repeats = 2 if layout == "plain" else 1  # rows a pair
    pictures = features.files.batch([key for each in pairs for key in [kept(features, *each.images)] * repeats])
    names = processed(policy, *pairs[0].images).keys()
    for name in (name for name in names if not name.startswith("pixel_")):
        assert torch.equal(pictures[name], batch["inputs"][name])  # in the order of the rows
    words = {name: tensor for name, tensor in batch["inputs"].items() if name not in names}
    return batch, {**batch, "inputs": {**words, **pictures}}
