"""The small VLM's new part starts where training can move it."""

from __future__ import annotations

import torch
from torch import nn

from data_pipelines.small_vlm import GAIN, start


def test_the_projector_starts_with_weights_that_scale_with_their_fan_in() -> None:
    torch.manual_seed(0)
    wide, narrow = nn.Linear(1600, 400), nn.Linear(100, 400)
    start(nn.Sequential(wide, nn.GELU(), narrow))
    torch.testing.assert_close(wide.weight.std(), torch.tensor(GAIN / 40), rtol=0.02, atol=0)
    torch.testing.assert_close(narrow.weight.std(), torch.tensor(GAIN / 10), rtol=0.02, atol=0)
