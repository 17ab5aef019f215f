import math

import pytest
import torch
from torch import tensor

from sclvlm.losses import LOSSES, NEEDS_PAIRS, NEEDS_REFERENCE, accuracy, dpo, rewards, sft

LOGPS = tensor([[-10.0, -14.0], [-3.0, -2.0]])  # chosen, rejected
REFERENCE = tensor([[-12.0, -13.0], [-3.0, -5.0]])
NUM_TOKENS = tensor([[5, 7], [4, 2]])


def test_dpo_of_hand_computed_pairs() -> None:
    # h = (-10 + 12) - (-14 + 13) = 3 and (-3 + 3) - (-2 + 5) = -3; -log sigmoid(0.5 h) = log(1 + e^-0.5h).
    expected = tensor([math.log(1 + math.exp(-1.5)), math.log(1 + math.exp(1.5))])
    torch.testing.assert_close(dpo(LOGPS, REFERENCE, NUM_TOKENS, beta=0.5), expected)


def test_dpo_is_log_2_where_the_policy_is_the_reference() -> None:
    loss = dpo(LOGPS, LOGPS, NUM_TOKENS, beta=0.3)
    torch.testing.assert_close(loss, torch.full((2,), math.log(2)))


def test_dpo_gradient_is_beta_times_the_probability_of_the_wrong_order() -> None:
    logps = LOGPS.clone().requires_grad_()
    dpo(logps, REFERENCE, NUM_TOKENS, beta=0.5).sum().backward()
    wrong = torch.sigmoid(-0.5 * tensor([3.0, -3.0]))  # arXiv 2305.18290, the equation after 7
    torch.testing.assert_close(logps.grad, torch.stack([-0.5 * wrong, 0.5 * wrong], 1))


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_agree_with_finite_differences(name: str) -> None:
    logps = LOGPS.double().requires_grad_()
    reference = REFERENCE.double()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, reference, NUM_TOKENS, beta=0.5), logps)


def test_dpo_stays_finite_where_the_sigmoid_underflows() -> None:
    apart = tensor([[-2000.0, 0.0]])
    torch.testing.assert_close(dpo(apart, torch.zeros(1, 2), NUM_TOKENS, beta=1.0), tensor([2000.0]))


def test_dpo_ignores_what_policy_and_reference_share() -> None:
    shift = tensor([[7.0, 7.0], [-2.0, -2.0]])
    shifted = dpo(LOGPS + shift, REFERENCE, NUM_TOKENS, beta=0.5)
    torch.testing.assert_close(shifted, dpo(LOGPS, REFERENCE, NUM_TOKENS, beta=0.5))


def test_sft_is_the_mean_surprise_of_the_chosen_tokens() -> None:
    # 10 nats over 5 tokens, 3 nats over 4.
    torch.testing.assert_close(sft(LOGPS, None, NUM_TOKENS, beta=0.1), tensor([2.0, 0.75]))


def test_sft_looks_at_the_first_completion_only() -> None:
    alone = sft(LOGPS[:, :1], None, NUM_TOKENS[:, :1], beta=0.1)
    torch.testing.assert_close(alone, sft(LOGPS, None, NUM_TOKENS, beta=0.1))


def test_rewards_are_beta_times_the_log_ratio() -> None:
    torch.testing.assert_close(rewards(LOGPS, REFERENCE, beta=0.5), tensor([[1.0, -0.5], [0.0, 1.5]]))


def test_rewards_carry_no_gradient() -> None:
    assert not rewards(LOGPS.clone().requires_grad_(), REFERENCE, beta=0.5).requires_grad


def test_accuracy_counts_a_tie_as_half() -> None:
    reward = tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    torch.testing.assert_close(accuracy(reward), tensor([1.0, 0.0, 0.5]))


def test_what_needs_pairs_or_a_reference_is_a_known_loss() -> None:
    assert set(LOSSES) >= NEEDS_PAIRS | NEEDS_REFERENCE
