"""Every command the README shows is run: what is slow by itself (make) by CI, the rest here on a tiny model."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines() if line.strip()]
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_first_screen_shows_the_demo_and_the_tests() -> None:
    assert COMMANDS[:2] == [["make", "demo"], ["make", "test"]]


def test_only_make_and_sclvlm_are_needed() -> None:
    assert {command[0] for command in COMMANDS} == {"make", "sclvlm"}


@pytest.mark.parametrize("target", [command[1] for command in COMMANDS if command[0] == "make"])
def test_ci_makes_every_target(target: str) -> None:
    # The demo itself takes minutes: CI makes it with smaller numbers, the same stages of the same config.
    assert re.search(rf"^make {target}(-short)?$", CI, re.MULTILINE)
    assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_every_sclvlm_command_runs_in_the_order_shown(tmp_path: Path, world: Path) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "demo.yaml").write_text((world / "run.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    for command in COMMANDS:
        if command[0] == "sclvlm":
            run = [sys.executable, "-m", *command]
            ended = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert ended.returncode == 0, f"{shlex.join(command)}: {ended.stderr}"
    assert (tmp_path / "run" / "report" / "report.html").is_file()
    assert (tmp_path / "runs" / "beta" / "report" / "report.html").is_file()
