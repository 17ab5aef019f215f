"""Training runs in every way: where they begin, what they leave on disk, and how they go on after a kill."""

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
from transformers import AutoModelForImageTextToText

from sclvlm import pipeline, training
from sclvlm.collation import Collator, logps
from sclvlm.config import Config, DataSection, EvaluateSection, ModelSection, RunSection, TrainSection
from sclvlm.models import Policy, load_policy
from sclvlm.questions import trained_model
from sclvlm.rendering import Renderer
from sclvlm.training import merge, train
from sclvlm.tuning import Lora, tune
from tests import tiny
from tests.pictured import learning
from tests.test_trainer import pairs
from tests.test_training import _Killed, _Killer, losses, written

ARGS = {"per_device_train_batch_size": 2, "max_steps": 3, "save_steps": 1, "logging_steps": 1, "learning_rate": 1e-2}
SHAPE = {"rank": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]}
LORA = {**SHAPE, "dropout": 0.0}
NO_ADAPTER = {
    "all in full": {"lora": None, "projector": "full", "vision": "full"},
    "language in full": {"lora": None},
    "language in full beside adapters": {"language": "full", "lora": LORA, "projector": "lora", "vision": "full"},
    "projector alone": {"language": "frozen", "projector": "full"},
}
ADAPTER = {
    "adapters": {"lora": LORA},
    "dora": {"lora": {**LORA, "dora": True, "rslora": True}},
    "adapters beside full parts": {"lora": LORA, "projector": "full", "vision": "full"},
    "adapters everywhere": {"lora": LORA, "projector": "lora", "vision": "lora"},
}
WAYS = {**NO_ADAPTER, **ADAPTER}


def section(folder: Path, **settings: Any) -> ModelSection:
    return ModelSection(path=str(folder), **{"dtype": "float32", "device": "cpu", "attention": "eager", **settings})


def settings(way: dict[str, Any], **changes: Any) -> TrainSection:
    args = {**ARGS, **changes.pop("args", {})}
    return TrainSection.model_validate({**way, "args": args, **changes})


def config(run: Path, model: ModelSection, train: TrainSection) -> Config:
    """Of a run whose train stage wrote to `run`/train."""
    return Config(run=RunSection(dir=str(run)), model=model, data=DataSection(pairs="pairs.jsonl"), train=train)


def scores(policy: Policy, pictures: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return logps(policy.model, Collator(Renderer(policy))(pairs(pictures))).sums


@pytest.fixture(name="file")
def pairs_file(pictures: list[str], tmp_path: Path) -> Path:
    return written(tmp_path, pairs(pictures))


@pytest.fixture(scope="module", name="start")
def adapter_to_start_from(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """An adapter of the tiny LLaVA that does something."""
    torch.manual_seed(5)
    model = tune(tiny.load(tiny_model("llava")).model, Lora(2, 4, 0.0, ["q_proj", "v_proj"]))
    with torch.no_grad():
        for each in learning(model):
            each.normal_(std=0.1)
    model.save_pretrained(folder := tmp_path_factory.mktemp("start"))
    return str(folder)


BEGINNINGS = [*((way, False) for way in WAYS), *((way, True) for way in [*NO_ADAPTER, "adapters"])]


@pytest.mark.parametrize(("way", "started"), BEGINNINGS)
def test_training_begins_at_log_2_and_a_cached_reference_is_a_live_one(
    way: str, started: bool, start: str, tiny_model: Callable[[str], Path], file: Path, tmp_path: Path
) -> None:
    model = section(tiny_model("llava"), adapter=start if started else None)
    found = []
    for reference in ("cached", "live"):
        train(file, tmp_path / reference, model=model, settings=settings(WAYS[way], reference=reference), seed=0)
        found.append(losses(tmp_path / reference))
    assert [each[0] for each in found] == pytest.approx([math.log(2)] * 2, abs=1e-5)
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert found[0][-1] < found[0][0] - 0.01


@pytest.mark.parametrize("reference", ["cached", "live"])
@pytest.mark.parametrize(
    ("way", "started"),
    [("all in full", False), ("language in full beside adapters", False), ("adapters", True), ("all in full", True)],
)
def test_a_killed_run_ends_as_the_uninterrupted_one(
    way: str,
    started: bool,
    reference: str,
    start: str,
    tiny_model: Callable[[str], Path],
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The loss after the kill tells the reference of before it: one of the policy as it is then would give log 2 again.
    model = section(tiny_model("llava"), adapter=start if started else None)
    asked = settings(WAYS[way], reference=reference)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(file, whole, model=model, settings=asked, seed=7)
    with monkeypatch.context() as patched:
        patched.setattr(training, "PreferenceTrainer", partial(training.PreferenceTrainer, callbacks=[_Killer(2)]))
        with pytest.raises(_Killed):
            train(file, broken, model=model, settings=asked, seed=7)
    train(file, broken, model=model, settings=asked, seed=7)
    assert losses(broken) == losses(whole)
    name = "adapter/adapter_model.safetensors" if way in ADAPTER else "model/model.safetensors"
    ours, theirs = (load_file(folder / name) for folder in (broken, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize("way", WAYS)
def test_what_is_evaluated_and_merged_is_what_was_trained(
    way: str,
    tiny_model: Callable[[str], Path],
    pictures: list[str],
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, asked, trained = section(tiny_model("llava")), settings(WAYS[way], merge=True), []

    def spied(policy: Policy, folder: Path, *others: Any) -> None:
        trained.append(scores(Policy(policy.model.eval(), policy.processor, policy.ref), pictures))
        write(policy, folder, *others)

    write = training._write_trained
    monkeypatch.setattr(training, "_write_trained", spied)
    train(file, tmp_path / "run/train", model=model, settings=asked, seed=0)
    assert (tmp_path / "run/train/adapter").is_dir() == (way in ADAPTER)
    evaluated = load_policy(**trained_model(config(tmp_path / "run", model, asked), asked).model_dump())
    merged = load_policy(**section(tmp_path / "run/train/model").model_dump())
    for policy in (evaluated, merged):
        torch.testing.assert_close(scores(policy, pictures), trained[0], rtol=0, atol=1e-4)
    assert (scores(load_policy(**model.model_dump()), pictures) - trained[0]).abs().max() > 0.1


@pytest.mark.parametrize(("way", "family"), [*((way, "llava") for way in NO_ADAPTER), ("all in full", "qwen")])
def test_a_whole_model_is_an_ordinary_one_in_its_own_number_type(
    way: str, family: str, tiny_model: Callable[[str], Path], file: Path, tmp_path: Path
) -> None:
    model = section(tiny_model(family), dtype="bfloat16", attention="sdpa")
    train(file, tmp_path / "run", model=model, settings=settings(WAYS[way]), seed=0)
    tensors = load_file(tmp_path / "run/model/model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "run/model/config.json").read_text())["dtype"] == "bfloat16"
    loaded, told = AutoModelForImageTextToText.from_pretrained(
        tmp_path / "run/model", output_loading_info=True, dtype="auto"
    )
    assert loaded.dtype is torch.bfloat16
    assert not any(told.values())  # no weight missing, unexpected or of another shape


@pytest.mark.parametrize("way", ["all in full", "adapters"])
def test_evaluation_asks_the_model_as_it_was_and_as_it_is(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(
        pipeline, "_ask", lambda each: asked.append((each.config.model.path, each.config.model.adapter))
    )
    monkeypatch.setattr("sclvlm.evaluation.score_all", lambda *_: {})
    given = config(tmp_path, section(Path("bare"), adapter="start"), settings(WAYS[way]))
    pipeline.evaluate(pipeline.Job.of(given.model_copy(update={"evaluate": EvaluateSection()}), "evaluate"))
    trained = {"all in full": (f"{tmp_path}/train/model", None), "adapters": ("bare", f"{tmp_path}/train/adapter")}
    assert asked == [("bare", "start"), trained[way]]


def test_a_continued_adapter_stands_on_the_bare_model(
    start: str, tiny_model: Callable[[str], Path], pictures: list[str], file: Path, tmp_path: Path
) -> None:
    model = section(tiny_model("llava"), adapter=start)
    train(file, tmp_path / "run", model=model, settings=settings({"lora": LORA}, args={"learning_rate": 0.0}), seed=0)
    continued = section(tiny_model("llava"), adapter=str(tmp_path / "run/adapter"))
    first, then = (scores(load_policy(**each.model_dump()), pictures) for each in (model, continued))
    torch.testing.assert_close(then, first)  # a rate of 0 changes nothing: the start is in what is written
    merge(model, tmp_path / "run/adapter", tmp_path / "merged")
    folded = load_policy(**section(tmp_path / "merged").model_dump())
    torch.testing.assert_close(scores(folded, pictures), first, rtol=0, atol=1e-4)
