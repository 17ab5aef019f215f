"""Every block of docs/bring_your_own.md runs, and is short."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "bring_your_own.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(name="folder")
def written(tmp_path: Path) -> Path:
    """All blocks as files, and the pictures that they name."""
    for name, text in BLOCKS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for number, photo in enumerate(("cat.png", "cup.png")):
        Image.new("RGB", (40, 30), (90 * number, 60, 200)).save(tmp_path / photo)
    return tmp_path


def python(folder: Path, *arguments: str) -> str:
    """What `python ARGUMENTS` prints, run in `folder`, which its modules can be imported from."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("name", BLOCKS)
def test_an_example_has_less_than_forty_lines(name: str) -> None:
    assert len([line for line in BLOCKS[name].splitlines() if line.strip()]) < 40


def test_own_data_and_an_own_loss_train_a_model(folder: Path, tiny_model: Callable[[str], Path]) -> None:
    python(folder, "my_data.py")
    model = f"model.path={tiny_model('fast_vlm')}"
    python(folder, "-m", "sclvlm", "train", "mine.yaml", model)
    own = ["train.loss=my_losses:bounded", "train.loss_options.margin=2.0", "train.args.logging_steps=1"]
    python(folder, "-m", "sclvlm", "train", "mine.yaml", model, "run.dir=runs/own", *own)
    for run in ("mine", "own"):
        assert (folder / "runs" / run / "train" / "adapter" / "adapter_model.safetensors").is_file()
    first, *_ = json.loads((folder / "runs" / "own" / "train" / "history.json").read_text(encoding="utf-8"))
    assert first["loss"] == pytest.approx(4.0)  # the margin squared: the policy is its reference yet


def test_an_own_policy_learns_what_is_preferred(folder: Path) -> None:
    said = python(folder, "my_policy.py", str(folder / "out"))
    down, up = map(float, re.findall(r"turning (?:down|up) (-?[\d.]+)", said))
    assert down > up + 2  # nats; they begin as two draws of the same kind
