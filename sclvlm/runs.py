"""A run directory: what was asked for, with what versions, and which stages are done, running or stale."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.storage import remove_folder, write_json

PACKAGES = (
    "sclvlm",
    "torch",
    "torchvision",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "numpy",
    "pillow",
)


class Stage:
    """One stage's folder inside a run, and the record of what it was made from (stage.json)."""

    def __init__(self, run: Path, name: str, inputs: dict[str, Any]) -> None:
        self.name, self.folder = name, run / name
        self.inputs: dict[str, Any] = json.loads(json.dumps(inputs))
        self._file = self.folder / "stage.json"

    @property
    def done(self) -> bool:
        """Whether the stage has ended well before. Raises ConfigError when it was made from other inputs."""
        self.check()
        return self._state().get("status") == "done"

    def check(self) -> None:
        """Raise ConfigError when the folder holds results of other inputs, or of nobody knows what."""
        state = self._state()
        if state and state["inputs"] != self.inputs:
            raise ConfigError(self._stale(state["inputs"]))
        if not state and self.folder.is_dir() and any(not _is_partial(path) for path in self.folder.iterdir()):
            raise ConfigError(
                f"{self.folder}: holds files, but no {self._file.name} that says what they were made from. "
                f"{self._remedy()}"
            )

    @contextmanager
    def running(self) -> Iterator[Path]:
        """The folder to work in, with a stage.json from the start; marks the stage done when the block ends well.

        stage.json counts the starts, and the seconds of all of them but those that ended in a kill.
        """
        self.check()
        state = self._state() or {"stage": self.name, "inputs": self.inputs, "starts": 0, "seconds": 0.0}
        state = {**state, "status": "running", "starts": state["starts"] + 1}
        write_json(self._file, state)
        _sweep(self.folder)
        started, status = time.monotonic(), "running"
        try:
            yield self.folder
            status = "done"
        finally:
            seconds = round(state["seconds"] + time.monotonic() - started, 1)
            write_json(self._file, {**state, "status": status, "seconds": seconds})

    @property
    def begun(self) -> bool:
        """Whether the stage was ever started, from whatever inputs."""
        return bool(self._state())

    def made_with(self, key: str) -> Any:
        """The input called `key` that the results were made from."""
        return self._state()["inputs"].get(key)

    def adopt(self, key: str, *, done: bool) -> None:
        """Let the results stand for the input called `key` as it is now; the others stay what they were.

        done: whether the stage has ended with it. Otherwise it goes on when it is asked for.
        """
        state = self._state()
        inputs = {**state["inputs"], key: self.inputs[key]}
        write_json(self._file, {**state, "inputs": inputs, "status": "done" if done else "running"})

    def remove(self) -> None:
        """Forget the stage and everything it made."""
        remove_folder(self.folder)

    def _state(self) -> dict[str, Any]:
        if not self._file.is_file():
            return {}
        state: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        return state

    def _stale(self, before: dict[str, Any]) -> str:
        key, was, now = next(_differences(before, self.inputs))
        again = f"Mended answers alone: `sclvlm {self.name} CONFIG --rescore`. " if self._can_rescore(key) else ""
        return f"{self.folder}: made with {key} = {was}, asked for now: {now}. {again}{self._remedy()}"

    def _can_rescore(self, key: str) -> bool:
        return (self.name, key) == ("evaluate", "data.test")

    def _remedy(self) -> str:
        return (
            f"Give run.dir another folder to keep both, or make this one anew: `sclvlm run CONFIG --redo {self.name}`."
        )


def _is_partial(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".partial")


def _sweep(folder: Path) -> None:
    """Remove what a killed process was writing."""
    for path in list(folder.rglob(".*.partial")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # may have gone with its folder


def _differences(before: Any, after: Any, key: str = "") -> Iterator[tuple[str, str, str]]:
    """Dotted key, old and new value of everything that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            yield from _differences(before.get(name), after.get(name), f"{key}.{name}" if key else name)
    elif before != after:
        yield key, json.dumps(before), json.dumps(after)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keeps a second process out of the run directory. The lock dies with its process."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SclvlmError(f"{run}: another process works in this run directory. Wait for it, or stop it.") from None
        yield


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def part(traces: Path, index: int) -> Path:
    """The file beside `traces` that process `index` of several appends to."""
    return traces.with_name(f"{traces.stem}.part-{index}{traces.suffix}")


def parts(traces: Path) -> list[Path]:
    """The files that several processes wrote beside `traces` and that were not merged yet."""
    return sorted(traces.parent.glob(f"{traces.stem}.part-*{traces.suffix}"))
