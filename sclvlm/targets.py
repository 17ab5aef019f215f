"""What a comparison is asked about: a run, or graded answers inside one, and the name it is shown by."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import abspath
from pathlib import Path
from typing import NamedTuple

from sclvlm.errors import ConfigError
from sclvlm.viewing.sources import GRADED, Run, Source, open_run, sources_of


class Target(NamedTuple):
    """Answers to compare: of a run, those in `source`. place: the names of its folders, of which the last ones name it.

    inside: whether a folder inside the run was named, so that its own name is not enough.
    """

    run: Run
    source: Source
    place: tuple[str, ...]
    inside: bool

    @property
    def answers(self) -> Path:
        """The one path of the file with the answers."""
        return self.source.traces.resolve()

    @property
    def trained(self) -> bool:
        """Whether what the run has trained gave these answers."""
        evaluate = self.run.config.evaluate
        entry = evaluate.models.get(self.source.stage) if evaluate else None
        of_trained = entry is not None and entry.of == "after" and entry.path is None and entry.adapter is None
        return of_trained or self.source.stage == "after"


def open_target(path: Path, overrides: Sequence[str] = ()) -> Target:
    """A run directory or YAML file, which stands for what was trained there, or a folder of graded answers in a run."""
    if path.is_dir() and not (path / "config.yaml").is_file():
        return _inside(path, overrides)
    if not path.exists():
        raise ConfigError(f"{path}: does not exist. Name a run directory, a folder of answers in one, or a YAML file.")
    run = open_run(path, list(overrides))
    tested = {source.stage: source for source in sources_of(run, tests_alone=True)}
    source = tested.get("after") or tested.get("before")
    if source is None:
        raise ConfigError(f"{run.folder}: nothing was evaluated there yet. Run `sclvlm evaluate CONFIG` first.")
    return Target(run, _graded(source), Path(abspath(run.folder)).parts, inside=False)


def _inside(folder: Path, overrides: Sequence[str]) -> Target:
    whole = Path(abspath(folder))
    above = next((each for each in (*folder.parents, *whole.parents) if (each / "config.yaml").is_file()), None)
    if above is None:
        raise ConfigError(
            f"{folder}: no run directory (no config.yaml), and not in one. Name a run, or a folder in it that holds "
            f"{GRADED}."
        )
    run = open_run(above, list(overrides))
    sources = {Path(abspath(source.traces.parent)): source for source in sources_of(run)}
    if whole not in sources:
        known = ", ".join(str(source.traces.parent) for source in sources.values())
        raise ConfigError(f"{folder}: holds no answers that the config of {above} knows. There are: {known}.")
    return Target(run, _graded(sources[whole]), (*Path(abspath(above)).parts, whole.name), inside=True)


def _graded(source: Source) -> Source:
    if not source.graded:
        raise ConfigError(f"{source.traces}: not graded yet. Run `sclvlm evaluate CONFIG` to its end first.")
    return source


def names_of(targets: Sequence[Target]) -> list[str]:
    """The shortest end of each target's path that no other has; of a folder in a run at least with the run's name."""
    return [_shortest(target, [each for each in targets if each.answers != target.answers]) for target in targets]


def _shortest(target: Target, others: Sequence[Target]) -> str:
    ends = (target.place[-length:] for length in range(1 + target.inside, len(target.place) + 1))
    alone = (end for end in ends if all(other.place[-len(end) :] != end for other in others))
    # A run inside the folder of another may be called as that one's answers are.
    return str(Path(*next(alone, target.answers.parent.parts)))
