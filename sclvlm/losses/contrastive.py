"""Losses of the margin h: the chosen completion's log-ratio to the reference less the rejected one's.

They see how far the two are apart and not where either stands: both may become unlikely together.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def dpo(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """-(1 - e) log sigmoid(beta * h) - e log sigmoid(-beta * h). All (P, 2), result (P,).

    Direct preference optimization, Rafailov et al., arXiv 2305.18290, equation 7. label_smoothing: e, in [0, 0.5],
    the part of the labels thought to be flipped; above 0 it is conservative DPO (Mitchell, A note on DPO with
    noisy preferences & relationship to IPO, 2023), whose margin settles where sigmoid(beta * h) = 1 - e.
    """
    h = beta * _margin(logps, ref_logps)
    return -(1 - label_smoothing) * F.logsigmoid(h) - label_smoothing * F.logsigmoid(-h)


def robust(
    logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float, label_smoothing: float = 0.1
) -> Tensor:
    """((1 - e) L(h) - e L(-h)) / (1 - 2 e) with DPO's L. All (P, 2), result (P,).

    Robust DPO, Chowdhury et al., arXiv 2403.00409, section 3: its mean over labels flipped at the rate e is DPO's
    mean over the clean ones. It has no lower bound. label_smoothing: e. Raises ValueError outside [0, 0.5).
    """
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(
            f"robust: label_smoothing is a rate of flipped labels in [0, 0.5), got {label_smoothing}. "
            "Lower it; where half of the labels are flipped they say nothing."
        )
    h = beta * _margin(logps, ref_logps)
    unlike = label_smoothing * F.logsigmoid(-h) - (1 - label_smoothing) * F.logsigmoid(h)
    return unlike / (1 - 2 * label_smoothing)


def ipo(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float) -> Tensor:
    """(h / tokens - 1 / (2 beta))^2, each log-ratio being a mean over its tokens. All (P, 2), result (P,).

    Identity preference optimization, Azar et al., arXiv 2310.12036, equation 17, with beta for its tau and the
    mean that most frameworks take: the target does not depend on the lengths. `ipo_sum` is the equation itself.
    """
    ratios = (logps - ref_logps) / num_tokens  # (P, 2)
    return (ratios[:, 0] - ratios[:, 1] - 1 / (2 * beta)) ** 2


def ipo_sum(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float) -> Tensor:
    """(h - 1 / (2 beta))^2. All (P, 2), result (P,).

    Identity preference optimization as printed: Azar et al., arXiv 2310.12036, equation 17, beta being its tau.
    """
    return (_margin(logps, ref_logps) - 1 / (2 * beta)) ** 2


def hinge(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float) -> Tensor:
    """max(0, 1 - beta * h). All (P, 2), result (P,).

    SLiC-HF's rank calibration, Zhao et al., arXiv 2305.10425, on log-ratios in place of its log-probabilities:
    the normalised hinge of Liu et al., arXiv 2309.06657. Its margin delta is 1 / beta.
    """
    return F.relu(1 - beta * _margin(logps, ref_logps))


def exo(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float, label_smoothing: float = 1e-3) -> Tensor:
    """KL of (sigmoid(beta * h), sigmoid(-beta * h)) from (1 - e, e). All (P, 2), result (P,).

    Efficient exact optimization over two completions, Ji et al., arXiv 2402.00856, equation 16; `exo_pair`
    elsewhere. label_smoothing: e, the probability left to the rejected one. Raises ValueError outside (0, 1).
    """
    if not 0 < label_smoothing < 1:
        raise ValueError(
            f"exo: label_smoothing is the probability of the rejected completion, in (0, 1), got {label_smoothing}. "
            "The paper takes 0.001; at 0 the divergence is infinite."
        )
    h = beta * _margin(logps, ref_logps)
    right, wrong = F.logsigmoid(h), F.logsigmoid(-h)
    return right.exp() * (right - math.log1p(-label_smoothing)) + wrong.exp() * (wrong - math.log(label_smoothing))


def hybrid_dpo(logps: Tensor, ref_logps: Tensor, num_tokens: Tensor, *, beta: float) -> Tensor:
    """-log sigmoid(beta * (policy margin - max(0, reference margin))). All (P, 2), result (P,).

    Hybrid-DPO, Yuan et al., arXiv 2602.11902. A margin is the chosen log-probability less the rejected one. DPO
    where the reference has the right order; elsewhere the policy is not let off for being merely less wrong.
    Not Song et al.'s HyPO of arXiv 2406.01462, which adds a divergence measured on samples.
    """
    margin, ref_margin = logps[:, 0] - logps[:, 1], ref_logps[:, 0] - ref_logps[:, 1]
    return -F.logsigmoid(beta * (margin - F.relu(ref_margin)))


def _margin(logps: Tensor, ref_logps: Tensor) -> Tensor:
    ratios = logps - ref_logps  # (P, 2)
    return ratios[:, 0] - ratios[:, 1]
