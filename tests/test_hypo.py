"""`train.loss: hypo` from pairs to an adapter."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sclvlm import training
from sclvlm.collation import Collator
from sclvlm.config import ModelSection, TrainSection
from sclvlm.errors import ConfigError
from sclvlm.objective import Objective
from sclvlm.rendering import Renderer
from sclvlm.rollouts import Rollouts
from sclvlm.sections import OnlineSection
from sclvlm.trainer.sharing import SharedTrainer
from sclvlm.training import train
from tests.test_rollouts import stirred
from tests.test_trainer import pairs, trainer
from tests.test_training import _Killed, _Killer, section, settings, written

ONLINE = OnlineSection(samples=2, max_new_tokens=8)


def hypo(kl_weight: float, **changes: Any) -> TrainSection:
    return settings(loss="hypo", loss_options={"kl_weight": kl_weight}, **{"online": ONLINE, **changes})


def trained(
    folder: Path, model: ModelSection, asked: TrainSection, records: Any
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """What each step logged, and the weights at the end."""
    folder.mkdir(exist_ok=True)
    train(written(folder, records), folder, model=model, settings=asked, seed=7)
    history = json.loads((folder / "history.json").read_text())
    return [each for each in history if "loss" in each], load_file(folder / "adapter" / "adapter_model.safetensors")


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def column(logs: list[dict[str, float]], name: str) -> list[float]:
    return [each[name] for each in logs]


@pytest.mark.parametrize("family", ["fast_vlm", "llama"])
def test_without_weight_on_the_divergence_it_trains_bit_for_bit_as_dpo(
    family: str, tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    # Adapters have dropout: the samples must not move the generator that draws it.
    records, model = pairs(None if family == "llama" else pictures), section(tiny_model(family))
    args = {"max_steps": 3}
    ours, our_weights = trained(tmp_path / "hypo", model, hypo(0.0, args=args), records)
    theirs, their_weights = trained(tmp_path / "dpo", model, settings(loss="dpo", args=args), records)
    assert len(ours) == 3
    assert column(ours, "loss") == column(theirs, "loss")
    assert same(our_weights, their_weights)
    assert column(ours, "kl")[-1] != 0


@pytest.mark.parametrize("family", ["fast_vlm", "qwen", "llama"])
def test_training_begins_at_log_2_and_no_divergence(
    family: str, tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    records = pairs(None if family == "llama" else pictures)
    begun = hypo(1.0, lora={"dropout": 0.0}, args={"max_steps": 1, "per_device_train_batch_size": 4})
    (log,), _ = trained(tmp_path / "run", section(tiny_model(family)), begun, records)
    assert log["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert log["kl"] == pytest.approx(0, abs=1e-4)
    assert 1 <= log["lengths/sampled"] <= 8
    assert 0 <= log["cut/sampled"] <= 1


def test_the_weight_of_surplus_tokens_is_of_pairs_alone(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    # Weighed on one side only, samples of different lengths would begin apart from the reference.
    begun = hypo(1.0, surplus_weight=0.25, lora={"dropout": 0.0}, args={"max_steps": 1})
    (log,), _ = trained(tmp_path / "run", section(tiny_model("llama")), begun, pairs(None))
    assert log["kl"] == pytest.approx(0, abs=1e-4)
    assert log["lengths/sampled"] not in (1, 8)


@pytest.mark.parametrize("family", ["fast_vlm", "llama"])
@pytest.mark.parametrize("reference", ["cached", "live"])
def test_weight_on_the_divergence_keeps_the_policy_near_the_reference(
    family: str, reference: str, tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    records, model = pairs(None if family == "llama" else pictures), section(tiny_model(family))
    args = {"max_steps": 15, "per_device_train_batch_size": 4}
    ends = []
    for weight in (0.0, 0.3):
        asked = hypo(weight, reference=reference, online={"samples": 4, "max_new_tokens": 8}, args=args)
        logs, _ = trained(tmp_path / str(weight), model, asked, records)
        assert column(logs, "rewards/accuracies")[-1] == 1.0
        ends.append(sum(column(logs, "kl")[-5:]) / 5)
    assert 0 < ends[1] < 0.5 * ends[0]


@pytest.mark.parametrize("step", [2, 3])
def test_a_resumed_run_is_the_uninterrupted_one(
    step: int, tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked, records = section(tiny_model("fast_vlm")), hypo(0.3), pairs(pictures)
    whole, weights = trained(tmp_path / "whole", model, asked, records)
    with monkeypatch.context() as patched:
        patched.setattr(training, "PreferenceTrainer", partial(training.PreferenceTrainer, callbacks=[_Killer(step)]))
        with pytest.raises(_Killed):
            trained(tmp_path / "broken", model, asked, records)
    broken, found = trained(tmp_path / "broken", model, asked, records)
    for name in ("loss", "kl", "lengths/sampled"):
        assert column(broken, name) == column(whole, name)
    assert same(found, weights)


def test_with_all_weights_trained_a_copy_is_the_reference_of_samples_though_pairs_are_cached(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    asked = hypo(0.1, lora=None, args={"max_steps": 4, "learning_rate": 1e-3})
    folder = tmp_path / "run"
    folder.mkdir()
    train(written(folder, pairs(None)), folder, model=section(tiny_model("llama")), settings=asked, seed=0)
    logs = [each for each in json.loads((folder / "history.json").read_text()) if "loss" in each]
    assert column(logs, "kl")[0] == pytest.approx(0, abs=1e-4)
    assert abs(column(logs, "kl")[-1]) > 1e-2


def test_held_out_pairs_are_measured_by_the_pairs_part_alone(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    asked = hypo(1.0, held_out_share=0.5, args={"max_steps": 1, "eval_on_start": True, "eval_strategy": "steps"})
    (tmp_path / "run").mkdir()
    train(
        written(tmp_path / "run", pairs(None)),
        tmp_path / "run",
        model=section(tiny_model("llama")),
        settings=asked,
        seed=0,
    )
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    measured = [each for each in history if "eval_loss" in each]
    assert measured[0]["eval_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert all("eval_kl" not in each for each in measured)


def stepped(folder: Path, place: Path, **settings: Any) -> dict[str, torch.Tensor]:
    """The weights after one step of descent on four pairs, from adapters that are not without effect."""
    torch.manual_seed(0)
    policy = stirred(folder)
    made = trainer(policy, pairs(None), place, loss="hypo", options={"kl_weight": 0.5}, **settings)
    rollouts = Rollouts(Collator(Renderer(policy)), samples=2, max_new_tokens=8, seed=0)

    def collate(records: Any) -> Any:
        return {**Collator(Renderer(policy))(records), "asked": rollouts.asked(records)}

    made.rollouts, made.data_collator = rollouts, collate
    made.train()
    return {name: each.detach().clone() for name, each in policy.model.named_parameters() if each.requires_grad}


def test_micro_batches_make_the_step_of_one_batch(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    cut = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "max_steps": -1, "num_train_epochs": 1}
    whole, pieces = (stepped(tiny_model("llama"), tmp_path, **each) for each in ({}, cut))
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
def test_the_step_moves_the_adapters_by_the_divergences_gradient_too(
    bf16: bool, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Under autocast, number types that were changed while drawing, without gradients, must not be used again.
    both = stepped(tiny_model("llama"), tmp_path, bf16=bf16)
    monkeypatch.setattr(Objective, "__call__", without_samples)
    alone = stepped(tiny_model("llama"), tmp_path, bf16=bf16)
    moved = [name for name in both if not torch.equal(both[name], alone[name])]
    assert moved == list(both)


def without_samples(self: Objective, *args: Any, **kwargs: Any) -> torch.Tensor:
    return CALL(self, *args, **{**kwargs, "sampled": None, "ref_sampled": None})


CALL = Objective.__call__


def test_a_policy_whose_weights_are_sharded_is_refused(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedTrainer, "is_sharded", True)
    with pytest.raises(ConfigError, match=r"train\.loss: hypo .* sharded .* configs/accelerate/ddp\.yaml"):
        trained(tmp_path / "run", section(tiny_model("llama")), hypo(0.3), pairs(None))
