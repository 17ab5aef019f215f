"""Local modules of the `evaluate` library: `evaluate.load(path("pope"))` works offline."""

from __future__ import annotations

from pathlib import Path

from sclvlm.errors import SclvlmError


def names() -> tuple[str, ...]:
    """The metrics that there are, in order of the alphabet."""
    return tuple(sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem != "__init__"))


def path(name: str) -> str:
    """The file of a metric, for `evaluate.load`. Raises SclvlmError for an unknown name."""
    if name not in names():
        raise SclvlmError(f"no metric is called {name!r}. There are: {', '.join(names())}.")
    return str(Path(__file__).with_name(f"{name}.py"))
