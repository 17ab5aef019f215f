"""The commands by which a report says its run is made again."""

from __future__ import annotations

import shlex
from pathlib import Path

from sclvlm.config import load_config
from sclvlm.reporting.repeating import commands

NOTED = {"python": "3.11.7", "packages": {"torch": "2.14.1", "evaluate": None}}


def test_versions_are_installed_before_the_run_is_made_again_beside_itself() -> None:
    assert commands(Path("runs/a"), NOTED) == [
        "pip install torch==2.14.1  # Python 3.11.7",
        "sclvlm run runs/a/config.yaml run.dir=runs/a-again",
    ]


def test_nothing_is_installed_where_no_versions_were_noted() -> None:
    assert commands(Path("runs/a"), None) == ["sclvlm run runs/a/config.yaml run.dir=runs/a-again"]


def test_the_command_is_one_that_a_runs_own_config_takes(tmp_path: Path) -> None:
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "config.yaml").write_text("run: {dir: x}\nmodel: {path: m}\n")
    _, verb, file, *overrides = shlex.split(commands(tmp_path / "my run", None)[0])
    assert verb == "run"
    assert load_config(Path(file), overrides).run.dir == str(tmp_path / "my run-again")
