"""Questions answered in spite of SIGKILL at any moment, by one process or two, are answered as if nothing had been."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import yaml

from sclvlm.records import AnswerKind, Sample, Trace
from sclvlm.storage import read_records, write_records
from tests import tiny
from tests.test_processes import TORCHRUN, accelerate, launched, surroundings

PATIENCE = 300.0  # seconds until a run must have come so far


class Ordeal(NamedTuple):
    """How many samples, how often a run is killed, and by what it is started."""

    samples: int
    kills: int
    launcher: tuple[str, ...]


ALONE: tuple[str, ...] = ()
ORDEALS = [
    pytest.param(Ordeal(64, 2, ALONE), id="one process"),
    pytest.param(Ordeal(64, 2, TORCHRUN), id="two processes"),
    pytest.param(Ordeal(500, 10, ALONE), id="one process, ten kills", marks=pytest.mark.slow),
    pytest.param(Ordeal(500, 10, TORCHRUN), id="two processes, ten kills", marks=pytest.mark.slow),
]


def write_run(folder: Path, model: Path, number: int) -> None:
    """run.yaml and samples.jsonl: `number` questions about four pictures, now and then two about the same."""
    colours = ["red", "blue", "lime", "yellow"]
    paths = [tiny.picture(folder / f"{name}.png", name, (4, 4, 9 * n + 9, 40)) for n, name in enumerate(colours)]
    write_records(
        folder / "samples.jsonl",
        [
            Sample(id=f"q{n}", question=f"{n}?", images=(paths[n // 3 % 4],), kind=AnswerKind.TEXT, answer="x")
            for n in range(number)
        ],
    )
    config = {
        "run": {"dir": "run"},
        "model": {"path": str(model), "attention": "eager", "device": "cpu", "dtype": "float32"},
        "data": {"samples": "samples.jsonl"},
        "infer": {"initial": "bare", "review": "again", "max_new_tokens": 12, "batch_size": 4},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))


def start(folder: Path, launcher: tuple[str, ...]) -> subprocess.Popen[str]:
    """`sclvlm infer` in `folder`."""
    return subprocess.Popen(
        [sys.executable, *(["-m", *launcher] if launcher else []), "-m", "sclvlm", "infer", "run.yaml", "--json"],
        cwd=folder,
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(folder: Path) -> int:
    """How many conversations are on disk, in whatever file."""
    return sum(file.read_bytes().count(b"\n") for file in (folder / "run" / "infer").glob("traces*.jsonl"))


def run_until(folder: Path, launcher: tuple[str, ...], count: int) -> subprocess.Popen[str]:
    """A run that has answered `count` questions, and goes on."""
    process, deadline = start(folder, launcher), time.monotonic() + PATIENCE
    while lines(folder) < count:
        assert process.poll() is None, f"ended before {count}: {process.communicate()[1]}"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return process


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the process and all it has started, the launcher last: it would end the others in good order."""
    root = psutil.Process(process.pid)
    for each in [*root.children(recursive=True), root]:
        each.kill()
    process.communicate()


def answers(folder: Path) -> list[tuple[str, int, list[str]]]:
    """What was answered, in the order of the file."""
    traces = read_records(folder / "run" / "infer" / "traces.jsonl", Trace)
    return [(*trace.key, [turn.response for turn in trace.turns]) for trace in traces]


@pytest.fixture(scope="module", name="undisturbed")
def run_in_one_go(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> Callable[[int], Path]:
    """The folder of a run over so many samples that nobody killed, by one process."""

    def run(number: int) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"undisturbed{number}"
        if not folder.exists():
            folder.mkdir()
            write_run(folder, tiny_model("fast_vlm"), number)
            told = start(folder, ALONE).communicate(timeout=PATIENCE)
            assert json.loads(told[0])[0]["count"] == number, told[1]
        return folder

    return run


@pytest.mark.parametrize("ordeal", ORDEALS)
def test_a_run_killed_again_and_again_answers_as_one_that_never_was(
    ordeal: Ordeal, tmp_path: Path, undisturbed: Callable[[int], Path], tiny_model: Callable[[str], Path]
) -> None:
    write_run(tmp_path, tiny_model("fast_vlm"), ordeal.samples)
    drawn = random.Random(0)
    for count in sorted(drawn.sample(range(1, ordeal.samples - 16), ordeal.kills)):
        process = run_until(tmp_path, ordeal.launcher, count)
        time.sleep(drawn.random() / 50)
        kill(process)
        assert lines(tmp_path) < ordeal.samples, "killed too late to lose anything"
    told = start(tmp_path, ordeal.launcher).communicate(timeout=PATIENCE)
    assert told[0], told[1]
    assert json.loads(told[0])[0]["count"] == ordeal.samples
    assert answers(tmp_path) == answers(undisturbed(ordeal.samples))
    assert sorted(file.name for file in (tmp_path / "run" / "infer").iterdir()) == [
        "facts.json",
        "stage.json",
        "traces.jsonl",
    ]


def test_one_process_ends_what_two_began(
    tmp_path: Path, undisturbed: Callable[[int], Path], tiny_model: Callable[[str], Path]
) -> None:
    write_run(tmp_path, tiny_model("fast_vlm"), 64)
    process = run_until(tmp_path, accelerate("ddp"), 20)
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in children if child.environ().get("RANK") == "1").kill()
    told = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert "SIGKILL" in told or "another of the 2 processes has ended" in told
    assert len(list((tmp_path / "run" / "infer").glob("traces.part-*.jsonl"))) == 2
    told = start(tmp_path, ALONE).communicate(timeout=PATIENCE)[1]
    assert answers(tmp_path) == answers(undisturbed(64)), told


def test_failures_of_two_processes_end_the_run_together(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    write_run(tmp_path, tiny_model("fast_vlm"), 24)
    for name in ("red", "blue", "lime"):  # three questions a picture: nine in a row of twelve fail
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    ended = launched(["-m", "sclvlm", "infer", "run.yaml", "infer.max_failed_share=0.6"], tmp_path)
    assert ended.returncode != 0
    assert "15 of 24 failed, at most 60.0% may." in ended.stderr
