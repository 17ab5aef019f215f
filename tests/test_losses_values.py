"""Each loss by hand, on two pairs whose log-ratios to the reference are (2, -1) and (0, 3): margins 3 and -3."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, tensor

from sclvlm.losses import (
    LOSSES,
    apo_down,
    apo_zero,
    cpo,
    dpo,
    exo,
    hinge,
    hybrid_dpo,
    ipo,
    ipo_sum,
    kl_estimate,
    kto,
    nca,
    orpo,
    robust,
    sft,
    simpo,
    sppo,
)

LOGPS = tensor([[-10.0, -14.0], [-3.0, -2.0]])  # chosen, rejected
REFERENCE = tensor([[-12.0, -13.0], [-3.0, -5.0]])
NUM_TOKENS = tensor([[5, 7], [4, 2]])
PAIRS = (LOGPS, REFERENCE, NUM_TOKENS)

log2 = math.log(2)


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x)."""
    return 1 / (1 + math.exp(-x))


def surprise(x: float) -> float:
    """-log sigmoid(x)."""
    return math.log(1 + math.exp(-x))


def is_close(found: Tensor, first: float, second: float) -> None:
    """Checks the losses of the two pairs to float32 accuracy."""
    torch.testing.assert_close(found, tensor([first, second], dtype=torch.float32))


def test_dpo() -> None:
    is_close(dpo(*PAIRS, beta=0.5), surprise(1.5), surprise(-1.5))


def test_dpo_with_smoothed_labels_believes_a_tenth_of_them_flipped() -> None:
    conservative = dpo(*PAIRS, beta=0.5, label_smoothing=0.1)
    right, wrong = surprise(1.5), surprise(-1.5)
    is_close(conservative, 0.9 * right + 0.1 * wrong, 0.9 * wrong + 0.1 * right)


def test_dpo_with_smoothed_labels_is_least_at_the_odds_of_a_right_label() -> None:
    margin = tensor([[math.log(9.0), 0.0]], requires_grad=True)  # sigmoid(log 9) = 0.9
    dpo(margin, torch.zeros(1, 2), NUM_TOKENS[:1], beta=1.0, label_smoothing=0.1).sum().backward()
    torch.testing.assert_close(margin.grad, torch.zeros(1, 2))


def test_robust() -> None:
    right, wrong = surprise(1.5), surprise(-1.5)
    first, second = (0.9 * right - 0.1 * wrong) / 0.8, (0.9 * wrong - 0.1 * right) / 0.8
    is_close(robust(*PAIRS, beta=0.5, label_smoothing=0.1), first, second)


def test_robust_over_flipped_labels_is_dpo_over_clean_ones() -> None:
    flipped = [each.flip(1) for each in PAIRS]
    noisy = 0.8 * robust(*PAIRS, beta=0.5, label_smoothing=0.2) + 0.2 * robust(*flipped, beta=0.5, label_smoothing=0.2)
    torch.testing.assert_close(noisy, dpo(*PAIRS, beta=0.5))


@pytest.mark.parametrize("rate", [0.5, -0.1])
def test_robust_refuses_labels_that_say_nothing(rate: float) -> None:
    with pytest.raises(ValueError, match=r"robust: label_smoothing is a rate .* in \[0, 0.5\)"):
        robust(*PAIRS, beta=0.5, label_smoothing=rate)


def test_ipo_takes_means_over_tokens() -> None:
    # Target 1 / (2 * 0.5) = 1; 2/5 + 1/7 = 19/35 and 0/4 - 3/2 = -3/2.
    is_close(ipo(*PAIRS, beta=0.5), (19 / 35 - 1) ** 2, 2.5**2)


def test_ipo_sum_takes_sums() -> None:
    is_close(ipo_sum(*PAIRS, beta=0.5), (3 - 1) ** 2, (-3 - 1) ** 2)


def test_hinge() -> None:
    is_close(hinge(*PAIRS, beta=0.5), 0.0, 1 + 1.5)  # 1 - 1.5 is below 0


def test_exo_is_the_divergence_of_the_policy_from_the_labels() -> None:
    p = sigmoid(1.5)
    first = p * math.log(p / 0.99) + (1 - p) * math.log((1 - p) / 0.01)
    second = (1 - p) * math.log((1 - p) / 0.99) + p * math.log(p / 0.01)
    is_close(exo(*PAIRS, beta=0.5, label_smoothing=0.01), first, second)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_exo_refuses_certain_labels(rate: float) -> None:
    with pytest.raises(ValueError, match=r"exo: label_smoothing is the probability .* in \(0, 1\)"):
        exo(*PAIRS, beta=0.5, label_smoothing=rate)


def test_hybrid_dpo_forgets_a_reference_of_the_wrong_order() -> None:
    reference = tensor([[-12.0, -13.0], [-5.0, -3.0]])  # margins 1 and -2; the policy's are 4 and -1
    is_close(hybrid_dpo(LOGPS, reference, NUM_TOKENS, beta=0.5), surprise(0.5 * (4 - 1)), surprise(0.5 * (-1 - 0)))


def test_apo_zero() -> None:
    is_close(apo_zero(*PAIRS, beta=0.5), 1 - sigmoid(1.0) + sigmoid(-0.5), 1 - 0.5 + sigmoid(1.5))


def test_apo_down() -> None:
    is_close(apo_down(*PAIRS, beta=0.5), sigmoid(1.0) + 1 - sigmoid(1.5), 0.5 + 1 - sigmoid(-1.5))


def test_sppo() -> None:
    is_close(sppo(*PAIRS, beta=0.5), (2 - 1) ** 2 + (-1 + 1) ** 2, (0 - 1) ** 2 + (3 + 1) ** 2)


def test_nca() -> None:
    first = surprise(1.0) + (surprise(-1.0) + surprise(0.5)) / 2
    is_close(nca(*PAIRS, beta=0.5), first, log2 + (log2 + surprise(-1.5)) / 2)


def test_kto_over_pairs() -> None:
    # beta * (r - kl) is (0.5, -1) and (-0.5, 1).
    found = kto(*PAIRS, beta=0.5, kl=tensor(1.0), desirable_weight=2.0, undesirable_weight=3.0)
    first = (2 * (1 - sigmoid(0.5)) + 3 * (1 - sigmoid(1.0))) / 2
    is_close(found, first, (2 * (1 - sigmoid(-0.5)) + 3 * (1 - sigmoid(-1.0))) / 2)


def test_kto_of_single_completions_of_which_one_is_desirable() -> None:
    single = [each[:, :1] for each in PAIRS]  # log-ratios 2 and 0
    found = kto(*single, beta=0.5, kl=tensor(1.0), desirable=tensor([[False], [True]]))
    is_close(found, 1 - sigmoid(-0.5), 1 - sigmoid(-0.5))


def test_kto_takes_a_reference_point_for_each_completion() -> None:
    each = kto(*PAIRS, beta=0.5, kl=tensor([[2.0, -1.0], [0.0, 3.0]]))
    is_close(each, 0.5, 0.5)  # every log-ratio is at its point


def test_the_kl_estimate_is_the_mean_log_ratio() -> None:
    assert kl_estimate(LOGPS, REFERENCE) == 1.0  # (2 - 1 + 0 + 3) / 4


def test_the_kl_estimate_is_not_negative() -> None:
    assert kl_estimate(LOGPS - 2, REFERENCE) == 0.0


def test_the_kl_estimate_carries_no_gradient() -> None:
    assert not kl_estimate(LOGPS.clone().requires_grad_(), REFERENCE).requires_grad


def test_orpo() -> None:
    # Mean log-probabilities -2, -2 and -3/4, -1: odds e^m / (1 - e^m).
    odds = {m: math.exp(m) / (1 - math.exp(m)) for m in (-0.75, -1.0)}
    second = 0.75 - 0.5 * math.log(sigmoid(math.log(odds[-0.75] / odds[-1.0])))
    is_close(orpo(*PAIRS, beta=0.5), 2 + 0.5 * log2, second)


def test_simpo() -> None:
    is_close(simpo(*PAIRS, beta=2.0, gamma=0.3), surprise(2 * (-2 + 2) - 0.3), surprise(2 * (-0.75 + 1) - 0.3))


def test_cpo() -> None:
    is_close(cpo(*PAIRS, beta=0.5, cpo_alpha=0.1), surprise(0.5 * 4) + 0.1 * 2, surprise(0.5 * -1) + 0.1 * 0.75)


def test_sft_is_the_mean_surprise_of_the_chosen_tokens() -> None:
    is_close(sft(*PAIRS, beta=0.1), 10 / 5, 3 / 4)


AT_THE_REFERENCE = {
    "dpo": log2,
    "robust": log2,
    "ipo": 1.0,  # (1 / (2 beta))^2
    "ipo_sum": 1.0,
    "hinge": 1.0,
    # A coin against (0.999, 0.001).
    "exo": -log2 - math.log(0.999 * 0.001) / 2,
    "hybrid_dpo": log2,
    "apo_zero": 1.0,
    "apo_down": 1.0,
    "sppo": 2.0,  # 2 (1 / (2 beta))^2
    "nca": 2 * log2,
}


@pytest.mark.parametrize("name", list(AT_THE_REFERENCE))
def test_where_the_policy_is_its_reference(name: str) -> None:
    # hybrid_dpo is log 2 there if the reference has the right order, as it has in both pairs.
    expected = AT_THE_REFERENCE[name]
    is_close(LOSSES[name](REFERENCE, REFERENCE, NUM_TOKENS, beta=0.5), expected, expected)


def test_kto_where_the_policy_is_its_reference() -> None:
    found = kto(REFERENCE, REFERENCE, NUM_TOKENS, beta=0.5, kl=kl_estimate(REFERENCE, REFERENCE))
    is_close(found, 0.5, 0.5)
