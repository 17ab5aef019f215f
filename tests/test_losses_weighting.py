"""Weights of tokens and of pairs."""

from __future__ import annotations

import torch
from torch import tensor

from sclvlm.losses import length_weights, wpo_weights

MASK = tensor([[[1, 1, 0, 0], [1, 1, 1, 1]], [[1, 1, 1, 0], [1, 0, 0, 0]]])


def test_tokens_beyond_the_shorter_completion_count_alpha() -> None:
    expected = [[[1, 1, 0, 0], [1, 1, 0.25, 0.25]], [[1, 0.25, 0.25, 0], [1, 0, 0, 0]]]
    torch.testing.assert_close(length_weights(MASK, alpha=0.25), tensor(expected))


def test_length_weights_count_tokens_and_not_places() -> None:
    behind = tensor([[[False, True, True, True], [True, False, False, True]]])
    torch.testing.assert_close(length_weights(behind, alpha=0.5), tensor([[[0, 1, 1, 0.5], [1, 0, 0, 1]]]))


def test_length_weights_at_alpha_1_are_the_mask() -> None:
    torch.testing.assert_close(length_weights(MASK, alpha=1.0), MASK.float())


def test_completions_of_one_length_lose_nothing() -> None:
    alike = torch.ones(1, 2, 3)
    torch.testing.assert_close(length_weights(alike, alpha=0.0), alike)


LOG_HALF = -0.6931472


def test_a_pair_weighs_the_product_of_its_mean_likelihoods() -> None:
    # Two tokens of 1/2 each and three of 1/2 each: 1/2 * 1/2. Then one of 1/4 and two of 1/2: 1/4 * 1/2.
    logps = LOG_HALF * tensor([[2.0, 3.0], [2.0, 2.0]])
    torch.testing.assert_close(wpo_weights(logps, tensor([[2, 3], [1, 2]])), tensor([0.25, 0.125]))


def test_a_policy_as_sure_of_a_pair_as_of_its_own_words_weighs_it_1() -> None:
    # Uniform over two tokens at each place: p is 1/2, and so are sum p^2 and max p.
    logps = LOG_HALF * tensor([[2.0, 3.0]])
    torch.testing.assert_close(wpo_weights(logps, tensor([[2, 3]]), aligned=logps), tensor([1.0]))


def test_sampled_alignment_of_a_pair_by_hand() -> None:
    # p = (3/4, 1/4) gives sum p^2 = 5/8; chosen says the first (6/5 of it), rejected the second (2/5 of it).
    logps, aligned = tensor([[0.75, 0.25]]).log(), tensor([[0.625, 0.625]]).log()
    torch.testing.assert_close(wpo_weights(logps, tensor([[1, 1]]), aligned=aligned), tensor([1.2 * 0.4]))


def test_weights_of_pairs_carry_no_gradient() -> None:
    logps = torch.zeros(1, 2, requires_grad=True)
    assert not wpo_weights(logps, tensor([[1, 1]]), aligned=logps * 2).requires_grad
