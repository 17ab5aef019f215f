"""What is measured beside a loss."""

from __future__ import annotations

import torch
from torch import Tensor


def rewards(logps: Tensor, ref_logps: Tensor, *, beta: float) -> Tensor:
    """The implicit reward beta * log(policy / reference) of each completion, detached. All (P, N).

    arXiv 2305.18290, equation 5 without the partition function, which margins cancel.
    """
    return beta * (logps - ref_logps).detach()


def accuracy(reward: Tensor) -> Tensor:
    """1 where the chosen reward exceeds the rejected one, one half at a tie, else 0. (P, 2) to (P,)."""
    return (torch.sign(reward[:, 0] - reward[:, 1]) + 1) / 2
