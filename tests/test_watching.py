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
from transformers import TrainerControl
from transformers.trainer_utils import IntervalStrategy

from sclvlm import training
from sclvlm.collation import Collator, logps
from sclvlm.config import Config, TrainSection
from sclvlm.errors import ConfigError
from sclvlm.fingerprints import stage_inputs
from sclvlm.preflight import check_inputs
from sclvlm.records import Demonstration, text_message
from sclvlm.rendering import Renderer
from sclvlm.screening import Screen
from sclvlm.storage import write_records
from sclvlm.trainer.records import split_records
from sclvlm.trainer.watching import StopAt, check_watching, small_is_good
from sclvlm.training import train
from tests.test_trainer import adapted, pairs, steps, trainer
from tests.test_training import _Killed, _Killer, section, settings, written

BY_STEP = {"eval_strategy": "steps", "eval_steps": 1}


def apart(folder: Path, records: Any = None) -> Path:
    """A held-out file: by default the training pairs with their sides exchanged, so that what is learnt is wrong."""
    swapped = [each.model_copy(update={"chosen": each.rejected, "rejected": each.chosen}) for each in pairs(None)]
    write_records(folder / "held_out.jsonl", swapped if records is None else records)
    return folder / "held_out.jsonl"


def history(run: Path, figure: str) -> list[float]:
    return [logged[figure] for logged in json.loads((run / "history.json").read_text()) if figure in logged]


def test_held_out_figures_are_means_over_the_pairs_wherever_batches_are_cut(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    policy = adapted(tiny_model("llama"))
    trained = trainer(policy, pairs(None), tmp_path, max_steps=3, per_device_eval_batch_size=3)
    trained.train()
    found = trained.evaluate(eval_dataset=pairs(None))  # a batch of 3 and one of 1
    with torch.no_grad():
        batch = Collator(Renderer(policy))(pairs(None))
        policy.model.eval()
        margins = (logps(policy.model, batch).sums - trained._reference(policy.model, batch)).diff(dim=1)[:, 0]
    losses = torch.nn.functional.softplus(0.1 * margins)  # -log sigmoid(beta h), h being chosen less rejected
    assert found["eval_loss"] == pytest.approx(losses.mean().item(), abs=1e-5)
    assert found["eval_rewards/margins"] == pytest.approx(-0.1 * margins.mean().item(), abs=1e-5)
    names = {"rewards/chosen", "rewards/accuracies", "logps/chosen", "logps/rejected", "lengths/chosen", "exact"}
    assert {f"eval_{name}" for name in names} <= found.keys()


def test_an_evaluation_between_two_logs_takes_nothing_of_training(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    quiet = trainer(adapted(tiny_model("llama"), dropout=0.1), pairs(None), tmp_path, max_steps=4, logging_steps=2)
    quiet.train()
    watched = trainer(adapted(tiny_model("llama"), dropout=0.1), pairs(None), tmp_path, max_steps=4, logging_steps=2)
    watched.eval_dataset = pairs(None)[:1]
    watched.args.eval_strategy, watched.args.eval_steps = IntervalStrategy.STEPS, 1
    watched.train()
    for figure in ("loss", "rewards/margins", "logps/chosen"):  # dropout draws the same numbers, too
        assert steps(watched, figure) == steps(quiet, figure)
    assert len(steps(watched, "eval_rewards/margins")) == 4
    assert not any("exact" in logged for logged in watched.state.log_history)


def test_exact_is_the_share_that_greedy_decoding_would_say(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    policy = adapted(tiny_model("llama"))
    renderer = Renderer(policy)
    prompt = [text_message("user", "Hm?")]
    ids = list(renderer.encode([renderer.text(prompt, reply=True)], [[]]).ids[0])
    words, policy_end = "", policy.processor.eos_token_id
    with torch.no_grad():
        policy.model.eval()
        while (best := policy.model(torch.tensor([ids])).logits[0, -1].argmax().item()) != policy_end:
            ids.append(best)
            words += policy.processor.decode([best])
            if len(words) == 60:
                pytest.skip("this random model never ends its reply")
    said = [Demonstration(id="said", prompt=prompt, completion=[text_message("assistant", words)])]
    other = [
        Demonstration(id=f"other-{number}", prompt=prompt, completion=[text_message("assistant", text)])
        for number, text in enumerate([words + "!", "?" + words[1:]])
    ]
    found = trainer(policy, pairs(None), tmp_path, loss="sft").evaluate(eval_dataset=said + other)
    assert found["eval_exact"] == pytest.approx(1 / 3)


def test_held_out_records_are_measured_once_an_epoch(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    file, run = written(tmp_path, pairs(None)), tmp_path / "run"
    train(file, run, model=section(tiny_model("llama")), settings=settings(), seed=0, held_out=apart(tmp_path))
    found = history(run, "eval_loss")
    assert len(found) == 3
    assert found[-1] > found[0]  # the sides are exchanged there: it grows as the training loss falls
    assert json.loads((run / "data.json").read_text())["held out"] == [record.id for record in pairs(None)]


def test_a_share_is_set_apart_and_told(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    file, run = written(tmp_path, pairs(None)), tmp_path / "run"
    changes = settings(held_out_share=0.25, args={"max_steps": 4})
    train(file, run, model=section(tiny_model("llama")), settings=changes, seed=0)
    data = json.loads((run / "data.json").read_text())
    assert data["records"] == 3
    assert len(data["held out"]) == 1
    assert len(history(run, "eval_rewards/accuracies")) == 2  # two steps an epoch


@pytest.mark.parametrize("reference", ["cached", "live"])
@pytest.mark.parametrize("features", ["cached", "live"])
def test_held_out_pictures_go_the_way_of_the_others(
    features: str, reference: str, tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    shown = pairs(pictures)
    file, run = written(tmp_path, shown[:2]), tmp_path / "run"
    changes = settings(features=features, reference=reference, args={"max_steps": 1, "learning_rate": 0.0})
    train(
        file,
        run,
        model=section(tiny_model("fast_vlm")),
        settings=changes,
        seed=0,
        held_out=apart(tmp_path, shown[2:]),
    )
    assert history(run, "eval_loss") == pytest.approx([math.log(2)], abs=1e-5)
    assert (run / "reference.jsonl").exists() == (reference == "cached")


def weights(run: Path) -> dict[str, torch.Tensor]:
    """What training wrote, an adapter or a whole model."""
    (file,) = run.glob("[am]*/*model.safetensors")
    return load_file(file)


@pytest.mark.parametrize("trained", [{}, {"lora": None}], ids=["adapter", "whole model"])
def test_what_is_written_is_the_best_one(
    trained: dict[str, Any], tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    # The held-out sides are exchanged: each step makes it worse, so the first one is the best.
    file, model = written(tmp_path, pairs(None)), section(tiny_model("llama"))
    args = {**BY_STEP, "max_steps": 4, "learning_rate": 0.05, "lr_scheduler_type": "constant"}
    keys = ("save_steps", "per_device_train_batch_size")
    plain = settings(**trained, args={**args, "max_steps": 1})
    train(file, tmp_path / "first", model=model, settings=plain, seed=0, held_out=apart(tmp_path))
    best = settings(**trained, args={**args, "load_best_model_at_end": True})
    assert all(key in best.args for key in keys)
    train(file, tmp_path / "best", model=model, settings=best, seed=0, held_out=apart(tmp_path))
    found = history(tmp_path / "best", "eval_loss")
    assert len(found) == 4
    assert min(found) == found[0] < found[-1] - 0.1
    kept, first = weights(tmp_path / "best"), weights(tmp_path / "first")
    assert all(torch.equal(value, first[name]) for name, value in kept.items())


@pytest.mark.parametrize("patience", [1, 2])
def test_training_ends_when_patience_does(patience: int, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    file, run = written(tmp_path, pairs(None)), tmp_path / "run"
    changes = settings(early_stopping=patience, args={**BY_STEP, "max_steps": 6, "learning_rate": 0.05})
    train(file, run, model=section(tiny_model("llama")), settings=changes, seed=0, held_out=apart(tmp_path))
    # Warming up, the first step is made at rate 0: the second evaluation is the first that is worse.
    assert len(history(run, "loss")) == 1 + patience


def test_patience_goes_on_where_a_killed_run_stopped(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, run, model = written(tmp_path, pairs(None)), tmp_path / "run", section(tiny_model("llama"))
    changes = settings(early_stopping=3, args={**BY_STEP, "max_steps": 6, "learning_rate": 0.05})
    go = partial(train, file, run, model=model, settings=changes, seed=0, held_out=apart(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(training, "PreferenceTrainer", partial(training.PreferenceTrainer, callbacks=[_Killer(3)]))
        with pytest.raises(_Killed):
            go()
    go()
    assert len(history(run, "loss")) == 4


def test_training_ends_at_its_target(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    file, run = written(tmp_path, pairs(None)), tmp_path / "run"
    args = {**BY_STEP, "max_steps": 12, "learning_rate": 0.02}
    changes = settings(stop_at={"eval_loss": 0.5, "rewards/accuracies": 1.0}, args=args)
    held_out = apart(tmp_path, pairs(None))
    train(file, run, model=section(tiny_model("llama")), settings=changes, seed=0, held_out=held_out)
    found, right = history(run, "eval_loss"), history(run, "eval_rewards/accuracies")
    assert 1 < len(found) < 12
    reached = [loss <= 0.5 and accuracy >= 1.0 for loss, accuracy in zip(found, right, strict=True)]
    assert reached == [False] * (len(found) - 1) + [True]


def test_a_run_killed_behind_its_last_checkpoint_makes_no_step_more(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, held_out = written(tmp_path, pairs(None)), apart(tmp_path, pairs(None))
    changes = settings(stop_at={"eval_loss": 100.0}, args={**BY_STEP, "max_steps": 12})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run = partial(train, file, model=section(tiny_model("llama")), settings=changes, seed=0, held_out=held_out)
    run(whole)
    with monkeypatch.context() as patched:
        patched.setattr(training, "PreferenceTrainer", partial(training.PreferenceTrainer, callbacks=[_Killer(1)]))
        with pytest.raises(_Killed):
            run(broken)
    run(broken)
    assert len(history(broken, "eval_loss")) == 1
    ours, theirs = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (broken, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"args": {"eval_strategy": "steps"}}, r"train\.args\.eval_strategy: measures on held-out records"),
        ({"args": {"load_best_model_at_end": True}}, r"load_best_model_at_end: .*data\.held_out.*held_out_share"),
        ({"early_stopping": 2}, r"train\.early_stopping: measures on held-out records, and there are none"),
        ({"stop_at": {"eval_exact": 0.5}}, r"train\.stop_at: measures on held-out records"),
    ],
)
def test_measuring_without_held_out_records_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_watching(TrainSection(**changes), held_out=False)


def config(folder: Path, model: Path, **sections: Any) -> Config:
    file = written(folder, pairs(None))
    sections["data"] = {"pairs": str(file), **sections.get("data", {})}
    return Config.model_validate({"run": {"dir": str(folder / "run")}, "model": {"path": str(model)}, **sections})


def test_a_run_is_refused_before_its_model_is_loaded(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    early = {"early_stopping": 1}
    with pytest.raises(ConfigError, match=r"train\.early_stopping: measures on held-out records"):
        check_inputs(config(tmp_path, tiny_model("llama"), train=early), ["train"])
    held_out = {"held_out": str(apart(tmp_path))}
    check_inputs(config(tmp_path, tiny_model("llama"), train=early, data=held_out), ["train"])
    missing = config(tmp_path, tiny_model("llama"), train=early, data={"held_out": "nowhere.jsonl"})
    with pytest.raises(ConfigError, match=r"data\.held_out: nowhere\.jsonl does not exist"):
        check_inputs(missing, ["train"])


def test_held_out_records_come_from_a_file_or_a_share(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    data = {"held_out": str(apart(tmp_path))}
    with pytest.raises(ValueError, match=r"data\.held_out names the held-out records"):
        config(tmp_path, tiny_model("llama"), data=data, train={"held_out_share": 0.1})


def test_other_held_out_records_make_another_stage(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    found = []
    for records in (pairs(None), pairs(None)[:2]):
        data = {"held_out": str(apart(tmp_path, records))}
        found.append(stage_inputs(config(tmp_path, tiny_model("llama"), data=data, train={}), "train"))
    assert found[0]["data.held_out"] != found[1]["data.held_out"]


@pytest.mark.parametrize("asked", [{"early_stopping": 1}, {"stop_at": {"eval_loss": 1.0}}])
def test_a_stop_needs_evaluations(asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"needs evaluations, and train\.args\.eval_strategy is no"):
        check_watching(TrainSection(**asked, args={"eval_strategy": "no"}), held_out=True)


def test_a_threshold_without_patience_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"early_stopping_threshold: read by train\.early_stopping alone"):
        check_watching(TrainSection(early_stopping_threshold=0.1), held_out=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stop_at": {"eval_exactly": 0.5}},
            r"train\.stop_at: eval_exactly is not measured\. Name one of .*eval_exact",
        ),
        (
            {"args": {"load_best_model_at_end": True, "metric_for_best_model": "acc"}},
            r"train\.args\.metric_for_best_model: eval_acc is not measured",
        ),
        (
            {"args": {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 2}},
            r"load_best_model_at_end: saved every 2 steps and measured every 1",
        ),
    ],
)
def test_what_cannot_be_chosen_by_is_named(
    changes: dict[str, Any], message: str, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    changes = settings(**{**changes, "args": {"save_strategy": "epoch", **changes.get("args", {})}})
    changes = changes.model_copy(
        update={
            "args": {k: v for k, v in changes.args.items() if "eval_steps" not in changes.args or k != "save_strategy"}
        }
    )
    with pytest.raises(ConfigError, match=message):
        train(
            written(tmp_path, pairs(None)),
            tmp_path / "run",
            model=section(tiny_model("llama")),
            settings=changes,
            seed=0,
            held_out=apart(tmp_path),
        )


def test_losses_reach_their_target_from_above_and_other_figures_from_below() -> None:
    assert [small_is_good(name) for name in ("eval_loss", "loss", "eval_nll", "eval_exact", "rewards/margins")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(("found", "ends"), [((0.7, 0.4), True), ((0.7, 0.6), False), ((0.6, 0.4), False)])
def test_all_targets_must_be_reached(found: tuple[float, float], ends: bool) -> None:
    control = TrainerControl()
    metrics = dict(zip(("eval_exact", "eval_loss"), found, strict=True))
    StopAt({"eval_exact": 0.65, "loss": 0.5}).on_evaluate(None, None, control, metrics)
    assert control.should_training_stop is ends


def test_the_progress_line_tells_of_held_out_figures(
    tiny_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = settings(args={"max_steps": 1, **BY_STEP})
    file = written(tmp_path, pairs(None))
    train(
        file, tmp_path / "run", model=section(tiny_model("llama")), settings=changes, seed=0, held_out=apart(tmp_path)
    )
    assert "step 1, held out: loss 0.693, rewards/margins" in capsys.readouterr().err


def test_held_out_prompts_that_are_trained_on_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = written(tmp_path, pairs(None)[:3])
    with caplog.at_level("WARNING", logger="sclvlm"):
        split_records(file, apart(tmp_path, pairs(None)), TrainSection(), 0, Screen())
    assert "3 of 4 held-out records have the prompt of one to train on" in caplog.text
