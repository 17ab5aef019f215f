"""The parts of a vision-language model, told by the names of its modules, and the ways in which each can train."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Part = Literal["language", "projector", "vision"]
Way = Literal["frozen", "lora", "full"]

VISION_NAMES = r"vision(?!_moe)\w*|visual|image_encoder"  # ERNIE's vision_moe are experts of its language model
PROJECTOR_NAMES = r"multi_modal_projector|connector|merger|deepstack_merger_list|aligner|mm_projector|resampler_model"
VISION = re.compile(rf"(^|\.)({VISION_NAMES})($|\.)")
PROJECTOR = re.compile(rf"(^|\.)({PROJECTOR_NAMES})($|\.)")


def part_of(name: str) -> Part:
    """The part that the module or tensor called `name` belongs to; some families keep the projector in the encoder."""
    if PROJECTOR.search(name):
        return "projector"
    return "vision" if VISION.search(name) else "language"


def holds_all(ways: Mapping[Part, Way]) -> bool:
    """Whether an adapter holds all that trains in these ways: something is adapted, the language model is not whole."""
    return ways["language"] != "full" and "lora" in ways.values()
