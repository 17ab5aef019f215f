"""Losses of where each completion stands, by its own log-ratio r to the reference: w chosen, l rejected.

Unlike a loss of the margin they say in which direction either one is to move.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def apo_zero(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float) -> Tensor:
    """1 - sigmoid(beta * r_w) + sigmoid(beta * r_l): chosen up, rejected down. All (P, 2), result (P,).

    Anchored preference optimization, D'Oosterlinck et al., arXiv 2408.06266, equation 7: for chosen completions
    that are better than what the model says.
    """
    chosen, rejected = (beta * (logps - ref_logps)).unbind(1)
    return torch.sigmoid(-chosen) + torch.sigmoid(rejected)


def apo_down(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float) -> Tensor:
    """sigmoid(beta * r_w) + 1 - sigmoid(beta * (r_w - r_l)): both down, rejected more. All (P, 2), result (P,).

    Anchored preference optimization, D'Oosterlinck et al., arXiv 2408.06266, equation 8: for chosen completions
    that are worse than what the model says.
    """
    chosen, rejected = (beta * (logps - ref_logps)).unbind(1)
    return torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)


def sppo(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float) -> Tensor:
    """(r_w - 1 / (2 beta))^2 + (r_l + 1 / (2 beta))^2. All (P, 2), result (P,).

    Self-play preference optimization, Wu et al., arXiv 2405.00675, equation 4.7, with 1 / beta for its eta, and
    with hard labels: the chosen completion wins with probability 1. `sppo_hard` elsewhere.
    """
    chosen, rejected = (logps - ref_logps).unbind(1)
    return (chosen - 1 / (2 * beta)) ** 2 + (rejected + 1 / (2 * beta)) ** 2


def nca(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float) -> Tensor:
    """-log s(beta r_w) - (log s(-beta r_w) + log s(-beta r_l)) / 2, s the sigmoid. All (P, 2), result (P,).

    Noise contrastive alignment, Chen et al., arXiv 2402.05369, section 4, of two completions of which the chosen
    one has the whole reward; `nca_pair` elsewhere.
    """
    chosen, rejected = (beta * (logps - ref_logps)).unbind(1)
    noise = F.logsigmoid(-chosen) + F.logsigmoid(-rejected)
    return -F.logsigmoid(chosen) - noise / 2


def kto(
    logps: Tensor,
    ref_logps: Tensor,
    num_tokens: Tensor,
    *,
    beta: float,
    kl: Tensor,
    desirable: Tensor | None = None,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """weight * (1 - sigmoid(+-beta * (r - kl))), + where desirable, mean over the completions. Result (P,).

    Kahneman-Tversky optimization, Ethayarajh et al., arXiv 2402.01306, section 4, for any number of completions.
    Log-probabilities (P, N). desirable: bool (P, N); None takes the first completion for desirable and the others
    not, which is KTO over pairs. kl: a scalar, or whatever broadcasts to (P, N), in nats; see `kl_estimate`.
    The weights are the paper's lambdas. The mean of this mean is the mean over completions.
    """
    if desirable is None:
        desirable = torch.arange(logps.shape[1], device=logps.device).expand_as(logps) == 0
    gains = beta * (logps - ref_logps - kl)  # (P, N)
    signed = torch.where(desirable, gains, -gains)
    weights = torch.where(desirable, desirable_weight, undesirable_weight)
    return (weights * torch.sigmoid(-signed)).mean(1)


def kl_estimate(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """KTO's reference point: the mean log-ratio of all completions given, but at least 0. (P, N) to ().

    Carries no gradient. arXiv 2402.01306, section 4, gives it each prompt with the completion of another one, as
    training does (`sclvlm.records.mismatches`). A batch's own completions cost no pass more, but were picked for what
    is to be learnt.
    """
    return (logps - ref_logps).detach().mean().clamp(min=0)
