"""A tiny world, a tiny policy that acts in it, and pairs of its episodes."""

from __future__ import annotations

from pathlib import Path

import torch

from sclvlm.agents.play import question
from sclvlm.agents.policy import AgentConfig, AgentPolicy
from sclvlm.agents.trajectories import TrajectoryProcessor, told
from sclvlm.agents.world import World
from sclvlm.records import PreferencePair, text_message

SMALL = World(size=6, cell=2, steps=9, obstacles=2)
NORTH, SOUTH, WEST, EAST = range(4)
PLAYED = {  # start: the actions of two episodes that end at no exit
    1: ([NORTH, EAST, NORTH], [WEST, SOUTH]),
    2: ([EAST], [EAST, EAST, SOUTH, WEST, WEST]),
    3: ([SOUTH, WEST], [SOUTH, EAST, SOUTH]),
    4: ([WEST, NORTH, SOUTH, EAST], [SOUTH]),
}


def agent(folder: Path) -> Path:
    """A policy of random weights, saved as an ordinary transformers directory."""
    torch.manual_seed(5)
    config = AgentConfig(
        pixels=SMALL.pixels,
        patch=SMALL.cell,
        channels=8,
        hidden_size=16,
        intermediate_size=24,
        num_attention_heads=2,
        context=4,
    )
    AgentPolicy(config).save_pretrained(folder)
    TrajectoryProcessor(SMALL).save_pretrained(folder)
    return folder


def pairs() -> list[PreferencePair]:
    """Four ragged pairs."""
    return [
        PreferencePair(
            id=f"start-{start}",
            prompt=[text_message("user", question(start))],
            chosen=[text_message("assistant", told(chosen, None))],
            rejected=[text_message("assistant", told(rejected, None))],
        )
        for start, (chosen, rejected) in PLAYED.items()
    ]
