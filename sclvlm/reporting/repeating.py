"""The commands that make a run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def commands(run: Path, environment: Mapping[str, Any] | None) -> list[str]:
    """Install the versions that made `run`, and make it again beside itself.

    environment: what `runs.environment` noted; None where nobody knows it, and then nothing is installed.
    """
    again = run.with_name(f"{run.name}-again")
    return [
        *_installation(environment or {}),
        _line("sclvlm", "run", run / "config.yaml", f"run.dir={again}"),
    ]


def _installation(environment: Mapping[str, Any]) -> list[str]:
    packages = {name: version for name, version in environment.get("packages", {}).items() if version}
    if not packages:
        return []
    python = f"  # Python {environment['python']}" if "python" in environment else ""
    return [_line("pip", "install", *(f"{name}=={version}" for name, version in packages.items())) + python]


def _line(*words: str | Path) -> str:
    return shlex.join(map(str, words))
