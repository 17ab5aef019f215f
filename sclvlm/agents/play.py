"""Scripted play: episodes to imitate, starts to play from, and a policy that knows nothing yet.

    python -m sclvlm.agents.play --out data/three_exits --prefer left

The player walks to the left, the middle or the right exit, some more often than others, or only strolls, and slips now
and then. Which one it has in mind shows in nothing but its way.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sclvlm.agents.policy import AgentConfig, AgentPolicy
from sclvlm.agents.trajectories import TrajectoryProcessor, told
from sclvlm.agents.world import ACTIONS, EXITS, MOVES, World
from sclvlm.errors import SclvlmError
from sclvlm.records import LETTERS, AnswerKind, Demonstration, Sample, text_message
from sclvlm.storage import partial_path, write_records, write_text

SHARES = (0.3, 0.45, 0.15)  # of the exits in the player's mind; else it strolls
SLIPS = 0.1  # share of actions that are drawn at random
NUMBERS = {"demonstrations": 0, "held_out": 100_000, "train": 200_000, "test": 400_000}  # first start of each file
PREFERENCES = ("left", "middle", "right")


class Counts(NamedTuple):
    """How many records of each kind to write."""

    demonstrations: int = 2400
    held_out: int = 200
    train: int = 1200
    test: int = 400


def play(world: World, start: int, seed: int) -> tuple[list[int], int | None]:
    """The scripted player's actions from `start`, and which exit they reached, if any."""
    random = np.random.default_rng([seed, start])
    goal = int(random.choice(len(EXITS) + 1, p=[*SHARES, 1 - sum(SHARES)]))
    towards = world.distances(start, world.exits[goal]) if goal < len(EXITS) else None
    agent, actions = world.layout(start).agent, list[int]()
    while len(actions) < world.steps and world.reached(agent) is None:
        ahead = list(range(len(ACTIONS)))
        if towards is not None and random.random() >= SLIPS:
            left = {action: towards[world.move(start, agent, action)] for action in ahead}
            nearest = min(distance for distance in left.values() if distance >= 0)
            ahead = [action for action, distance in left.items() if distance == nearest]
        actions.append(int(random.choice(ahead)))
        agent = world.move(start, agent, actions[-1])
    return actions, world.reached(agent)


def demonstrations(world: World, starts: Sequence[int], seed: int) -> Iterator[Demonstration]:
    """An episode of scripted play from each start."""
    for start in starts:
        actions, reached = play(world, start, seed)
        yield Demonstration(
            id=name(start),
            prompt=[text_message("user", question(start))],
            completion=[text_message("assistant", told(actions, reached))],
            source="scripted play",
            meta={"exit": None if reached is None else EXITS[reached]},
        )


def samples(starts: Sequence[int], preferred: int) -> Iterator[Sample]:
    """Each start as a question whose right answer is the preferred exit, an index of EXITS."""
    for start in starts:
        yield Sample(
            id=name(start),
            question=question(start),
            kind=AnswerKind.CHOICE,
            choices=EXITS,
            answer=LETTERS[preferred],
        )


def name(start: int) -> str:
    """A record's id."""
    return f"start-{start}"


def question(start: int) -> str:
    """A prompt's text."""
    return f"Leave by an exit. start {start}"


def fresh_policy(world: World, seed: int) -> AgentPolicy:
    """A policy for `world` with random weights."""
    torch.manual_seed(seed)
    return AgentPolicy(AgentConfig(actions=len(MOVES), pixels=world.pixels, patch=world.cell))


def write(out: Path, preferred: int, counts: Counts, seed: int, world: World) -> None:
    """Everything into the folder `out`, which appears whole or not at all."""
    partial = partial_path(out)
    shutil.rmtree(partial, ignore_errors=True)
    starts = {key: range(NUMBERS[key], NUMBERS[key] + count) for key, count in counts._asdict().items()}
    for key in ("demonstrations", "held_out"):
        write_records(partial / f"{key}.jsonl", demonstrations(world, starts[key], seed))
    for key in ("train", "test"):
        write_records(partial / f"{key}.jsonl", samples(starts[key], preferred))
    fresh_policy(world, seed).save_pretrained(partial / "policy")
    TrajectoryProcessor(world).save_pretrained(partial / "policy")
    write_text(partial / "card.md", _card(world, starts, preferred, seed))
    os.replace(partial, out)


def _card(world: World, starts: dict[str, range], preferred: int, seed: int) -> str:
    reached = Counter(play(world, start, seed)[1] for start in starts["demonstrations"])
    total = max(len(starts["demonstrations"]), 1)
    ends = {"none": reached[None]} | {exit_: reached[place] for place, exit_ in enumerate(EXITS)}
    shares = ", ".join(f"{end} {100 * count / total:.1f} %" for end, count in ends.items())
    files = "\n".join(f"- {key}: {len(numbers)} starts, from {numbers.start} on" for key, numbers in starts.items())
    return (
        f"# Three exits\n\nMade by `sclvlm.agents.play` with seed {seed}; preferred: {EXITS[preferred]}. {world}.\n\n"
        f"{files}\n\nExits in demonstrations.jsonl: {shares}. No start is in two files.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the folder unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--prefer", choices=PREFERENCES, default="left", help="the exit that is right")
    parser.add_argument("--seed", type=int, default=0, help="of the scripted player and of the fresh weights")
    for key, count in Counts._field_defaults.items():
        parser.add_argument(f"--{key.replace('_', '-')}", type=int, default=count, help=f"records in {key}.jsonl")
    asked = parser.parse_args(arguments)
    if asked.out.exists():
        print(f"{asked.out}: there already; remove it to make it anew")
        return 0
    counts = Counts(**{key: getattr(asked, key) for key in Counts._fields})
    try:
        write(asked.out, PREFERENCES.index(asked.prefer), counts, asked.seed, World())
    except SclvlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{asked.out}: made")
    return 0


if __name__ == "__main__":
    sys.exit(main())
