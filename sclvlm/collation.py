"""Records to a batch: P prompts with N completions each, and the policy's log-probabilities of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from sclvlm.models import counts_positions
from sclvlm.records import Demonstration, PreferencePair
from sclvlm.rendering import Encoded, Renderer, load_images, pad, position_ids


class PromptBatch(TypedDict):
    """P prompts with N completions each, one row a completion: `prompt | completion`, prompts left-padded.

    Completions so begin in the same column, and the last K + 1 positions hold all that is to be predicted.
    """

    inputs: dict[str, Tensor]  # of the model; input_ids (P * N, L), images once a row
    targets: Tensor  # (P * N, K) ids of the completions, right-padded
    mask: Tensor  # (P * N, K) 1 where a target counts
    ids: list[str]  # P record ids
    completions: int  # N


class Logps(NamedTuple):
    """Summed float32 log-probabilities in nats, and how many tokens each sum has. Both (P, N)."""

    sums: Tensor
    num_tokens: Tensor


@dataclass(frozen=True)
class Collator:
    """Turns records that have the same number of completions into a PromptBatch."""

    renderer: Renderer

    def __call__(self, records: Sequence[PreferencePair | Demonstration]) -> PromptBatch:
        prompts = [self.renderer.text(record.prompt, reply=True) for record in records]
        images = [load_images(record.images, record.prompt) for record in records]
        completions = [
            [self.renderer.completion(record.prompt, completion) for completion in record.completions]
            for record in records
        ]
        count = len(completions[0])
        encoded = self.renderer.encode(
            [prompt for prompt in prompts for _ in range(count)],
            [each for each in images for _ in range(count)],
        )
        return build_batch(
            encoded,
            [ids for row in completions for ids in row],
            record_ids=[record.id for record in records],
            pad_id=self.renderer.policy.pad_id,
            positions=self._positions,
        )

    @cached_property
    def _positions(self) -> bool:
        return counts_positions(self.renderer.policy.model)


def build_batch(
    prompts: Encoded,
    completions: Sequence[Sequence[int]],
    *,
    record_ids: list[str],
    pad_id: int,
    positions: bool,
) -> PromptBatch:
    """The batch of `prompts` and `completions` (both P * N rows of ids); masks come from lengths alone.

    positions: count them from each row's first token. Left padding would else shift absolute positions.
    """
    prompt_ids, prompt_mask = pad(prompts.ids, pad_id, left=True)
    targets, mask = pad(completions, pad_id, left=False)
    attention = torch.cat([prompt_mask, mask], 1)
    inputs = {"input_ids": torch.cat([prompt_ids, targets], 1), "attention_mask": attention, **prompts.images}
    for name, types in prompts.types.items():
        inputs[name] = torch.cat([pad(types, 0, left=True)[0], torch.zeros_like(targets)], 1)
    if positions:
        inputs["position_ids"] = position_ids(attention)
    return PromptBatch(
        inputs=inputs,
        targets=targets,
        mask=mask,
        ids=record_ids,
        completions=len(completions) // len(record_ids),
    )


def logps(model: Any, batch: PromptBatch) -> Logps:
    """What `model` gives each completion of `batch`; differentiable."""
    targets, mask = batch["targets"], batch["mask"]
    length, width = batch["inputs"]["input_ids"].shape[1], targets.shape[1]
    # Positions as a tensor: a slice would leave the hidden states strided, for which the CPU copies the whole
    # output embedding once a row.
    predicting = torch.arange(length - width - 1, length - 1, device=targets.device)
    output = model(**batch["inputs"], use_cache=False, logits_to_keep=predicting)
    scores = output.logits.float()  # (P * N, K, vocabulary), each predicts its target
    token_logps = -F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
    shape = (-1, batch["completions"])
    sums = (token_logps.view_as(targets) * mask).sum(-1)
    return Logps(sums.view(shape), mask.sum(-1).view(shape))
