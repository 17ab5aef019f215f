"""Runs on the same questions, compared with the first of them: `sclvlm report RUN_A RUN_B ...`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from hashlib import sha256
from os.path import abspath
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from sclvlm.aligning import Side, align, read_side
from sclvlm.auditing import audit_of
from sclvlm.config import Config, ReportSection, apply_override
from sclvlm.errors import ConfigError
from sclvlm.pipeline import provenance, read_json
from sclvlm.reporting import (
    Repeat,
    Report,
    build_overview,
    build_report,
    headline,
    learning_of,
    overview_headline,
    write_overview,
    write_report,
)
from sclvlm.reporting.schema import Learning
from sclvlm.storage import describe
from sclvlm.targets import Target, names_of, open_target
from sclvlm.viewing.sources import Run

LONGEST = 80
"""Characters of a folder that is named after runs."""


class Request(NamedTuple):
    """What the command was asked for, as it was said."""

    targets: Sequence[Path]
    overrides: Sequence[str]
    out: Path | None
    shared: bool
    noise: Path | None

    @property
    def command(self) -> str:
        """The command itself."""
        out = ("--out", str(self.out)) if self.out else ()
        noise = ("--noise", str(self.noise)) if self.noise else ()
        shared = ("--shared",) if self.shared else ()
        return shlex.join(("sclvlm", "report", *map(str, self.targets), *self.overrides, *shared, *noise, *out))


class Compared(NamedTuple):
    """A run that is compared: its answers, and where they come from."""

    side: Side
    target: Target


def compare_runs(request: Request) -> dict[str, Any]:
    """Write the report of the second target against the first, or of each of several with an overview of all.

    Raises ConfigError for what is no run, and SclvlmError where the runs were not asked the same questions.
    """
    targets = open_targets(request)
    names = names_of(targets)
    sides, notes = align(
        [read_side(name, target.source) for name, target in zip(names, targets, strict=True)], shared=request.shared
    )
    compared = [Compared(side, target) for side, target in zip(sides, targets, strict=True)][: len(request.targets)]
    settings = settings_of(targets[0].run.config, request.overrides)
    options = {
        "repeat": Repeat(sides[-1].name, sides[-1].graded) if request.noise else None,
        "notes": [*notes, *_notes(compared, request, targets)],
        "provenance": _provenance(request, names, targets),
        "seed": targets[0].run.config.run.seed,
        **settings.model_dump(exclude={"title"}),
    }
    title = settings.title if any(each.startswith("report.title=") for each in request.overrides) else ""
    reference, *others = compared
    reports = {other.side.name: _report(title, reference, other, options) for other in others}
    out = request.out or Path("comparisons") / _folder("-vs-".join(one.side.name for one in compared))
    if len(reports) > 1:
        return _write_all(title, reports, options, out)
    (report,) = reports.values()
    return _write_one(report, out)


def open_targets(request: Request) -> list[Target]:
    """The targets, and behind them the repeat if one was named. Raises ConfigError where they are not two runs."""
    if len(request.targets) < 2:
        named = request.targets[0] if request.targets else "nothing"
        raise ConfigError(
            f"{named}: a comparison needs two runs. Name a second one, as in `sclvlm report RUN OTHER_RUN`; for a run "
            "before and after its own training name its YAML file alone: `sclvlm report CONFIG`."
        )
    if other := [each for each in request.overrides if not each.startswith(("report.", "data."))]:
        raise ConfigError(
            f"override {other[0]!r}: runs are compared as they were made, so that only report.* and data.* can be set."
        )
    located = [each for each in request.overrides if each.startswith("data.")]
    targets = [open_target(path, located) for path in request.targets]
    _check_distinct(request.targets, targets)
    if request.noise is None:
        return targets
    repeat = open_target(request.noise, located)
    if repeat.answers == targets[0].answers:
        raise ConfigError(f"--noise {request.noise}: is the reference itself. Name a repeat with another run.seed.")
    return [*targets, repeat]


def _check_distinct(paths: Sequence[Path], targets: Sequence[Target]) -> None:
    seen: dict[Path, Path] = {}
    for path, target in zip(paths, targets, strict=True):
        if target.answers in seen:
            raise ConfigError(f"{path}: the same answers as those of {seen[target.answers]}. Name each run once.")
        seen[target.answers] = path


def settings_of(config: Config, overrides: Sequence[str]) -> ReportSection:
    """The report section of a run, or the defaults, with `report.key=value` over it."""
    data = {"report": (config.report or ReportSection()).model_dump()}
    for override in overrides:
        if override.startswith("report."):
            apply_override(data, override)
    try:
        return ReportSection.model_validate(data["report"])
    except ValidationError as error:
        raise ConfigError(f"report.{describe(error)}. Known keys: {', '.join(ReportSection.model_fields)}.") from None


def _notes(compared: Sequence[Compared], request: Request, targets: Sequence[Target]) -> list[str]:
    """What stands for each run where that is not what it trained, and a repeat that is none."""
    notes = [
        f"{one.side.name}: answers of its model before training, as no trained one was evaluated."
        for one in compared
        if one.target.source.stage == "before" and not one.target.inside
    ]
    if request.noise and targets[-1].run.config.run.seed == targets[0].run.config.run.seed:
        seed = targets[0].run.config.run.seed
        notes.append(f"The repeat has the seed of the reference ({seed}), so it shows less than another one would.")
    return notes


def _report(title: str, reference: Compared, other: Compared, options: Mapping[str, Any]) -> Report:
    names = (reference.side.name, other.side.name)
    return build_report(
        title=title or f"{names[1]} against {names[0]}",
        samples=reference.side.samples,
        before=reference.side.graded,
        after=other.side.graded,
        names=names,
        learned=[_learning(each) for each in (reference, other) if each.target.trained],
        **options,
    )


def _learning(one: Compared) -> Learning:
    folder = one.target.run.folder
    return learning_of(
        one.side.name,
        pair_counts=read_json(folder / "label" / "counts.json"),
        audit=audit_of(folder / "label" / "audit.json"),
        history=read_json(folder / "train" / "history.json"),
    )


def _provenance(request: Request, names: Sequence[str], targets: Sequence[Target]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "command": request.command,
        "answers": {name: str(target.source.traces) for name, target in zip(names, targets, strict=True)},
    }
    for run in {abspath(target.run.folder): target.run for target in targets}.values():
        told = provenance(_located(run)).items()
        facts |= {f"{run.folder}, {name}": fact for name, fact in told if name != "command" and fact is not None}
    return facts


def _located(run: Run) -> Config:
    """The run's config, which says where the run lies now."""
    return run.config.model_copy(update={"run": run.config.run.model_copy(update={"dir": str(run.folder)})})


def _write_one(report: Report, out: Path) -> dict[str, Any]:
    write_report(report, out)
    return {"stage": "report", "headline": headline(report), **_files(out)}


def _write_all(title: str, reports: Mapping[str, Report], options: Mapping[str, Any], out: Path) -> dict[str, Any]:
    reference = next(iter(reports.values())).names[0]
    folders = {name: f"{number}-{_folder(name)}" for number, name in enumerate(reports, start=1)}
    overview = build_overview(
        reports,
        title=title or f"{len(reports)} runs against {reference}",
        folders=folders,
        provenance=options["provenance"],
    )
    one_of_many = (
        f"One of {len(reports)} comparisons with {reference}: p-values adjusted over all of them are in the overview."
    )
    for name, report in reports.items():
        write_report(report.model_copy(update={"notes": (*report.notes, one_of_many)}), out / folders[name])
    write_overview(overview, out)
    full = {f"{name} against {reference}": str(out / folders[name] / "report.html") for name in reports}
    return {"stage": "report", "headline": overview_headline(overview), **full, **_files(out)}


def _files(out: Path) -> dict[str, str]:
    return {"report": str(out / "report.html"), "json": str(out / "report.json")}


def _folder(name: str) -> str:
    """`name` as one folder's name that is safe in a link, too; one that would be too long is told apart by a hash."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "run"
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}-{sha256(name.encode()).hexdigest()[:8]}"
