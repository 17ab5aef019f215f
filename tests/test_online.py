"""HyPO's online term against divergences that can be enumerated."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, tensor

from sclvlm.losses import dpo, hypo, reverse_kl_surrogate, sampled_kl

VOCABULARY = 3


class Words:
    """Every sentence of two words, by a policy of nine plus three logits, and by a fixed reference."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        first = torch.randn(VOCABULARY, generator=random, dtype=torch.float64)
        second = torch.randn(VOCABULARY, VOCABULARY, generator=random, dtype=torch.float64)  # given the first
        self.logits = (first.requires_grad_(), second.requires_grad_())
        self.ref_logps = torch.randn(VOCABULARY**2, generator=random, dtype=torch.float64).log_softmax(0)

    def logps(self) -> Tensor:
        """Of the sentences, (9,)."""
        first, second = self.logits
        return (first.log_softmax(0)[:, None] + second.log_softmax(1)).flatten()

    def gradient(self, value: Tensor) -> Tensor:
        """With respect to all twelve logits."""
        return torch.cat([each.flatten() for each in torch.autograd.grad(value, self.logits)])


def kl(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """sum_y pi(y) * log(pi(y) / pi_ref(y)), differentiated where it stands."""
    return (logps.exp() * (logps - ref_logps)).sum()


def expected(logps: Tensor, ref_logps: Tensor, k: int) -> Tensor:
    """The surrogate's mean over all k-tuples of independent samples, each weighed by its probability."""
    tuples = tensor(list(product(range(len(logps)), repeat=k)))  # (P, k)
    probabilities = logps.detach()[tuples].sum(1).exp()
    return (probabilities * reverse_kl_surrogate(logps[tuples], ref_logps[tuples])).sum()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_mean_gradient_is_the_gradient_of_the_divergence(k: int) -> None:
    words = Words()
    exact = words.gradient(kl(words.logps(), words.ref_logps))
    found = words.gradient(expected(words.logps(), words.ref_logps, k))
    assert exact.abs().max() > 0.1
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)


def variance(words: Words, ref_logps: Tensor, k: int) -> float:
    """Of the gradient that k samples give, summed over the logits."""
    tuples = tensor(list(product(range(VOCABULARY**2), repeat=k)))
    gradients = torch.stack(
        [words.gradient(reverse_kl_surrogate(words.logps()[None, each], ref_logps[None, each])[0]) for each in tuples]
    )
    probabilities = words.logps().detach()[tuples].sum(1).exp()[:, None]
    mean = (probabilities * gradients).sum(0)
    return (probabilities * (gradients - mean) ** 2).sum().item()


def test_the_baseline_removes_more_variance_than_a_second_sample_does() -> None:
    # Without it two samples would have half the variance of one. Far from the reference the log-ratio is mostly the
    # same for all sentences, which is what a baseline takes away.
    words = Words()
    far = words.ref_logps - 5.0
    assert variance(words, far, 2) < 0.25 * variance(words, far, 1)


def test_a_shift_of_all_log_ratios_does_not_count_with_two_samples() -> None:
    logps, ref_logps = tensor([[-1.0, -4.0]]), tensor([[-2.0, -2.0]])
    torch.testing.assert_close(
        reverse_kl_surrogate(logps, ref_logps - 7.0), reverse_kl_surrogate(logps, ref_logps), rtol=0, atol=1e-5
    )


def test_two_prompts_by_hand() -> None:
    # Log-ratios 1, -3 and 3, 1: less the other one 4, -4 and 2, -2.
    logps, ref_logps = tensor([[-5.0, -9.0], [-2.0, -7.0]]), tensor([[-6.0, -6.0], [-5.0, -8.0]])
    expected = tensor([(-5.0 * 4 - 9.0 * -4) / 2, (-2.0 * 2 - 7.0 * -2) / 2])
    torch.testing.assert_close(reverse_kl_surrogate(logps, ref_logps), expected)


def test_the_gradient_of_a_sample_is_its_advantage() -> None:
    logps = tensor([[-5.0, -9.0, -1.0]], requires_grad=True)
    reverse_kl_surrogate(logps, tensor([[-6.0, -6.0, -3.0]])).sum().backward()
    # Log-ratios 1, -3, 2; the others' means -1/2, 3/2, -1; over three samples.
    torch.testing.assert_close(logps.grad, tensor([[1.5, -4.5, 3.0]]) / 3)


def test_one_sample_has_no_baseline() -> None:
    torch.testing.assert_close(reverse_kl_surrogate(tensor([[-5.0]]), tensor([[-6.0]])), tensor([-5.0]))


def test_a_policy_that_is_its_reference_is_left_alone() -> None:
    logps = tensor([[-5.0, -9.0]], requires_grad=True)
    loss = reverse_kl_surrogate(logps, tensor([[-5.0, -9.0]]))
    assert loss.item() == 0
    assert torch.autograd.grad(loss.sum(), logps)[0].eq(0).all()


def test_the_divergence_is_estimated_by_the_mean_log_ratio() -> None:
    logps = tensor([[-5.0, -9.0], [-2.0, -7.0]], requires_grad=True)
    found = sampled_kl(logps, tensor([[-6.0, -6.0], [-5.0, -8.0]]))
    torch.testing.assert_close(found, tensor([-1.0, 2.0]))
    assert not found.requires_grad


def test_hypo_is_dpo_and_the_weighted_online_term() -> None:
    pair = (tensor([[-10.0, -14.0]]), tensor([[-12.0, -13.0]]), tensor([[5, 7]]))
    samples = (tensor([[-5.0, -9.0]]), tensor([[-6.0, -6.0]]))
    found = hypo(*pair, beta=0.5, sampled=samples[0], ref_sampled=samples[1], kl_weight=0.25)
    torch.testing.assert_close(found, tensor([math.log(1 + math.exp(-1.5)) + 0.25 * 8.0]))  # 8 by hand above


def test_hypo_without_samples_is_dpo() -> None:
    pair = (tensor([[-10.0, -14.0]]), tensor([[-12.0, -13.0]]), tensor([[5, 7]]))
    assert torch.equal(hypo(*pair, beta=0.5, kl_weight=0.25), dpo(*pair, beta=0.5))


@pytest.mark.parametrize(
    ("kl_weight", "probabilities", "divergence"),
    [(0.0, (0.896, 0.010, 0.094), 0.73), (0.1, (0.511, 0.007, 0.482), 0.37)],
)
def test_the_online_term_keeps_what_no_pair_has_shown(
    kl_weight: float, probabilities: tuple[float, ...], divergence: float
) -> None:
    """Three answers, a table of logits, a uniform reference, beta 1: the first beats the second, none saw the third.

    Their rewards are 5.5, 1 and 10, so that the first wins with probability sigmoid(4.5). DPO's optimum sets two
    logits apart by 4.5 and leaves the third's where it was: e^2.25, e^-2.25 and 1, normed. With the divergence the
    third comes up until its own log-ratio is the mean one, log(3 * 0.482) = 0.37.
    """
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    reference = torch.full((3,), -math.log(3), dtype=torch.float64)
    tuples = tensor(list(product(range(3), repeat=2)))  # (9, 2)
    pair = tensor([[0, 1]]).expand(9, 2)
    for _ in range(1000):
        logps = logits.log_softmax(0)
        losses = hypo(
            logps[pair],
            reference[pair],
            tensor(1),
            beta=1.0,
            sampled=logps[tuples],
            ref_sampled=reference[tuples],
            kl_weight=kl_weight,
            label_smoothing=1 / (1 + math.exp(4.5)),
        )
        (gradient,) = torch.autograd.grad((losses * logps.detach()[tuples].sum(1).exp()).sum(), logits)
        logits.data -= gradient
    found = logits.detach().log_softmax(0)
    assert found.exp().tolist() == pytest.approx(probabilities, abs=1e-3)
    assert kl(found, reference).item() == pytest.approx(divergence, abs=5e-3)
