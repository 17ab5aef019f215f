"""Two processes train what one trains, and neither a missing picture nor a dead process makes the other one wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from safetensors.torch import load_file
from torch.utils.data import BatchSampler

from sclvlm.collation import Collator
from sclvlm.config import ModelSection, TrainSection
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.models import resolve_device
from sclvlm.records import PreferencePair, text_message
from sclvlm.rendering import Renderer
from sclvlm.storage import write_records
from sclvlm.trainer.joining import check_checkpoint, join
from sclvlm.trainer.sharing import ProcessBatches, accompanied
from sclvlm.training import train

ROOT = Path(__file__).parents[1]
PATIENCE = 300.0  # seconds; a hang would last for ever
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}
LOSSES = {"loss", "eval_loss", "train_loss", "nll", "eval_nll"}
LORA = {"rank": 2, "alpha": 4, "dropout": 0.0}
FULL = {"lora": None, "layout": "plain"}
ARGS = {"num_train_epochs": 2, "save_steps": 2, "logging_steps": 1, "learning_rate": 1e-2, "adam_epsilon": 1e-4}
# In a deep tower the rounding of differently padded batches is larger, and grows with the steps.
PROJECTOR = {"projector": "full", "features": "live", "args": {"learning_rate": 3e-3}}
# Name: family, whether every other pair has a picture, environment, settings beside LORA and ARGS.
TRAININGS: dict[str, tuple[str, bool, dict[str, str], dict[str, Any]]] = {
    "ddp": ("llama", False, {}, {"held_out_share": 0.3}),
    "fsdp": ("llama", False, FSDP, {"held_out_share": 0.3}),
    "ddp, live reference": ("llama", False, {}, {"reference": "live", "nll_weight": 0.3}),
    "fsdp, live reference": ("llama", False, FSDP, {"reference": "live", "nll_weight": 0.3}),
    "ddp, in full": ("llama", False, {}, FULL),
    "fsdp, in full": ("llama", False, FSDP, FULL),
    "ddp, tokens": ("llama", False, {}, {"tokens_per_batch": 130}),
    "ddp, hypo": (
        "llama",
        False,
        {},
        {
            "loss": "hypo",
            "loss_options": {"kl_weight": 0.2},
            "online": {"samples": 2, "max_new_tokens": 8},
            "args": {"learning_rate": 1e-3},
        },
    ),
    "ddp, pictures": ("fast_vlm", True, {}, PROJECTOR),
    "fsdp, pictures": (
        "fast_vlm",
        True,
        FSDP,
        PROJECTOR,
    ),
    "fsdp, tower": ("llava", True, FSDP, {"projector": "full", "vision": "full", "language": "frozen"}),
    "ddp, tower": ("llava", True, {}, {"projector": "full", "vision": "full", "language": "frozen"}),
    "fsdp, kept pictures": ("fast_vlm", True, FSDP, {"features": "cached"}),
}


def pairs(pictures: list[str]) -> list[PreferencePair]:
    """Seven ragged pairs, every other one about a picture if there are any."""
    return [
        PreferencePair(
            id=f"pair-{index}",
            prompt=[text_message("user", "What" + " now" * (index % 3) + "?", images=bool(pictures) and index % 2)],
            chosen=[text_message("assistant", "yes" * (1 + index % 4))],
            rejected=[text_message("assistant", "no" * (1 + index % 3))],
            images=(pictures[index % 4],) if pictures and index % 2 else (),
        )
        for index in range(7)
    ]


def section(folder: Path) -> dict[str, Any]:
    """Plain arithmetic on the CPU."""
    return {"path": str(folder), "dtype": "float32", "device": "cpu", "attention": "eager"}


def settings(changes: dict[str, Any], processes: int) -> dict[str, Any]:
    """Steps of four pairs, or of two batches, whichever number of processes there are."""
    steps = {"gradient_accumulation_steps": 2 // processes} if "tokens_per_batch" in changes else {}
    size = (
        {} if steps else {"per_device_train_batch_size": 4 // processes, "per_device_eval_batch_size": 2 // processes}
    )
    return {"lora": LORA, **changes, "args": {**ARGS, **steps, **size, **changes.get("args", {})}}


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node=2")


def accelerate(name: str) -> tuple[str, ...]:
    """`accelerate launch` with our file called so."""
    file = ROOT / "configs" / "accelerate" / f"{name}.yaml"
    return ("accelerate.commands.launch", "--config_file", str(file), "--main_process_port", "0")


def surroundings() -> dict[str, str]:
    """Of this checkout, and without a GPU."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def launched(script: list[str], folder: Path, by: tuple[str, ...] = TORCHRUN) -> subprocess.CompletedProcess[str]:
    """`script` in two processes, when they have ended."""
    return subprocess.run(
        [sys.executable, "-m", *by, *script],
        cwd=folder,
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module", name="runs")
def trained_by_one_and_by_two(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path], pictures: list[str]
) -> Path:
    """Folders one/NAME and two/NAME, all of two/ made by one launch: starting costs more than training."""
    root, asked = tmp_path_factory.mktemp("processes"), []
    for name, (family, pictured, environment, changes) in TRAININGS.items():
        file = root / f"{name}.jsonl"
        write_records(file, pairs(pictures if pictured else []))
        model = section(tiny_model(family))
        alone = TrainSection(**settings(changes, 1))
        train(file, root / "one" / name, model=ModelSection(**model), settings=alone, seed=3)
        both = {"pairs": str(file), "folder": str(root / "two" / name), "settings": settings(changes, 2)}
        asked.append({**both, "model": model, "environment": environment})
    (root / "asked.json").write_text(json.dumps(asked))
    ended = launched(["-m", "tests.two_processes", str(root / "asked.json")], root)
    assert ended.returncode == 0, ended.stderr
    return root


def history(folder: Path) -> list[dict[str, Any]]:
    """What was logged, without how long it took, and how many margins are above zero: before a step all are zero."""
    told = ("_runtime", "_per_second", "rewards/accuracies")
    entries = json.loads((folder / "history.json").read_text())
    return [{key: value for key, value in entry.items() if not key.endswith(told)} for entry in entries]


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_have_the_losses_of_one(name: str, runs: Path) -> None:
    alone, both = (
        [entry[key] for entry in history(runs / side / name) for key in LOSSES if key in entry]
        for side in ("one", "two")
    )
    assert len(alone) >= 4
    assert both == pytest.approx(alone, rel=0, abs=1e-5)


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_log_what_one_logs(name: str, runs: Path) -> None:
    alone, both = (history(runs / side / name) for side in ("one", "two"))
    assert [entry.keys() for entry in both] == [entry.keys() for entry in alone]
    for mine, theirs in zip(both, alone, strict=True):
        if name == "ddp, tokens":  # the Trainer counts batches, of which one process makes two a step
            mine, theirs = ({**entry, "epoch": 0} for entry in (mine, theirs))
        assert mine == pytest.approx(theirs, abs=1e-5, rel=1e-4)


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_end_with_the_weights_of_one(name: str, runs: Path) -> None:
    alone, both = (
        {name: tensor for file in sorted((runs / side / name).rglob("*model*.safetensors"))
         for name, tensor in load_file(file).items()}
        for side in ("one", "two")
    )  # fmt: skip
    assert both
    assert both.keys() == alone.keys()
    for key, tensor in alone.items():
        torch.testing.assert_close(both[key], tensor, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TRAININGS)
def test_each_reference_is_written_once(name: str, runs: Path) -> None:
    alone, both = (sorted(file.read_text().splitlines()) if file.is_file() else []
                   for file in (runs / side / name / "reference.jsonl" for side in ("one", "two")))  # fmt: skip
    assert [json.loads(line)["id"] for line in both] == [json.loads(line)["id"] for line in alone]


@pytest.mark.parametrize("name", TRAININGS)
def test_no_checkpoint_is_left(name: str, runs: Path) -> None:
    assert not (runs / "two" / name / "checkpoints").exists()


@pytest.fixture(scope="module", name="killed", params=["ddp", pytest.param("fsdp2", marks=pytest.mark.slow)])
def killed_and_started_again(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]
) -> tuple[Path, int, str, float]:
    """The folder of runs one/train and two/train; how the second ended when its process 1 was killed."""
    root = tmp_path_factory.mktemp("killed")
    write_records(root / "pairs.jsonl", pairs([]))
    model = section(tiny_model("llama"))
    changes = {"args": {"max_steps": 30, "save_steps": 3, "learning_rate": 1e-3}}
    alone = TrainSection(**settings(changes, 1))
    train(root / "pairs.jsonl", root / "one" / "train", model=ModelSection(**model), settings=alone, seed=3)
    config = {"run": {"dir": "two", "seed": 3}, "data": {"pairs": "pairs.jsonl"}}
    (root / "run.yaml").write_text(yaml.safe_dump({**config, "model": model, "train": settings(changes, 2)}))
    process = subprocess.Popen(
        [sys.executable, "-m", *accelerate(request.param), "-m", "sclvlm", "train", "run.yaml"],
        cwd=root,
        env=surroundings(),
        stderr=subprocess.PIPE,
        text=True,
    )
    file, deadline = root / "two/train/checkpoints/checkpoint-6/trainer_state.json", time.monotonic() + PATIENCE
    while not file.is_file():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in children if child.environ().get("RANK") == "1").kill()
    died = time.monotonic()
    told = process.communicate(timeout=PATIENCE)[1]
    took = time.monotonic() - died
    assert not (root / "two/train/history.json").exists()
    again = launched(["-m", "sclvlm", "train", "run.yaml", "--json"], root, by=accelerate(request.param))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)[0]["stage"] == "train"  # told once, not by each process
    return root, process.returncode, told, took


def test_a_killed_process_ends_the_run_within_a_minute(killed: tuple[Path, int, str, float]) -> None:
    _, code, _, took = killed
    assert code != 0
    assert took < 60


def test_the_end_of_a_killed_process_is_told(killed: tuple[Path, int, str, float]) -> None:
    assert "SIGKILL" in killed[2] or "another of the 2 processes has ended" in killed[2]


def test_a_run_with_a_killed_process_goes_on_as_if_nothing_had_been(killed: tuple[Path, int, str, float]) -> None:
    alone, both = (history(killed[0] / side / "train") for side in ("one", "two"))
    assert len(both) == len(alone) == 31
    for mine, theirs in zip(both, alone, strict=True):
        if "train_loss" not in mine:  # of the second start alone
            assert mine == pytest.approx(theirs, abs=1e-4, rel=1e-4)
    stage = json.loads((killed[0] / "two/train/stage.json").read_text())
    assert (stage["status"], stage["starts"]) == ("done", 2)


def test_a_checkpoint_of_two_processes_is_not_for_one(tmp_path: Path) -> None:
    for index in range(2):
        (tmp_path / f"rng_state_{index}.pth").touch()
    with pytest.raises(SclvlmError, match=r"written by 2 processes, now there are 1.*--redo train"):
        check_checkpoint(str(tmp_path))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("whole", [True, False])
def test_each_record_goes_to_one_process_once(count: int, whole: bool) -> None:
    batches = list(BatchSampler(range(23), 2 if whole else 2 * count, drop_last=False))
    shares = [ProcessBatches(batches, count=count, index=index, whole=whole) for index in range(count)]
    lists = [list(share) for share in shares]
    assert sorted(index for share in lists for batch in share for index in batch) == list(range(23))
    assert {len(share) for share in lists} == {len(share) for share in shares} == {-(-23 // (2 * count))}


def test_a_step_of_all_processes_is_the_step_of_one() -> None:
    batches = [[5, 2, 7, 1], [0, 4, 3]]
    first, second = (list(ProcessBatches(batches, count=2, index=index)) for index in (0, 1))
    assert first == [[5, 2], [0]]
    assert second == [[7, 1], [4, 3]]


def test_a_batch_without_pictures_is_kept_company_by_one(
    tiny_policy: Callable[[str], Any], pictures: list[str]
) -> None:
    collator, (bare, pictured, *_) = Collator(Renderer(tiny_policy("fast_vlm"))), pairs(pictures)
    assert accompanied(collator, pictured, True, [bare])["ids"] == ["pair-0", "pair-1"]
    assert accompanied(collator, pictured, True, [bare])["company"] == 1
    assert "company" not in accompanied(collator, pictured, True, [pictured])
    assert "company" not in accompanied(collator, pictured, False, [bare])
    assert accompanied(collator, bare, False, [])["ids"] == ["pair-0"]


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "zero2", "zero3"])
def test_accelerate_knows_each_key_of_its_file(name: str) -> None:
    file = ROOT / "configs" / "accelerate" / f"{name}.yaml"
    known = launch_command_parser().parse_args(["--config_file", str(file), "script.py"])
    asked = load_config_from_file(str(file))  # raises for an unknown key
    inner = {**asked.fsdp_config, **asked.deepspeed_config}
    assert [key for key in inner if not hasattr(known, key)] == []


def test_the_file_for_fsdp_says_what_is_tested_here() -> None:
    said = yaml.safe_load((ROOT / "configs" / "accelerate" / "fsdp2.yaml").read_text())["fsdp_config"]
    assert {"ACCELERATE_USE_FSDP": "true"} | {
        key.upper(): str(said[key.lower()]).lower() if isinstance(said[key.lower()], bool) else str(said[key.lower()])
        for key in FSDP if key != "ACCELERATE_USE_FSDP"
    } == FSDP  # fmt: skip


def test_weights_that_one_process_alone_would_load_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**FSDP, "WORLD_SIZE": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"fsdp_cpu_ram_efficient_loading: true.*Set it to false"):
        join("cpu")


def test_processes_cannot_share_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"model\.device 'cuda:0': 2 processes can't share one\. Set it to auto"):
        resolve_device("cuda:0")


def test_each_process_has_its_own_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device("cuda") == torch.device("cuda", 1)


@pytest.mark.slow
def test_every_stage_of_a_run_by_two_processes_is_made_once(world: Path, tmp_path: Path) -> None:
    ended = launched(["-m", "sclvlm", "run", str(world / "run.yaml"), "--json"], tmp_path, by=accelerate("fsdp2"))
    assert ended.returncode == 0, ended.stderr
    assert [facts["stage"] for facts in json.loads(ended.stdout)] == ["infer", "label", "train", "evaluate", "report"]
    answered = (tmp_path / "run" / "infer" / "traces.jsonl").read_text().splitlines()
    assert len(answered) == len({json.loads(line)["id"] for line in answered}) == 32


def test_an_error_of_the_main_process_ends_the_others(world: Path, tmp_path: Path) -> None:
    ended = launched(["-m", "sclvlm", "run", str(world / "run.yaml"), "data.test=none.jsonl"], tmp_path)
    assert ended.returncode != 0
    assert ended.stderr.count("error: data.test: none.jsonl does not exist.") == 1
