"""Which traces a run holds, and the questions they answer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from sclvlm.config import Config, load_config
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.records import GradedTrace, Trace
from sclvlm.runs import parts
from sclvlm.storage import read_records

GRADED = "graded.jsonl"
Files = tuple[str, ...]


class Run(NamedTuple):
    """A run to look at. folder: where it lies now, which may be elsewhere than where it was made."""

    folder: Path
    config: Config


class Source(NamedTuple):
    """The traces of a stage, `before`, `after` and further models of evaluate being stages of their own.

    held: the file `traces`, and those of several processes beside it that were not merged yet, with how many each
    holds; one that is just being written does not count.
    """

    stage: str
    traces: Path
    samples: Path
    held: tuple[tuple[Path, int], ...]

    @property
    def total(self) -> int:
        """How many traces there are."""
        return sum(count for _, count in self.held)

    @property
    def graded(self) -> bool:
        """Whether the traces have verdicts."""
        return self.traces.name == GRADED

    def read(self, limit: int) -> Iterator[Trace]:
        """The first `limit` traces. Raises SclvlmError for a broken line."""
        model = GradedTrace if self.graded else Trace
        whole = (islice(read_records(file, model), count) for file, count in self.held)
        return islice(chain.from_iterable(whole), limit)


def open_run(target: Path, overrides: list[str] | None = None) -> Run:
    """The run in the directory `target`, or the one that the YAML file `target` describes.

    Raises ConfigError for a directory that is no run, and for a file that is no config.
    """
    if not target.is_dir():
        config = load_config(target, overrides)
        return Run(config.folder, config)
    file = target / "config.yaml"
    if not file.is_file():
        raise ConfigError(
            f"{target}: no {file.name} there, so this is no run directory. Name one, or the YAML file of a run."
        )
    return Run(target, load_config(file, overrides))


def _places(config: Config) -> dict[str, tuple[str, Files]]:
    """Stage to the key of data that names its questions, and to its traces: graded, or else as they came."""
    further = config.evaluate.models if config.evaluate else ()
    tested = {name: ("test", _measured(name)) for name in ("before", "after", *further)}
    return {"infer": ("samples", ("label/graded.jsonl", "infer/traces.jsonl")), **tested}


def _measured(name: str) -> Files:
    return f"evaluate/{name}/{GRADED}", f"evaluate/{name}/traces.jsonl"


def sources_of(run: Run, *, tests_alone: bool = False) -> list[Source]:
    """The stages of `run` that have traces, or those of evaluate alone.

    Raises SclvlmError when none has, or a file of their questions is gone.
    """
    places = {
        stage: (key, files) for stage, (key, files) in _places(run.config).items() if key == "test" or not tests_alone
    }
    found = [source for stage, place in places.items() if (source := _source(run, stage, *place)) is not None]
    if not found:
        looked = ", ".join(file for _, files in places.values() for file in files)
        what, verbs = ("answers to test questions", "") if tests_alone else ("traces", "`sclvlm infer CONFIG` or ")
        raise SclvlmError(
            f"{run.folder}: no {what} there yet (looked for {looked}). Run {verbs}`sclvlm evaluate CONFIG` first."
        )
    return found


def _source(run: Run, stage: str, key: str, files: Files) -> Source | None:
    for file in files:
        traces = run.folder / file
        held = tuple((each, count) for each in (traces, *parts(traces)) if (count := _complete_lines(each)))
        if held:
            samples = _questions(run.folder, f"data.{key}", getattr(run.config.data, key))
            return Source(stage, traces, samples, held)
    return None


def _complete_lines(path: Path) -> int:
    """Records in `path`; the last line may be half written while the run goes on."""
    if not path.is_file():
        return 0
    with path.open("rb") as lines:
        return sum(line.endswith(b"\n") and not line.isspace() for line in lines)


def _questions(run: Path, key: str, path: str | None) -> Path:
    """The file called `path` in the config, seen from here or from a folder above the run."""
    places = (Path(), *run.absolute().parents)
    found = next((place / path for place in places if (place / path).is_file()), None) if path else None
    if found is None:
        raise ConfigError(
            f"{key}: {path} does not exist, neither from here nor from a folder above {run}. Name it: {key}=FILE."
        )
    return found
