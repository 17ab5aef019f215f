"""Losses that ask no reference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sft(logps: Tensor, ref_logps: Tensor | None, num_tokens: Tensor, *, beta: float) -> Tensor:
    """Mean negative log-likelihood of the first completion's tokens. All (P, N), result (P,).

    Pref-FT, the supervised baseline of arXiv 2404.14367, section 4; the anchor that SCL adds to DPO. Ignores beta.
    """
    return -logps[:, 0] / num_tokens[:, 0]


def orpo(logps: Tensor, ref_logps: Tensor | None, num_tokens: Tensor, *, beta: float) -> Tensor:
    """sft - beta * log sigmoid(log-odds of the chosen less those of the rejected). All (P, 2), result (P,).

    Odds ratio preference optimization, Hong et al., arXiv 2403.07691, equations 3, 4, 6 and 7, beta being its
    lambda. The odds p / (1 - p) are of the geometric mean p of the token probabilities. The likelihood is of the
    completion; TRL's also counts the prompt.
    """
    # Where p is 1 the odds are infinite: no closer than one rounding, and from there no pull.
    means = (logps / num_tokens).clamp(max=-torch.finfo(logps.dtype).eps)  # (P, 2)
    odds = means - torch.log(-torch.expm1(means))
    return sft(logps, None, num_tokens, beta=beta) - beta * F.logsigmoid(odds[:, 0] - odds[:, 1])


def simpo(logps: Tensor, ref_logps: Tensor | None, num_tokens: Tensor, *, beta: float, gamma: float = 0.5) -> Tensor:
    """-log sigmoid(beta * (mean chosen - mean rejected) - gamma). All (P, 2), result (P,).

    Simple preference optimization, Meng et al., arXiv 2405.14734, equation 6; the means are of log-probabilities
    over tokens. gamma: the target margin, in units of beta * nats; the paper's beta is 2 and more.
    """
    means = logps / num_tokens  # (P, 2)
    return -F.logsigmoid(beta * (means[:, 0] - means[:, 1]) - gamma)


def cpo(logps: Tensor, ref_logps: Tensor | None, num_tokens: Tensor, *, beta: float, cpo_alpha: float = 1.0) -> Tensor:
    """-log sigmoid(beta * (chosen - rejected)) + cpo_alpha * sft. All (P, 2), result (P,).

    Contrastive preference optimization, Xu et al., arXiv 2401.08417, equation 3 and the likelihood that follows
    it: DPO against a uniform reference. The paper sums the likelihood over the tokens, cpo_alpha weights its mean
    over a pair's; TRL's is a mean over the batch's, which differs where chosen lengths do.
    """
    prefer = -F.logsigmoid(beta * (logps[:, 0] - logps[:, 1]))
    return prefer + cpo_alpha * sft(logps, None, num_tokens, beta=beta)
