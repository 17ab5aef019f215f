"""Losses that also look at completions which the policy says itself: k samples of each prompt, y ~ policy.

Log-probabilities are sums over a sample's tokens, in nats, and so is what is estimated from them: of the sequence. It
is exact for what was drawn from, which is the policy at temperature 1, without top-k or top-p. A completion cut at its
longest allowed length has no end token, and stands for all that begin so.
"""

from __future__ import annotations

from torch import Tensor

from sclvlm.losses.contrastive import dpo


def reverse_kl_surrogate(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """mean_i log pi(y_i) * sg(A_i): its mean gradient is that of KL(policy || reference). (P, k) to (P,).

    sg stops the gradient; A_i = a_i - mean of the other a_j, a = log pi - log pi_ref, and for k = 1 A = a. Song et al.,
    arXiv 2406.01462, section 5 (HyPO's online term). The baseline of the prompt's other samples (RLOO, Kool et al.,
    2019) is independent of y_i, so it changes the variance and not the mean. The value itself estimates nothing; see
    `sampled_kl`. Second derivatives are not those of the divergence.
    """
    ratio = (logps - ref_logps).detach()  # (P, k)
    return (logps * (ratio - _mean_of_others(ratio))).mean(1)


def _mean_of_others(values: Tensor) -> Tensor:
    """The mean of the row without the value itself; 0 where a row holds one alone. (P, k) to (P, k)."""
    count = values.shape[1]
    return (values.sum(1, keepdim=True) - values) / max(count - 1, 1)


def sampled_kl(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """mean_i (log pi(y_i) - log pi_ref(y_i)), an unbiased estimate of KL(policy || reference). (P, k) to (P,).

    In nats a sequence, detached. Of few samples it may be negative, which the divergence is not.
    """
    return (logps - ref_logps).detach().mean(1)


def hypo(
    logps: Tensor,
    ref_logps: Tensor,
    num_tokens: Tensor,
    *,
    beta: float,
    sampled: Tensor | None = None,
    ref_sampled: Tensor | None = None,
    kl_weight: float = 1e-3,
    label_smoothing: float = 0.0,
) -> Tensor:
    """DPO on the pair + kl_weight * `reverse_kl_surrogate` on samples. Pairs (P, 2), samples (P, k), result (P,).

    Hybrid preference optimization, Song et al., arXiv 2406.01462, algorithm 1; kl_weight is its lambda,
    label_smoothing dpo's. Without samples, as on held-out pairs, the pair's part alone. `hybrid_dpo` is another method
    of a similar name.
    """
    loss = dpo(logps, ref_logps, num_tokens, beta=beta, label_smoothing=label_smoothing)
    if sampled is None or ref_sampled is None:
        return loss
    return loss + kl_weight * reverse_kl_surrogate(sampled, ref_sampled)
