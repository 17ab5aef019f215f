"""Values and gradients of the losses are those of TRL's own trainers on the same log-probabilities.

A trainer of TRL's is made once, and given a model that answers with numbers of the test's in place of a forward
pass; everything from there to the scalar loss is TRL's code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, tensor

from sclvlm.losses import LOSSES, dpo, kl_estimate, kto, length_weights, wpo_weights

trl = pytest.importorskip("trl")

# TRL asks transformers for attributes that were renamed, and says of each experimental trainer that it is one.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:You are importing from .trl.experimental"),
]

LENGTHS = tensor([[3, 5], [6, 2], [4, 4]])  # tokens of chosen and rejected
PROMPT, PLACES, VOCABULARY = 2, 8, 11
BETA = 0.3


def completion_mask(lengths: Tensor = LENGTHS) -> Tensor:
    """Which places of a row are of its completion. (P, 2) to (P, 2, PLACES)."""
    place = torch.arange(PLACES)
    return ((place >= PROMPT) & (place < PROMPT + lengths[..., None])).long()


def scores(seed: int) -> Tensor:
    """Log-probabilities of the tokens of three pairs, 0 outside the completions. (3, 2, PLACES - 1)."""
    generator = torch.Generator().manual_seed(seed)
    return -2 * torch.rand(3, 2, PLACES - 1, generator=generator) * completion_mask()[..., 1:]


def rows(pairs: Tensor) -> Tensor:
    """The order in which TRL lays pairs out: all chosen, then all rejected. (P, 2, ...) to (2 P, ...)."""
    return pairs.transpose(0, 1).flatten(0, 1)


class Answers:
    """A model that answers each call with the next of `log_probs`, and uninteresting numbers for TRL's metrics."""

    def __init__(self, *log_probs: Tensor, log_sum_sq_probs: Tensor | None = None) -> None:
        self.log_probs, self.log_sum_sq_probs = iter(log_probs), log_sum_sq_probs

    def __call__(self, **inputs: Any) -> SimpleNamespace:
        found = next(self.log_probs)
        nothing = torch.zeros_like(found)
        return SimpleNamespace(
            log_probs=found,
            log_sum_sq_probs=self.log_sum_sq_probs,
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing.bool(),
        )


def a_trainer(kind: str, model: Path, folder: Path, data: list[dict[str, Any]]) -> Any:
    """The trainer of TRL's called so."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.experimental import cpo, orpo

    rooms = {"CPO": cpo, "ORPO": orpo}
    room = rooms.get(kind, trl)
    args = getattr(room, f"{kind}Config")(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        disable_tqdm=True,
        beta=BETA,
    )
    return getattr(room, f"{kind}Trainer")(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=args,
        train_dataset=Dataset.from_list(data),
        processing_class=AutoTokenizer.from_pretrained(model),
    )


PAIR = {"prompt": "what colour?", "chosen": "red", "rejected": "blue"}


@pytest.fixture(scope="module")
def trainers(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The trainer of TRL's called so, made at the first request."""
    made: dict[str, Any] = {}

    def trainer(kind: str) -> Any:
        if kind not in made:
            label = [{"prompt": "what colour?", "completion": text, "label": text == "red"} for text in ("red", "blue")]
            data = label if kind == "KTO" else [PAIR]
            made[kind] = a_trainer(kind, tiny_model("llama"), tmp_path_factory.mktemp(kind), data)
        return made[kind]

    return trainer


def by_trl(trainer: Any, policy: Tensor, reference: Tensor, sum_sq: Tensor | None = None, **settings: Any) -> Tensor:
    """The loss that TRL's DPOTrainer gives the pairs: a mean. Token log-probabilities (P, 2, PLACES - 1)."""
    plain = {"label_smoothing": 0.0, "ld_alpha": None, "use_weighting": False, "precompute_ref_logps": True}
    settings = {**plain, "loss_weights": [1.0], **settings}
    weights = torch.ones(LENGTHS.shape)[..., None]
    if settings["ld_alpha"] is not None:
        # The precomputed sums of the reference are the caller's to weigh.
        weights = length_weights(completion_mask()[..., 1:], alpha=settings["ld_alpha"])
    sums = (reference * weights).sum(-1)
    inputs = {
        "input_ids": torch.ones(6, PLACES, dtype=torch.long),
        "attention_mask": torch.ones(6, PLACES, dtype=torch.long),
        "completion_mask": rows(completion_mask()),
        "ref_chosen_logps": sums[:, 0],
        "ref_rejected_logps": sums[:, 1],
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, setting in settings.items():
            patch.setattr(trainer, name, setting)
        answers = Answers(rows(policy), log_sum_sq_probs=None if sum_sq is None else rows(sum_sq))
        return trainer.compute_loss(answers, inputs)


def agree(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], at: Tensor) -> None:
    """Checks that both give the numbers `at` one value and one gradient, to float32 accuracy."""
    found = []
    for loss in (ours, theirs):
        leaf = at.clone().requires_grad_()
        value = loss(leaf * (at != 0))  # places outside a completion are constants
        value.backward()
        found.append((value.detach(), leaf.grad))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-7)
    assert found[1][1].abs().max() > 1e-3  # two zeros would agree


# TRL's `sppo_hard`, `exo_pair` and `nca_pair` are sppo, exo and nca; its `ipo` is the mean over tokens.
OF_DPO_TRAINER = [
    ("dpo", "sigmoid", {}),
    ("robust", "robust", {"label_smoothing": 0.2}),
    ("ipo", "ipo", {}),
    ("hinge", "hinge", {}),
    ("exo", "exo_pair", {"label_smoothing": 0.01}),
    ("apo_zero", "apo_zero", {}),
    ("apo_down", "apo_down", {}),
    ("sppo", "sppo_hard", {}),
    ("nca", "nca_pair", {}),
]


@pytest.mark.parametrize(("name", "theirs", "own"), OF_DPO_TRAINER)
def test_a_loss_is_that_of_the_dpo_trainer(
    trainers: Callable[[str], Any], name: str, theirs: str, own: dict[str, float]
) -> None:
    reference = scores(1)
    agree(
        lambda tokens: LOSSES[name](tokens.sum(-1), reference.sum(-1), LENGTHS, beta=BETA, **own).mean(),
        lambda tokens: by_trl(trainers("DPO"), tokens, reference, loss_types=[theirs], beta=BETA, **own),
        scores(0),
    )


def test_the_dpo_trainer_ignores_smoothed_labels_in_its_sigmoid_loss(trainers: Callable[[str], Any]) -> None:
    smoothed = by_trl(trainers("DPO"), scores(0), scores(1), loss_types=["sigmoid"], label_smoothing=0.2)
    plain = by_trl(trainers("DPO"), scores(0), scores(1), loss_types=["sigmoid"])
    assert smoothed == plain


def test_conservative_dpo_is_the_sorting_loss_of_the_dpo_trainer_on_sorted_pairs(
    trainers: Callable[[str], Any],
) -> None:
    # TRL's `aot` is smoothed DPO after it has sorted the margins of policy and reference each by itself.
    policy, reference = scores(0), torch.zeros_like(scores(1))
    agree(
        lambda tokens: dpo(tokens.sum(-1), reference.sum(-1), LENGTHS, beta=BETA, label_smoothing=0.2).mean(),
        lambda tokens: by_trl(trainers("DPO"), tokens, reference, loss_types=["aot"], label_smoothing=0.2),
        policy,
    )


def test_the_dpo_trainer_takes_its_sft_mean_over_the_tokens_of_the_batch(trainers: Callable[[str], Any]) -> None:
    # sft is a mean over each completion's: weighed by its share of the tokens it is TRL's.
    share = LENGTHS[:, 0] / LENGTHS[:, 0].sum()
    agree(
        lambda tokens: (LOSSES["sft"](tokens.sum(-1), None, LENGTHS, beta=BETA) * share).sum(),
        lambda tokens: by_trl(trainers("DPO"), tokens, scores(1), loss_types=["sft"]),
        scores(0),
    )


def test_length_weights_are_those_of_the_dpo_trainer(trainers: Callable[[str], Any]) -> None:
    weights = length_weights(completion_mask()[..., 1:], alpha=0.3)
    reference = (scores(1) * weights).sum(-1)
    agree(
        lambda tokens: dpo((tokens * weights).sum(-1), reference, LENGTHS, beta=BETA).mean(),
        lambda tokens: by_trl(trainers("DPO"), tokens, scores(1), loss_types=["sigmoid"], ld_alpha=0.3),
        scores(0),
    )


def test_weights_of_pairs_are_those_of_the_dpo_trainer(trainers: Callable[[str], Any]) -> None:
    reference, sum_sq = scores(1), scores(2)  # TRL weighs by the paper's sampled alignment

    def ours(tokens: Tensor) -> Tensor:
        sums = tokens.sum(-1)
        weights = wpo_weights(sums, LENGTHS, aligned=sum_sq.sum(-1))
        return (weights * dpo(sums, reference.sum(-1), LENGTHS, beta=BETA)).mean()

    agree(
        ours,
        lambda tokens: by_trl(trainers("DPO"), tokens, reference, sum_sq, loss_types=["sigmoid"], use_weighting=True),
        scores(0),
    )


def by_kto_trainer(trainer: Any, policy: Tensor, reference: Tensor, mismatched: tuple[Tensor, Tensor]) -> Tensor:
    """The loss that TRL's KTOTrainer gives the completions of the pairs, each by itself."""
    ids = torch.ones(6, PLACES, dtype=torch.long)
    mask = rows(completion_mask())
    inputs = {"input_ids": ids, "attention_mask": ids, "completion_mask": mask, "ref_logps": rows(reference).sum(-1)}
    inputs |= {"KL_input_ids": ids, "KL_attention_mask": ids, "KL_completion_mask": mask}
    inputs |= {"ref_KL_logps": rows(mismatched[1]).sum(-1), "label": tensor([True] * 3 + [False] * 3)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "precompute_ref_logps", True)
        patch.setattr(trainer, "desirable_weight", 1.5)
        patch.setattr(trainer, "undesirable_weight", 0.5)
        return trainer.compute_loss(Answers(rows(mismatched[0]), rows(policy)), inputs)


# Where the policy likes the mismatched completions more than the reference does, and where it does not.
@pytest.mark.parametrize("mismatched", [(2, 3), (3, 2)])
def test_kto_is_that_of_the_kto_trainer(trainers: Callable[[str], Any], mismatched: tuple[int, int]) -> None:
    reference = scores(1)
    others = (scores(mismatched[0]), scores(mismatched[1]))
    kl = kl_estimate(others[0].sum(-1), others[1].sum(-1))

    def ours(tokens: Tensor) -> Tensor:
        weights = {"desirable_weight": 1.5, "undesirable_weight": 0.5}
        return kto(tokens.sum(-1), reference.sum(-1), LENGTHS, beta=BETA, kl=kl, **weights).mean()

    agree(ours, lambda tokens: by_kto_trainer(trainers("KTO"), tokens, reference, others), scores(0))


def by_logits(trainer: Any, ids: Tensor, lengths: Tensor, logits: Tensor, **settings: Any) -> Tensor:
    """The loss of TRL's CPOTrainer or ORPOTrainer where the model answers `logits` (2 P, PLACES, VOCABULARY)."""
    mask = completion_mask(lengths)
    labels = ids.masked_fill(mask == 0, -100)
    attention = torch.arange(PLACES) < PROMPT + lengths[..., None]
    inputs = {}
    for side, name in enumerate(("chosen", "rejected")):
        inputs |= {f"{name}_input_ids": ids[:, side], f"{name}_labels": labels[:, side]}
        inputs[f"{name}_attention_mask"] = attention[:, side].long()
    with pytest.MonkeyPatch.context() as patch:
        for name, setting in settings.items():
            patch.setattr(trainer, name, setting, raising=False)
        return trainer.compute_loss(lambda *_, **__: SimpleNamespace(logits=logits), inputs)


def sums(ids: Tensor, lengths: Tensor, logits: Tensor) -> Tensor:
    """Summed log-probabilities of the completions. (P, 2, PLACES) and the logits of `by_logits` to (P, 2)."""
    by_pair = logits.unflatten(0, (2, -1)).transpose(0, 1).log_softmax(-1)[..., :-1, :]
    tokens = by_pair.gather(-1, ids[..., 1:, None])[..., 0]
    return (tokens * completion_mask(lengths)[..., 1:]).sum(-1)


IDS = torch.randint(VOCABULARY, (3, 2, PLACES), generator=torch.Generator().manual_seed(4))
LOGITS = torch.randn(6, PLACES, VOCABULARY, generator=torch.Generator().manual_seed(5))


def test_simpo_is_that_of_the_cpo_trainer(trainers: Callable[[str], Any]) -> None:
    settings = {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": 0.7}
    agree(
        lambda logits: LOSSES["simpo"](sums(IDS, LENGTHS, logits), None, LENGTHS, beta=BETA, gamma=0.7).mean(),
        lambda logits: by_logits(trainers("CPO"), IDS, LENGTHS, logits, **settings),
        LOGITS,
    )


@pytest.mark.parametrize(
    # TRL's likelihood is a mean over the batch's tokens, cpo's over a pair's: one where chosen lengths are.
    ("lengths", "alpha"),
    [(LENGTHS, 0.0), (tensor([[4, 5], [4, 2], [4, 4]]), 0.8)],
)
def test_cpo_is_that_of_the_cpo_trainer(trainers: Callable[[str], Any], lengths: Tensor, alpha: float) -> None:
    settings = {"loss_type": "sigmoid", "cpo_alpha": alpha}
    agree(
        lambda logits: LOSSES["cpo"](sums(IDS, lengths, logits), None, lengths, beta=BETA, cpo_alpha=alpha).mean(),
        lambda logits: by_logits(trainers("CPO"), IDS, lengths, logits, **settings),
        LOGITS,
    )


def test_ipo_sum_is_the_cpo_trainers_loss_on_sums_of_log_ratios(trainers: Callable[[str], Any]) -> None:
    trainer, reference = trainers("CPO"), scores(1).sum(-1)

    def theirs(logps: Tensor) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer, "loss_type", "ipo")
            return trainer.cpo_loss(*(logps - reference).unbind(1))[0].mean()

    agree(
        lambda logps: LOSSES["ipo_sum"](logps, reference, LENGTHS, beta=BETA).mean(),
        theirs,
        scores(0).sum(-1),
    )


def test_orpo_is_that_of_the_orpo_trainer_but_for_the_likelihood_of_the_prompt(trainers: Callable[[str], Any]) -> None:
    # TRL's likelihood counts the prompt's second token too, and is a mean over the batch's tokens.
    lengths = tensor([[4, 5], [4, 2], [4, 4]])

    def ours(logits: Tensor) -> Tensor:
        prompt = logits[:3, 0].log_softmax(-1).gather(-1, IDS[:, 0, 1:2])[:, 0]
        logps = sums(IDS, lengths, logits)
        with_prompt = -(logps[:, 0] + prompt) / 5
        without = LOSSES["sft"](logps, None, lengths, beta=BETA)
        return (LOSSES["orpo"](logps, None, lengths, beta=BETA) - without + with_prompt).mean()

    agree(ours, lambda logits: by_logits(trainers("ORPO"), IDS, lengths, logits), LOGITS)
