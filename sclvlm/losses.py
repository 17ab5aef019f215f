"""Preference losses: one pure function each, from summed log-probabilities to a loss per prompt.

Shapes: P prompts. All log-probabilities are sums over the completion's scored tokens, in nats, float32.
No reduction: the caller averages over pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def dpo(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float) -> Tensor:
    """-log sigmoid(beta * margin), the margin being that of the policy over the reference. All (P,).

    Direct preference optimization, Rafailov et al., arXiv 2305.18290, equation 7.
    """
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)  # (P,)
    return -F.logsigmoid(beta * margin)


def sft(chosen: Tensor, num_tokens: Tensor) -> Tensor:
    """Mean negative log-likelihood of the chosen completion's tokens. Both (P,)."""
    return -chosen / num_tokens


def rewards(logps: Tensor, ref_logps: Tensor, *, beta: float) -> Tensor:
    """The implicit reward beta * log(policy / reference) of each completion, detached. All (P, N).

    arXiv 2305.18290, equation 5 without the partition function, which margins cancel.
    """
    return beta * (logps - ref_logps).detach()


def accuracy(reward: Tensor) -> Tensor:
    """1 where the chosen reward exceeds the rejected one, one half at a tie, else 0. (P, 2) to (P,)."""
    difference = reward[:, 0] - reward[:, 1]
    return (torch.sign(difference) + 1) / 2
