from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import TrainingArguments

from sclvlm.collation import Collator, logps
from sclvlm.errors import SclvlmError
from sclvlm.models import Policy
from sclvlm.objective import Objective
from sclvlm.records import PreferencePair, text_message
from sclvlm.rendering import Renderer
from sclvlm.trainer import PreferenceTrainer
from sclvlm.trainer.batching import LengthGroupedSampler
from sclvlm.tuning import Lora, tune
from tests import tiny

QUESTIONS = ["What is it?", "Which colour?", "Hm?", "Is it red or blue?"]
REPLIES = [("A square.", "No."), ("red", "something blue"), ("y", "nothing at all"), ("Both", "None")]


def pairs(pictures: Sequence[str] | None) -> list[PreferencePair]:
    """Four ragged pairs, each about a picture if there are any."""
    return [
        PreferencePair(
            id=f"pair-{index}",
            prompt=[text_message("user", question, images=int(pictures is not None))],
            chosen=[text_message("assistant", chosen)],
            rejected=[text_message("assistant", rejected)],
            images=(pictures[index],) if pictures else (),
        )
        for index, (question, (chosen, rejected)) in enumerate(zip(QUESTIONS, REPLIES, strict=True))
    ]


def adapted(folder: Path, projector: bool = False, dropout: float = 0.0) -> Policy:
    """The policy in `folder` with fresh adapters, the same at each call."""
    torch.manual_seed(0)
    policy = tiny.load(folder)
    targets = ["q_proj", "v_proj", "down_proj"]
    model = tune(policy.model, Lora(4, 8, dropout, targets), projector="full" if projector else "frozen")
    return Policy(model, policy.processor, policy.ref)


def trainer(policy: Policy, records: Sequence[PreferencePair], folder: Path, **settings: Any) -> PreferenceTrainer:
    """A trainer that makes constant steps of plain gradient descent unless told otherwise."""
    own = {field.name for field in fields(Objective)}
    objective = Objective(**{key: settings.pop(key) for key in list(settings) if key in own})
    arguments = {
        "learning_rate": 0.05,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "max_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "report_to": "none",
        **settings,
    }
    return PreferenceTrainer(
        model=policy.model,
        args=TrainingArguments(output_dir=str(folder), **arguments),
        train_dataset=list(records),
        data_collator=Collator(Renderer(policy)),
        lengths=[len(QUESTIONS[index % 4]) for index in range(len(records))],
        objective=objective,
    )


def steps(trained: PreferenceTrainer, figure: str = "loss") -> list[float]:
    """`figure` of each logged step."""
    return [logged[figure] for logged in trained.state.log_history if figure in logged]


def trainable(policy: Policy) -> dict[str, Tensor]:
    """Copies of what learns."""
    return {name: each.detach().clone() for name, each in policy.model.named_parameters() if each.requires_grad}


@pytest.mark.parametrize("family", ["fast_vlm", "llava", "qwen", "llama"])
def test_training_begins_at_log_2(
    family: str, tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    records = pairs(None if family == "llama" else pictures)
    trained = trainer(adapted(tiny_model(family), dropout=0.0), records, tmp_path)
    trained.train()
    assert steps(trained) == pytest.approx([math.log(2)], abs=1e-5)
    assert steps(trained, "rewards/accuracies") == [0.5]
    assert steps(trained, "rewards/margins") == pytest.approx([0], abs=1e-5)


def test_the_reference_has_no_dropout(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    policy = adapted(tiny_model("llama"), dropout=0.5)
    for module in policy.model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5  # adapters are off in the reference, this would not be
    trained = trainer(policy, pairs(None), tmp_path, max_steps=3)
    trained.train()
    batch = Collator(Renderer(policy))(pairs(None))
    policy.model.train()
    with torch.no_grad():
        reference = trained._reference(policy.model, batch)
        bare = logps(tiny.load(tiny_model("llama")).model, batch).sums
    torch.testing.assert_close(reference, bare, rtol=0, atol=1e-4)
    assert policy.model.training


@pytest.mark.parametrize("cut", [{"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
                                 {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}])  # fmt: skip
@pytest.mark.parametrize("objective", [{}, {"nll_weight": 0.3}, {"loss": "sft"}])
def test_micro_batches_make_the_step_of_one_batch(
    cut: dict[str, int], objective: dict[str, Any], tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    # A batch of 3 and a ragged last one of 1 weigh each pair as a batch of 4 does.
    whole, pieces = adapted(tiny_model("llama")), adapted(tiny_model("llama"))
    once = trainer(whole, pairs(None), tmp_path, num_train_epochs=3, max_steps=-1, **objective)
    often = trainer(pieces, pairs(None), tmp_path, num_train_epochs=3, max_steps=-1, **objective, **cut)
    once.train()
    often.train()
    assert steps(often) == pytest.approx(steps(once), rel=1e-4)
    assert len(steps(once)) == 3
    for name, value in trainable(whole).items():
        torch.testing.assert_close(trainable(pieces)[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", ["fast_vlm", "llama"])
def test_it_overfits_four_pairs(
    family: str, tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    records = pairs(None if family == "llama" else pictures)
    settings = {"optim": "adamw_torch", "learning_rate": 0.01, "max_steps": 25}
    trained = trainer(adapted(tiny_model(family)), records, tmp_path, **settings)
    trained.train()
    assert steps(trained)[-1] < 0.05
    assert steps(trained, "rewards/accuracies")[-1] == 1.0


def test_the_objective_is_the_weighted_sum_of_loss_and_nll(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    policy = adapted(tiny_model("llama"))
    trained = trainer(policy, pairs(None), tmp_path, loss_weight=0.5, nll_weight=0.2)
    trained.train()
    nll = steps(trained, "nll")[0]
    assert steps(trained) == pytest.approx([0.5 * math.log(2) + 0.2 * nll], rel=1e-4)


def test_held_out_pairs_are_measured_under_their_own_name(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    trained = trainer(adapted(tiny_model("llama")), pairs(None), tmp_path)
    found = trained.evaluate(eval_dataset=pairs(None))
    assert found["eval_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert trained.state.log_history[-1]["eval_rewards/accuracies"] == 0.5


def test_a_frozen_tower_does_not_move(tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path) -> None:
    policy = adapted(tiny_model("fast_vlm"), projector=True)
    tower = policy.model.get_base_model().model.vision_tower
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    trainer(policy, pairs(pictures), tmp_path, max_steps=2).train()
    assert policy.model.training
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())


def test_projector_and_adapters_learn_and_nothing_else(
    tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    policy = adapted(tiny_model("fast_vlm"), projector=True)
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    trainer(policy, pairs(pictures), tmp_path, max_steps=2).train()
    moved = {name for name, value in policy.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"lora" if "lora_" in name else "projector" for name in moved} == {"lora", "projector"}
    assert all("lora_" in name or ".multi_modal_projector.modules_to_save." in name for name in moved)


def test_a_loss_that_is_not_finite_names_the_records(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    policy = adapted(tiny_model("llama"))
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(torch.nan)
    with pytest.raises(SclvlmError, match=r"not finite for 4 of 4 records \(ids: pair-.*Lower train\.args"):
        trainer(policy, pairs(None), tmp_path).train()


@given(lengths=st.lists(st.integers(1, 50), max_size=60), size=st.integers(1, 7), seed=st.integers(0, 5))
def test_an_epoch_holds_every_index_once(lengths: list[int], size: int, seed: int) -> None:
    order = LengthGroupedSampler(lengths, size, seed=seed, group=2)
    assert Counter(order) == Counter(range(len(lengths)))
    assert len(order) == len(lengths)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = LengthGroupedSampler(list(range(40)), 4, seed=seed)
        sampler.set_epoch(epoch)
        torch.rand(1)  # the global generator has no part in it
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_neighbours_have_about_the_same_length() -> None:
    lengths = [(7 * index) % 41 for index in range(41)]  # 0 to 40, shuffled
    order = list(LengthGroupedSampler(lengths, 4, seed=0))
    batches = [sorted(lengths[index] for index in order[start : start + 4]) for start in range(0, 41, 4)]
    # One run holds all: each batch is four lengths in a row, and the odd one out comes last.
    assert [batch[-1] - batch[0] for batch in batches] == [3] * 10 + [0]
