"""Four pairs are learned by heart in every family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sclvlm.models import Policy
from sclvlm.tuning import Lora, tune
from tests import families
from tests.pictured import WARNS
from tests.test_trainer import pairs, steps, trainer

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "in_proj_qkvz", "out_proj"]
TARGETS = {"gpt2": ["c_attn", "c_proj", "c_fc"], "mamba": ["in_proj", "x_proj"], "qwen3_next": LINEAR}
USUAL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FAMILIES = [*families.SEEING, *families.READING, *families.UNSHARED]
SIGHTLESS = [*families.READING, "mamba", "qwen3_next"]
MARKED: Sequence[Any] = [pytest.param(each, marks=WARNS) if each == "paligemma" else each for each in FAMILIES]


@pytest.mark.parametrize("family", MARKED)
def test_adapters_overfit_four_pairs(family: str, pictures: list[str], tmp_path: Path) -> None:
    bare = families.build(family)
    model = tune(bare.model, Lora(4, 16, 0.0, TARGETS.get(family, USUAL)))
    records = pairs(None if family in SIGHTLESS else pictures)
    settings = {"optim": "adamw_torch", "learning_rate": 0.02, "max_steps": 12}
    trained = trainer(Policy(model, bare.processor, bare.ref), records, tmp_path, **settings)
    trained.train()
    assert steps(trained)[-1] < 0.3 * math.log(2)
    assert steps(trained, "rewards/accuracies")[-1] == 1.0
