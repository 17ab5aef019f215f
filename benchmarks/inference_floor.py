"""The least that two-turn inference can cost: each token through the language model's matrices once, nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import linear

from benchmarks.floor import language_model
from sclvlm.engines import Opening, Reply
from sclvlm.engines.batching import Widths
from sclvlm.models import Policy
from sclvlm.records import Message
from sclvlm.rendering import Renderer


class Rates(NamedTuple):
    """What a core does in a second of its time."""

    operations: float  # additions and multiplications of a product with many rows
    weights: float  # numbers of the matrices read, in products with one row


def measured(policy: Policy) -> Rates:
    """The rates of this machine on the matrices of `policy` itself, each layer's once and the output embedding."""
    matrices = matrices_of(policy)
    count = sum(each.numel() for each in matrices)
    return Rates(
        2 * count * 512 / _seconds(lambda: _products(matrices, 512)), count / _seconds(lambda: _products(matrices, 1))
    )


def matrices_of(policy: Policy) -> list[torch.Tensor]:
    """The weights that each generated token passes through."""
    layers = [module.weight for module in language_model(policy.model).modules() if isinstance(module, nn.Linear)]
    return [*layers, policy.model.get_output_embeddings().weight]


@torch.inference_mode()
def _products(matrices: Sequence[torch.Tensor], rows: int) -> None:
    for each in matrices:
        linear(torch.ones(rows, each.shape[1]), each)


def _seconds(work: Callable[[], None], repeats: int = 5) -> float:
    """Of the core's time, the fastest of some runs."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def seconds(
    policy: Policy,
    openings: Sequence[Opening],
    follow_ups: Sequence[Message],
    replies: Sequence[Sequence[Reply]],
    batch: int,
    rates: Rates,
) -> float:
    """Seconds of a core for these conversations, held `batch` at once.

    Prompts and follow-ups go through the matrices once, at the rate of many rows (but the output embedding, which
    their last token alone needs). A step of writing reads every matrix once, or multiplies it with as many rows as
    still write, whichever takes longer. Towers, attention, picking and pictures' files count nothing.
    """
    read = sum(Widths(Renderer(policy)).rows(openings, follow_ups, 0))
    *layers, head = matrices_of(policy)
    body = sum(each.numel() for each in layers)
    total = 2 * (body * read + head.numel() * len(openings) * (1 + len(follow_ups))) / rates.operations
    for start in range(0, len(replies), batch):
        for turn in zip(*replies[start : start + batch], strict=True):
            total += sum(_step(body + head.numel(), rows, rates) for rows in writing(turn))
    return total


def writing(turn: Sequence[Reply]) -> list[int]:
    """How many rows write a second token, a third one, and so on: the first one comes with the prompt."""
    return [sum(reply.num_tokens > step for reply in turn) for step in range(1, max(r.num_tokens for r in turn))]


def _step(weights: int, rows: int, rates: Rates) -> float:
    return max(2 * weights * rows / rates.operations, weights / rates.weights)
