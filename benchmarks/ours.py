"""Our side of the comparisons: the training stage itself, as `sclvlm train` runs it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import transformers.trainer
from transformers import TrainerCallback

from benchmarks.peers import BETA, LORA
from sclvlm import training
from sclvlm.config import ModelSection, TrainSection

# What a user would write under `train:` to get the fastest exact run; TRAIN_ARGS goes under `train.args:`.
TRAIN: dict[str, Any] = {"loss": "dpo", "beta": BETA, "lora": LORA.model_dump(), "max_length": 4096}
TRAIN_ARGS: dict[str, Any] = {"save_strategy": "no"}


def train(
    model: Path,
    pairs: Path,
    folder: Path,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    changed: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> list[dict[str, float]]:
    """`sclvlm.training.train` with TRAIN overlaid by `changed`, train.args by `arguments`. Returns the log it kept.

    model is loaded in float32 on the CPU. A new `folder` starts from empty caches. Raises what the stage raises.
    """
    settings = {**TRAIN, **(changed or {}), "args": {**TRAIN_ARGS, **arguments}}
    folder.mkdir(parents=True, exist_ok=True)
    # The stage takes no callbacks; the Trainer's own list of defaults lets us watch without changing it.
    watched = [*transformers.trainer.DEFAULT_CALLBACKS, *callbacks]
    own_cache = patch.dict(os.environ, {"SCLVLM_CACHE": str(folder / "cache")})
    with patch.object(transformers.trainer, "DEFAULT_CALLBACKS", watched), own_cache:
        training.train(
            pairs,
            folder,
            model=ModelSection(path=str(model), dtype="float32", device="cpu"),
            settings=TrainSection.model_validate(settings),
            seed=0,
        )
    history: list[dict[str, float]] = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return history
