"""Weights that go with any loss: of tokens before they are summed, and of pairs before they are averaged."""

from __future__ import annotations

import torch
from torch import Tensor


def length_weights(mask: Tensor, *, alpha: float) -> Tensor:
    """Weights of completion tokens: 1 up to the shortest sibling's length, alpha beyond it. Both (P, N, T).

    Length-desensitised DPO, Liu et al., arXiv 2409.06411: policy and reference both sum log-probabilities times
    these weights. mask: which of the T places hold a token of the completion, anywhere in the row; the others
    weigh 0. Result float32. alpha: in [0, 1]; at 1 the sum is the plain one, at 0 the surplus is ignored.
    """
    ordinal = mask.cumsum(-1)  # (P, N, T), from 1 at a completion's first token
    shortest = mask.sum(-1).amin(1)[:, None, None]
    return torch.where(ordinal <= shortest, 1.0, alpha) * mask


def wpo_weights(logps: Tensor, num_tokens: Tensor, *, aligned: Tensor | None = None) -> Tensor:
    """The weight of each pair: the product of its completions' likelihoods under the policy. (P, N) to (P,).

    Weighted preference optimization, Zhou et al., arXiv 2406.11827: off-policy pairs count by how likely the
    policy is to say them. A likelihood is the geometric mean over tokens of p(token) / a, a being what the
    policy's own words would get there. Carries no gradient.

    aligned: (P, N), log a summed over a completion's tokens, in nats. With a = sum over the vocabulary of p^2 it is
    the paper's sampled alignment, equation 2, which may exceed 1; with a = max p its greedy alignment; None is
    a = 1, the length-normalised likelihood alone, which favours places where the policy is sure.
    """
    logps = logps.detach() if aligned is None else (logps - aligned).detach()
    return (logps / num_tokens).sum(1).exp()
