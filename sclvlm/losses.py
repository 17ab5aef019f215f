"""Preference losses: one pure function each, from summed log-probabilities to a loss per prompt.

Shapes: P prompts with N completions, chosen first. Log-probabilities are sums over a completion's tokens, in
nats, float32. Every loss takes the same arguments, ignores what it does not need, and reduces nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[..., Tensor]


def dpo(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float) -> Tensor:
    """-log sigmoid(beta * h), h being the chosen log-ratio to the reference less the rejected one.

    All (P, 2), result (P,). Direct preference optimization, Rafailov et al., arXiv 2305.18290, equation 7.
    """
    ratios = logps - ref_logps  # (P, 2)
    return -F.logsigmoid(beta * (ratios[:, 0] - ratios[:, 1]))


def sft(logps: Tensor, ref_logps: Tensor | None, num_tokens: Tensor, *, beta: float) -> Tensor:
    """Mean negative log-likelihood of the first completion's tokens. All (P, N), result (P,).

    Pref-FT, the supervised baseline of arXiv 2404.14367, section 4; the anchor that SCL adds to DPO.
    """
    return -logps[:, 0] / num_tokens[:, 0]


LOSSES: dict[str, Loss] = {"dpo": dpo, "sft": sft}
NEEDS_REFERENCE = frozenset({"dpo"})
NEEDS_PAIRS = frozenset({"dpo"})


def rewards(logps: Tensor, ref_logps: Tensor, *, beta: float) -> Tensor:
    """The implicit reward beta * log(policy / reference) of each completion, detached. All (P, N).

    arXiv 2305.18290, equation 5 without the partition function, which margins cancel.
    """
    return beta * (logps - ref_logps).detach()


def accuracy(reward: Tensor) -> Tensor:
    """1 where the chosen reward exceeds the rejected one, one half at a tie, else 0. (P, 2) to (P,)."""
    return (torch.sign(reward[:, 0] - reward[:, 1]) + 1) / 2
