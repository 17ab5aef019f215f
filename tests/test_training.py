from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from sclvlm import training
from sclvlm.collation import Collator, logps
from sclvlm.config import LoraSection, ModelSection, TrainSection
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.models import load_policy
from sclvlm.records import Demonstration, text_message
from sclvlm.rendering import Renderer
from sclvlm.storage import write_records
from sclvlm.training import last_checkpoint, train
from tests import tiny
from tests.test_trainer import pairs

ARGS = {
    "per_device_train_batch_size": 2,
    "num_train_epochs": 3,
    "save_steps": 1,
    "logging_steps": 1,
    "learning_rate": 1e-2,
}


def section(folder: Path, **settings: Any) -> ModelSection:
    return ModelSection(path=str(folder), dtype="float32", device="cpu", attention="eager", **settings)


def settings(**changes: Any) -> TrainSection:
    args = {**ARGS, **changes.pop("args", {})}
    lora = LoraSection(rank=2, alpha=4, dropout=0.1)
    return TrainSection(**{"lora": lora, **changes}, args=args)


def written(folder: Path, records: Any) -> Path:
    write_records(folder / "pairs.jsonl", records)
    return folder / "pairs.jsonl"


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "history.json").read_text())
    return [logged["loss"] for logged in history if "loss" in logged]


class _Killed(BaseException):
    """Not an Exception: nothing may catch it."""


class _Killer(TrainerCallback):
    """Dies after the checkpoint of a step, in the middle of an epoch or at its end."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise _Killed


@pytest.mark.parametrize("step", [2, 3])
def test_a_resumed_run_is_the_uninterrupted_one(
    step: int, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two steps an epoch: the kill comes once at its end, once within the next. Dropout draws random numbers.
    file, model = written(tmp_path, pairs(None)), section(tiny_model("llama"))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(file, whole, model=model, settings=settings(), seed=7)
    with monkeypatch.context() as patched:
        mortal = partial(training.PreferenceTrainer, callbacks=[_Killer(step)])
        patched.setattr(training, "PreferenceTrainer", mortal)
        with pytest.raises(_Killed):
            train(file, broken, model=model, settings=settings(), seed=7)
    assert last_checkpoint(broken / "checkpoints") == str(broken / "checkpoints" / f"checkpoint-{step}")
    train(file, broken, model=model, settings=settings(), seed=7)
    assert losses(broken) == losses(whole)
    ours, theirs = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (broken, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_finished_run_leaves_adapter_history_and_counts(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    file = written(tmp_path, pairs(None))
    train(file, tmp_path / "run", model=section(tiny_model("llama")), settings=settings(args={"max_steps": 1}), seed=0)
    written_files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert written_files == ["adapter", "data.json", "history.json", "reference.jsonl"]
    assert json.loads((tmp_path / "run" / "data.json").read_text()) == {"records": 4, "too long": []}


def test_a_torn_checkpoint_is_ignored(tmp_path: Path) -> None:
    for step, state in ((8, '{"global_step": 8}'), (9, '{"global_step": 9}'), (10, '{"global_st')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-11").mkdir()  # the state comes last, so here the weights may be half written
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")


def test_without_checkpoints_there_is_no_last_one(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "nothing") is None


def test_over_long_records_are_dropped_and_counted(
    tiny_model: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = pairs(None)[0].model_copy(update={"id": "long", "chosen": [text_message("assistant", "x" * 90)]})
    file = written(tmp_path, [*pairs(None), long])
    changes = settings(max_length=100, args={"max_steps": 1})
    train(file, tmp_path / "run", model=section(tiny_model("llama")), settings=changes, seed=0)
    assert json.loads((tmp_path / "run" / "data.json").read_text()) == {"records": 5, "too long": ["long"]}
    assert "1 of 5 records are longer than train.max_length and left out" in caplog.text


def test_the_length_counts_picture_tokens(tiny_model: Callable[[str], Path], pictures: list[str]) -> None:
    collator = Collator(Renderer(tiny.load(tiny_model("fast_vlm"))))
    asked = pairs(pictures)[0]
    # <|im_start|> user \n, 2 x 2 of the picture, the question, <|im_end|> \n, <|im_start|> assistant \n,
    # the longer reply, <|im_end|>; one token a character.
    expected = (1 + 4 + 1) + 4 + len("What is it?") + 2 + (1 + 9 + 1) + len("A square.") + 1
    assert collator.length(asked) == expected


def test_only_over_long_records_are_an_error(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    file = written(tmp_path, pairs(None))
    with pytest.raises(SclvlmError, match=r"all 4 records are longer than train\.max_length=5\. Raise it\."):
        train(file, tmp_path / "run", model=section(tiny_model("llama")), settings=settings(max_length=5), seed=0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"learning_rat": 1e-3}, r"train\.args\.learning_rat: .*no such argument\. Did you mean learning_rate"),
        ({"learning_rate": "fast"}, r"train\.args\.learning_rate: .*valid number.*, got 'fast'"),
        ({"save_strategy": "sometimes"}, r"train\.args: .*sometimes"),
        ({"output_dir": "elsewhere"}, r"train\.args\.output_dir: set by the training stage itself\. Remove it\."),
    ],
)
def test_a_wrong_argument_is_named(
    args: dict[str, Any], message: str, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    file = written(tmp_path, pairs(None))
    with pytest.raises(ConfigError, match=message):
        train(file, tmp_path / "run", model=section(tiny_model("llama")), settings=settings(args=args), seed=0)


def test_targets_that_match_nothing_are_named(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    file = written(tmp_path, pairs(None))
    nowhere = TrainSection(lora=LoraSection(targets=("c_attn",)))
    with pytest.raises(ConfigError, match=r"train\.lora\.targets: .*c_attn"):
        train(file, tmp_path / "run", model=section(tiny_model("llama")), settings=nowhere, seed=0)


def test_a_text_only_model_has_no_projector_to_train(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    file = written(tmp_path, pairs(None))
    with pytest.raises(ConfigError, match=r"train\.projector: .*Set it to frozen"):
        train(file, tmp_path / "run", model=section(tiny_model("llama")), settings=settings(projector="full"), seed=0)


@pytest.mark.parametrize("family", ["fast_vlm", "llava", "qwen"])
def test_adapter_and_merged_model_hold_what_was_trained(
    family: str, tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    file, model, run = written(tmp_path, pairs(pictures)), section(tiny_model(family)), tmp_path / "run"
    changes = settings(projector="full", merge=True, args={"max_steps": 3})
    train(file, run, model=model, settings=changes, seed=0)
    assert any("merger" in name or "projector" in name for name in load_file(run / "adapter/adapter_model.safetensors"))
    bare = load_policy(**model.model_dump())
    adapted = load_policy(**section(tiny_model(family), adapter=str(run / "adapter")).model_dump())
    merged = load_policy(**section(run / "model").model_dump())
    batch = Collator(Renderer(bare))(pairs(pictures))
    with torch.no_grad():
        before, apart, folded = (logps(policy.model, batch).sums for policy in (bare, adapted, merged))
    torch.testing.assert_close(folded, apart, rtol=0, atol=1e-4)
    assert (before - apart).abs().max() > 0.1


def test_a_half_written_merged_model_is_replaced(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    file, run = written(tmp_path, pairs(None)), tmp_path / "run"
    (run / ".model.partial").mkdir(parents=True)
    (run / ".model.partial" / "leftover.safetensors").write_text("torn")
    changes = settings(merge=True, args={"max_steps": 1})
    train(file, run, model=section(tiny_model("llama")), settings=changes, seed=0)
    assert (run / "model" / "model.safetensors").is_file()
    assert not (run / "model" / "leftover.safetensors").exists()
    assert not (run / ".model.partial").exists()


def test_demonstrations_train_with_sft(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    shown = [Demonstration(id=each.id, prompt=each.prompt, completion=each.chosen) for each in pairs(None)]
    file, run = written(tmp_path, shown), tmp_path / "run"
    train(file, run, model=section(tiny_model("llama")), settings=settings(loss="sft"), seed=0)
    assert losses(run)[-1] < losses(run)[0]


def test_pairs_train_with_sft_as_demonstrations_of_the_chosen_side(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    model, found = section(tiny_model("llama")), []
    shown = [Demonstration(id=each.id, prompt=each.prompt, completion=each.chosen) for each in pairs(None)]
    for name, records in (("pairs", pairs(None)), ("shown", shown)):
        run = tmp_path / name
        run.mkdir()
        train(written(run, records), run, model=model, settings=settings(loss="sft", args={"max_steps": 2}), seed=0)
        found.append(losses(run))
    assert found[0] == found[1]


def test_demonstrations_cannot_train_with_dpo(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    shown = [Demonstration(id=each.id, prompt=each.prompt, completion=each.chosen) for each in pairs(None)]
    with pytest.raises(SclvlmError, match=r"pairs\.jsonl:1: chosen"):
        train(
            written(tmp_path, shown), tmp_path / "run", model=section(tiny_model("llama")), settings=settings(), seed=0
        )


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_running_out_of_memory_names_what_to_lower(
    error: RuntimeError, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("sclvlm.trainer.PreferenceTrainer.training_step", burst)
    file, model = written(tmp_path, pairs(None)), section(tiny_model("llama"))
    with pytest.raises(
        SclvlmError, match=r"batch_size=2\. Halve it and set train\.args\.gradient_accumulation_steps=2"
    ):
        train(file, tmp_path / "run", model=model, settings=settings(args={"per_device_train_batch_size": 2}), seed=0)
