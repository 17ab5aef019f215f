"""The same laws of training for every kind of policy: one that sees and talks, one that talks, one that acts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from sclvlm import training
from sclvlm.collation import logps
from sclvlm.collators import laid_out, plain_collator
from sclvlm.config import LoraSection, ModelSection, TrainSection
from sclvlm.models import load_policy
from sclvlm.records import PreferencePair
from sclvlm.storage import write_records
from sclvlm.training import train
from tests import acting
from tests.test_trainer import pairs as said_pairs
from tests.test_training import ARGS, _Killed, _Killer

KINDS = ["vlm", "llm", "agent"]


class Kind(NamedTuple):
    """A model and four pairs that it can be trained on."""

    model: ModelSection
    records: list[PreferencePair]


@pytest.fixture(name="kind", params=KINDS)
def each_kind(
    request: pytest.FixtureRequest,
    tiny_model: Callable[[str], Path],
    pictures: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Kind:
    """A tiny one of each kind."""
    return make(request.param, tiny_model, pictures, tmp_path_factory.mktemp("agent"))


def make(kind: str, tiny_model: Callable[[str], Path], pictures: list[str], folder: Path) -> Kind:
    paths = {"vlm": lambda: tiny_model("fast_vlm"), "llm": lambda: tiny_model("llama")}
    path = paths.get(kind, lambda: acting.agent(folder))()
    records = acting.pairs() if kind == "agent" else said_pairs(pictures if kind == "vlm" else None)
    return Kind(ModelSection(path=str(path), dtype="float32", device="cpu", attention="eager"), records)


def trained(kind: Kind, folder: Path, **changes: Any) -> list[dict[str, float]]:
    """What a run logged at each of its steps; its files lie in `folder`/run."""
    args = {**ARGS, "save_steps": 1, "max_steps": 6, **changes.pop("args", {})}
    targets = ("q_proj", "v_proj", "up_proj", "down_proj")
    lora = LoraSection(rank=4, alpha=16, dropout=changes.pop("dropout", 0.0), targets=targets)
    settings = TrainSection(lora=lora, args=args, **changes)
    write_records(folder / "pairs.jsonl", kind.records)
    train(folder / "pairs.jsonl", folder / "run", model=kind.model, settings=settings, seed=7)
    history = json.loads((folder / "run" / "history.json").read_text())
    return [logged for logged in history if "loss" in logged]


def losses(history: list[dict[str, float]]) -> list[float]:
    return [logged["loss"] for logged in history]


def test_training_begins_at_log_2(kind: Kind, tmp_path: Path) -> None:
    first = trained(kind, tmp_path, args={"max_steps": 1, "per_device_train_batch_size": 4})[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["rewards/accuracies"] == 0.5  # ties count half


def test_a_resumed_run_is_the_uninterrupted_one(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(kind, tmp_path / "whole", dropout=0.1)
    with monkeypatch.context() as patched:
        patched.setattr(training, "PreferenceTrainer", partial(training.PreferenceTrainer, callbacks=[_Killer(3)]))
        with pytest.raises(_Killed):
            trained(kind, tmp_path / "broken", dropout=0.1)
    assert losses(trained(kind, tmp_path / "broken", dropout=0.1)) == losses(whole)
    file = Path("run", "adapter", "adapter_model.safetensors")
    ours, theirs = (load_file(tmp_path / name / file) for name in ("broken", "whole"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_four_pairs_are_learnt_by_heart(kind: Kind, tmp_path: Path) -> None:
    args = {"learning_rate": 0.02, "max_steps": 20, "per_device_train_batch_size": 4}
    history = trained(kind, tmp_path, beta=0.5, args=args)
    assert history[-1]["loss"] < 0.3 * math.log(2)
    assert history[-1]["rewards/accuracies"] == 1.0


def test_the_kept_reference_is_the_live_one(kind: Kind, tmp_path: Path) -> None:
    kept, live = (trained(kind, tmp_path / name, reference=name) for name in ("cached", "live"))
    assert losses(kept) == pytest.approx(losses(live), abs=1e-5)
    assert losses(kept)[-1] != pytest.approx(math.log(2), abs=1e-3)  # the policy has left it


@pytest.mark.parametrize("name", ["vlm", "llm"])  # episodes of one start share no more than their first frame
def test_shared_rows_score_as_plain_ones(
    name: str, tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    kind = make(name, tiny_model, pictures, tmp_path)
    policy = load_policy(**kind.model.model_dump())
    plain = plain_collator(policy, "live", kind.records, limit_gb=1.0)
    shared = laid_out(plain, "shared", kind.records)
    assert [plain.layout, shared.layout] == ["plain", "shared"]
    with torch.no_grad():
        ours, theirs = (logps(policy.model, collate(kind.records)) for collate in (shared, plain))
    torch.testing.assert_close(ours.sums, theirs.sums, rtol=0, atol=1e-4)
    assert torch.equal(ours.num_tokens, theirs.num_tokens)


def test_batch_mates_and_padding_change_no_score(kind: Kind) -> None:
    policy = load_policy(**kind.model.model_dump())
    collate = plain_collator(policy, "live", kind.records, limit_gb=1.0)
    with torch.no_grad():
        together = logps(policy.model, collate(kind.records)).sums
        alone = torch.cat([logps(policy.model, collate([record])).sums for record in kind.records])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
