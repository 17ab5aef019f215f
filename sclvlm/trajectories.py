"""Episodes to a batch, for policies that act: a row a completion, a frame and an action a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sclvlm.agents.trajectories import TrajectoryProcessor
from sclvlm.collation import Layout, PromptBatch, Record, Size, labelled
from sclvlm.models import Policy
from sclvlm.rendering import pad


class Played(NamedTuple):
    """What was seen before each action, (steps, pixels, pixels, 3), and the actions."""

    frames: Tensor
    actions: list[int]


@dataclass(frozen=True)
class TrajectoryCollator:
    """Turns records of episodes that have the same number of completions into a PromptBatch; see `Collator`.

    Frames are shown anew by the world. Siblings share no more than their first one, so the layout is plain.
    """

    policy: Policy
    layout: Layout = "plain"

    def __call__(self, records: Sequence[Record]) -> PromptBatch:
        rows = [self._played(record, number) for record in records for number in range(len(records[0].completions))]
        targets, mask = pad([row.actions for row in rows], 0, left=False)
        batch = PromptBatch(
            inputs={"frames": _stacked([row.frames for row in rows]), "actions": targets},
            siblings={},
            predicting=torch.arange(targets.shape[1]),
            targets=targets,
            mask=mask,
            weights=torch.tensor([record.weight for record in records]),
            ids=[record.id for record in records],
            completions=len(records[0].completions),
        )
        return labelled(batch, records)

    def length(self, record: Record) -> int:
        """Actions of the longest completion."""
        return sum(self.size(record))

    def size(self, record: Record) -> Size:
        """The same; a prompt has no steps of its own."""
        return Size(0, max(len(self._processor.actions(completion)) for completion in record.completions))

    @property
    def _processor(self) -> TrajectoryProcessor:
        processor: TrajectoryProcessor = self.policy.processor
        return processor

    def _played(self, record: Record, number: int) -> Played:
        actions = self._processor.actions(record.completions[number])
        episode = self._processor.episode(record.prompt, actions)
        return Played(torch.from_numpy(episode.frames), actions)


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """Rows of frames as one tensor, black behind the shorter ones."""
    frames = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), dtype=np.uint8)
    for place, row in enumerate(rows):
        frames[place, : len(row)] = row
    return torch.from_numpy(frames)
