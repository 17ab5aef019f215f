"""Every config that comes with the project is one that can be run."""

from __future__ import annotations

from pathlib import Path

import pytest

from sclvlm.config import load_config
from sclvlm.prompts import load_prompt
from sclvlm.training import objective_of

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_loads_and_its_header_tells_how_to_run_it(path: Path) -> None:
    config = load_config(path)
    for ask in (config.infer, config.evaluate):
        assert ask is None or load_prompt("initial", ask.initial)
    assert config.train is not None
    assert objective_of(config.train)
    assert f"sclvlm run configs/{path.name}" in path.read_text(encoding="utf-8")
    assert config.run.dir == f"runs/{path.stem}"
