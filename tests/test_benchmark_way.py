"""The way of docs/benchmarks.md, command by command: published files, a suite, models, a table, a table again."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.test_benchmark_figures import pope
from tests.test_benchmark_layouts import CASES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
IMPORTS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
FILES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
EVALUATE = [each.replace("CONFIG", "compare.yaml") for each in re.findall(r"`(sclvlm evaluate CONFIG[^`]*)`", PAGE)]


def said(folder: Path, command: str) -> str:
    """What a command of the page prints."""
    python, *words = shlex.split(command)
    run = [sys.executable, *(words if python == "python" else ["-m", python, *words])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{command}: {ended.stderr}"
    return ended.stdout


def test_the_page_leads_from_published_files_to_a_table(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    CASES["MMStar"].write(tmp_path)
    (tmp_path / "published").mkdir()
    pope(tmp_path / "published")
    for name in ("model", "other"):
        shutil.copytree(tiny_model("llava"), tmp_path / "path" / "to" / name)
    for name, text in zip(("suite.yaml", "compare.yaml"), FILES, strict=True):
        (tmp_path / name).write_text(text)
    for command in (*IMPORTS, "python -m data_pipelines.benchmarks pope published --out data/pope"):
        said(tmp_path, command)
    first, again = (said(tmp_path, f"{command} evaluate.max_new_tokens=8") for command in EVALUATE)
    heads = [f"{model}, {turn} turn" for model in ("before", "other", "direct") for turn in ("first", "last")]
    assert f"| benchmark | figure | n | {' | '.join(heads)} |" in first
    assert "| MMStar | accuracy | 1 |" in first
    assert "| POPE | f1 | 4 |" in first
    assert again == first
    rows = json.loads((tmp_path / "runs/benchmarks/evaluate/suite.json").read_text())["rows"]
    assert [(row["benchmark"], len(row["cells"])) for row in rows] == [("MMStar", 6), ("POPE", 6)]
