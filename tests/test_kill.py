"""A run that was killed in every stage ends as one that never was: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
STAGES = ("infer", "label", "train", "evaluate", "report")
PATIENCE = 120.0  # seconds until a stage must have come so far


class Moment(NamedTuple):
    """When to kill: as soon as `file` has so many lines."""

    file: str
    lines: int


MOMENTS = (
    Moment("infer/traces.jsonl", 5),
    Moment("label/stage.json", 1),
    Moment("train/checkpoints/checkpoint-4/trainer_state.json", 1),
    Moment("evaluate/before/traces.jsonl", 9),
    Moment("evaluate/after/traces.jsonl", 7),
    Moment("report/stage.json", 1),
)
QUICK = (MOMENTS[0], MOMENTS[2])


def start(folder: Path, world: Path) -> subprocess.Popen[str]:
    """`sclvlm run` in a process group of its own, with `folder` as its current directory."""
    return subprocess.Popen(
        [sys.executable, "-m", "sclvlm", "run", str(world / "run.yaml"), "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill_at(moment: Moment, folder: Path, world: Path) -> None:
    """Run until the moment has come, then SIGKILL."""
    process = start(folder, world)
    file, deadline = folder / "run" / moment.file, time.monotonic() + PATIENCE
    while not (file.is_file() and file.read_bytes().count(b"\n") >= moment.lines):
        assert process.poll() is None, f"ended before {moment}: {process.communicate()[1]}"
        assert time.monotonic() < deadline, f"{moment} never came"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def finish(folder: Path, world: Path) -> Path:
    """Run to the end; the run directory."""
    process = start(folder, world)
    told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told[1]
    assert [facts["stage"] for facts in json.loads(told[0])] == list(STAGES)
    return folder / "run"


@pytest.fixture(scope="module", name="undisturbed")
def run_in_one_go(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Path:
    return finish(tmp_path_factory.mktemp("undisturbed"), world)


@pytest.fixture(
    scope="module",
    name="moments",
    params=[
        pytest.param(QUICK, id="killed in infer and train"),
        pytest.param(MOMENTS, id="killed in every stage", marks=pytest.mark.slow),
    ],
)
def moments_to_kill_at(request: pytest.FixtureRequest) -> tuple[Moment, ...]:
    moments: tuple[Moment, ...] = request.param
    return moments


@pytest.fixture(scope="module", name="killed")
def run_killed_again_and_again(
    tmp_path_factory: pytest.TempPathFactory, world: Path, moments: tuple[Moment, ...]
) -> Path:
    folder = tmp_path_factory.mktemp("killed-again")
    for moment in moments:
        kill_at(moment, folder, world)
        if moment.file.endswith("traces.jsonl"):
            with (folder / "run" / moment.file).open("a") as file:
                file.write('{"id": "q31", "tu')  # as if killed within a write
    return finish(folder, world)


def test_the_run_has_something_to_lose(undisturbed: Path) -> None:
    counts = json.loads((undisturbed / "label" / "counts.json").read_text())
    assert counts["pairs i->c"] >= 2
    assert counts["pairs c->i"] >= 2


@pytest.mark.parametrize(
    "name",
    [
        "infer/traces.jsonl",
        "label/graded.jsonl",
        "label/pairs.jsonl",
        "label/counts.json",
        "label/summary.json",
        "evaluate/before/traces.jsonl",
        "evaluate/before/graded.jsonl",
        "evaluate/before/summary.json",
        "evaluate/after/traces.jsonl",
        "evaluate/after/graded.jsonl",
        "evaluate/after/summary.json",
    ],
)
def test_a_file_is_the_same_to_the_byte(name: str, undisturbed: Path, killed: Path) -> None:
    assert (killed / name).read_text() == (undisturbed / name).read_text()


def test_the_adapter_is_the_same_to_the_bit(undisturbed: Path, killed: Path) -> None:
    name = "train/adapter/adapter_model.safetensors"
    assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()


def test_training_changed_the_answers(undisturbed: Path) -> None:
    before, after = ((undisturbed / "evaluate" / name / "graded.jsonl").read_text() for name in ("before", "after"))
    assert before != after


def test_the_report_says_the_same(undisturbed: Path, killed: Path) -> None:
    found, expected = (json.loads((run / "report" / "report.json").read_text()) for run in (killed, undisturbed))
    for report in (found, expected):
        for entry in report["training"]:  # only how long it took may differ
            for key in [key for key in entry if key.endswith(("_runtime", "_per_second"))]:
                del entry[key]
    assert found == expected


def test_every_start_of_a_killed_stage_was_counted(killed: Path, moments: tuple[Moment, ...]) -> None:
    kills = [moment.file.split("/")[0] for moment in moments]
    starts = {stage: json.loads((killed / stage / "stage.json").read_text())["starts"] for stage in STAGES}
    assert starts == {stage: 1 + kills.count(stage) for stage in STAGES}


def test_nothing_half_written_is_left(killed: Path) -> None:
    assert not [path for path in killed.rglob("*") if "partial" in path.name or path.name == "checkpoints"]
