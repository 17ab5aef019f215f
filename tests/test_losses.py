"""Laws that hold for every loss, or for the ones named. What each comes to by hand is in test_losses_values.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, tensor

from sclvlm.losses import (
    LOSSES,
    NEEDS_KL,
    NEEDS_PAIRS,
    NEEDS_REFERENCE,
    NEEDS_SAMPLES,
    READS_BETA,
    accuracy,
    dpo,
    hyperparameters,
    rewards,
    sft,
)

LOGPS = tensor([[-10.0, -14.0], [-3.0, -2.0]])  # chosen, rejected
REFERENCE = tensor([[-12.0, -13.0], [-3.0, -5.0]])
NUM_TOKENS = tensor([[5, 7], [4, 2]])
# Of the margin alone: what moves both completions of a pair alike does not move them.
RELATIVE = ["dpo", "robust", "ipo_sum", "hinge", "exo", "hybrid_dpo", "hypo"]


def measured(name: str, rows: slice = slice(None)) -> dict[str, Any]:
    """What the loss called `name` wants beside the pairs: a reference point of 0.25 nats, two samples a prompt."""
    samples = {"sampled": tensor([[-5.0, -9.0], [-2.0, -7.0]]), "ref_sampled": tensor([[-6.0, -6.0], [-5.0, -8.0]])}
    if name in NEEDS_SAMPLES:
        return {key: sums[rows] for key, sums in samples.items()}
    return {"kl": tensor(0.25)} if name in NEEDS_KL else {}


def value(name: str, logps: Tensor = LOGPS, reference: Tensor = REFERENCE, **own: Any) -> Tensor:
    """The loss called `name`, with what it wants beside the pairs."""
    return LOSSES[name](logps, reference, NUM_TOKENS, **{"beta": 0.5, **measured(name), **own})


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_agree_with_finite_differences(name: str) -> None:
    logps = LOGPS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: value(name, x, REFERENCE.double()), logps)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_loss_has_a_value_for_each_prompt(name: str) -> None:
    assert value(name).shape == (2,)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_prompt_does_not_see_its_batch_mates(name: str) -> None:
    alone = LOSSES[name](LOGPS[1:], REFERENCE[1:], NUM_TOKENS[1:], beta=0.5, **measured(name, slice(1, None)))
    torch.testing.assert_close(alone, value(name)[1:], rtol=0, atol=0)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("apart", [[-4000.0, 0.0], [0.0, -4000.0], [0.0, 0.0], [-4000.0, -4000.0]])
def test_loss_and_gradient_are_finite_where_a_sigmoid_underflows(name: str, apart: list[float]) -> None:
    logps = tensor([apart, apart], requires_grad=True)
    loss = value(name, logps, torch.zeros(2, 2))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logps.grad is not None
    assert logps.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(NEEDS_REFERENCE - {"hybrid_dpo"}))
def test_what_policy_and_reference_share_does_not_count(name: str) -> None:
    shift = tensor([[7.0, -1.0], [-2.0, 4.0]])
    torch.testing.assert_close(value(name, LOGPS + shift, REFERENCE + shift), value(name))


@pytest.mark.parametrize("name", RELATIVE)
def test_a_loss_of_the_margin_ignores_what_both_completions_share(name: str) -> None:
    shift = tensor([[7.0, 7.0], [-2.0, -2.0]])
    torch.testing.assert_close(value(name, LOGPS + shift), value(name))


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {*RELATIVE, "simpo", "cpo"}))
def test_a_loss_of_each_completion_sees_what_both_share(name: str) -> None:
    assert (value(name, LOGPS - 1) - value(name)).abs().max() > 0.01


@pytest.mark.parametrize("name", sorted(set(LOSSES) - NEEDS_REFERENCE))
def test_a_loss_without_reference_takes_none(name: str) -> None:
    without = LOSSES[name](LOGPS, None, NUM_TOKENS, beta=0.5)
    torch.testing.assert_close(without, value(name), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(NEEDS_REFERENCE))
def test_a_loss_with_a_reference_reads_it(name: str) -> None:
    other = REFERENCE + tensor([1.5, 0.0])  # the first pair's margin falls from 3 to 1.5, its reference's rises
    assert (value(name, reference=other) - value(name))[0].abs() > 0.001


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_loss_reads_beta_if_it_says_so(name: str) -> None:
    changed = not torch.equal(value(name, beta=0.5), value(name, beta=0.4))
    assert changed == (name in READS_BETA)


@pytest.mark.parametrize(("name", "own"), [(name, own) for name in LOSSES for own in hyperparameters(name)])
def test_a_loss_reads_each_of_its_hyperparameters(name: str, own: str) -> None:
    changed = {own: hyperparameters(name)[own] + 0.25}
    assert not torch.equal(value(name, **changed), value(name))


@pytest.mark.parametrize("name", sorted(NEEDS_PAIRS))
def test_a_loss_of_pairs_reads_the_rejected_completion(name: str) -> None:
    other = LOGPS + tensor([0.0, 0.5])
    assert (value(name, other) - value(name)).abs().max() > 0.001


def test_hyperparameters_are_what_a_loss_reads_beside_beta() -> None:
    found = {name: hyperparameters(name) for name in LOSSES}
    assert {name: own for name, own in found.items() if own} == {
        "dpo": {"label_smoothing": 0.0},
        "robust": {"label_smoothing": 0.1},
        "exo": {"label_smoothing": 0.001},
        "hypo": {"kl_weight": 0.001, "label_smoothing": 0.0},
        "kto": {"desirable_weight": 1.0, "undesirable_weight": 1.0},
        "simpo": {"gamma": 0.5},
        "cpo": {"cpo_alpha": 1.0},
    }


def test_what_a_loss_needs_is_said_of_known_losses() -> None:
    assert set(LOSSES) >= NEEDS_PAIRS | NEEDS_REFERENCE | NEEDS_KL | NEEDS_SAMPLES | READS_BETA


def test_dpo_gradient_is_beta_times_the_probability_of_the_wrong_order() -> None:
    logps = LOGPS.clone().requires_grad_()
    dpo(logps, REFERENCE, NUM_TOKENS, beta=0.5).sum().backward()
    wrong = torch.sigmoid(-0.5 * tensor([3.0, -3.0]))  # arXiv 2305.18290, the equation after 7
    torch.testing.assert_close(logps.grad, torch.stack([-0.5 * wrong, 0.5 * wrong], 1))


def test_dpo_grows_with_the_margin_where_the_sigmoid_underflows() -> None:
    apart = tensor([[-2000.0, 0.0]])
    torch.testing.assert_close(dpo(apart, torch.zeros(1, 2), NUM_TOKENS[:1], beta=1.0), tensor([2000.0]))


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
