"""Three or more runs: each against the first one, and all together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic_core import to_jsonable_python

from sclvlm.metrics import Comparison, Finding, NoiseFloor, RunSummary, Statistic, Which, holm
from sclvlm.reporting.schema import Noise, Report, Settings, Slice, SliceKind
from sclvlm.reporting.slices import PLANNED, judged
from sclvlm.reporting.wording import beside_floor, headline_sentence, noise_floor, p_value


class Against(Statistic):
    """One run against the reference, on a slice at a turn.

    holm: the p-value adjusted over all runs, and over all slices of the same kind too where these were not chosen
    beforehand. floor: what another seed does to the reference. The finding goes by both.
    """

    run: str
    turn: Which
    comparison: Comparison
    holm: float
    floor: NoiseFloor | None
    finding: Finding


class Compared(Statistic):
    """A slice of the questions, with every run at every turn."""

    name: str
    kind: SliceKind
    found: tuple[Against, ...]

    def at(self, turn: Which) -> tuple[Against, ...]:
        """Every run at one turn."""
        return tuple(each for each in self.found if each.turn == turn)


class Standing(Statistic):
    """A run on the questions of the headlines. report: the folder of its full report, empty for the reference."""

    run: str
    report: str
    summary: RunSummary


class Statement(Statistic):
    """What can be said of one run against the reference, in a sentence, its p-value adjusted over the runs."""

    run: str
    finding: Finding
    sentence: str


class Overview(Statistic):
    """Runs against a reference, on the same questions. slice: the questions of the statements, at their first turn."""

    schema_version: Literal[1] = 1
    title: str
    reference: str
    slice: str
    statements: tuple[Statement, ...]
    noise: Noise | None
    notes: tuple[str, ...]
    settings: Settings
    runs: tuple[Standing, ...]
    slices: tuple[Compared, ...]
    provenance: dict[str, Any]

    @property
    def main(self) -> Compared:
        """The slice of the statements."""
        return next(part for part in self.slices if part.name == self.slice and part.kind in PLANNED)

    @property
    def turns(self) -> tuple[Which, ...]:
        """The turns that were compared."""
        return tuple(dict.fromkeys(each.turn for each in self.main.found))

    @property
    def shown(self) -> tuple[Compared, ...]:
        """The slices chosen beforehand, and the benchmarks; the categories where there are no benchmarks."""
        kinds = {part.kind for part in self.slices}
        many = SliceKind.BENCHMARK if SliceKind.BENCHMARK in kinds else SliceKind.CATEGORY
        return tuple(part for part in self.slices if part.kind in (*PLANNED, many))


class _Place(NamedTuple):
    kind: SliceKind
    name: str
    turn: Which


def build_overview(
    reports: Mapping[str, Report],
    *,
    title: str,
    folders: Mapping[str, str],
    notes: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> Overview:
    """What the reports of several runs against one reference say together.

    reports: by run, all on the same questions. folders: where each lies, as seen from the overview.
    """
    first = next(iter(reports.values()))
    reference, settings, main = first.names[0], first.settings, first.main
    slices = _compared(reports)
    return Overview(
        title=title,
        reference=reference,
        slice=main.name,
        statements=tuple(
            _statement(each, main.name, reference, settings)
            for part in slices
            if (part.kind, part.name) == (main.kind, main.name)
            for each in part.at("first")
        ),
        noise=_noise(first),
        notes=tuple(dict.fromkeys((*notes, *(note for report in reports.values() for note in report.notes)))),
        settings=settings,
        runs=(
            Standing(run=reference, report="", summary=main.before),
            *(Standing(run=run, report=folders[run], summary=report.main.after) for run, report in reports.items()),
        ),
        slices=slices,
        provenance=to_jsonable_python(dict(provenance or {}), inf_nan_mode="null", fallback=str),
    )


def _compared(reports: Mapping[str, Report]) -> tuple[Compared, ...]:
    turns: tuple[Which, ...] = max((report.turns for report in reports.values()), key=len)
    found: dict[_Place, dict[str, Slice]] = defaultdict(dict)
    for run, report in reports.items():
        for part in report.slices:
            for turn in turns:
                found[_Place(part.kind, part.name, turn)][run] = part
    adjusted = _adjusted(found)
    return tuple(
        Compared(
            name=name,
            kind=kind,
            found=tuple(
                _against(run, turn, part, adjusted[_Place(kind, name, turn), run])
                for turn in turns
                for run, part in found[_Place(kind, name, turn)].items()
            ),
        )
        for kind, name in dict.fromkeys((place.kind, place.name) for place in found)
    )


def _adjusted(found: Mapping[_Place, Mapping[str, Slice]]) -> dict[tuple[_Place, str], float]:
    """Holm's p-values: over the runs, and of slices that were not chosen beforehand over all of the kind too."""
    families: dict[tuple[str, ...], dict[tuple[_Place, str], float]] = defaultdict(dict)
    for place, runs in found.items():
        family = place if place.kind in PLANNED else (place.kind, place.turn)
        for run, part in runs.items():
            families[family][place, run] = part.comparison(place.turn).p_value
    return {
        key: adjusted
        for members in families.values()
        for key, adjusted in zip(members, holm(list(members.values())), strict=True)
    }


def _against(run: str, turn: Which, part: Slice, adjusted: float) -> Against:
    comparison, floor = part.comparison(turn), part.floor(turn)
    return Against(
        run=run,
        turn=turn,
        comparison=comparison,
        holm=adjusted,
        floor=floor,
        finding=judged(comparison, adjusted, floor),
    )


def _statement(found: Against, name: str, reference: str, settings: Settings) -> Statement:
    sentence = headline_sentence(
        name,
        found.turn,
        found.comparison,
        settings,
        found.finding,
        (reference, found.run),
        adjusted=f", adjusted {p_value(found.holm)}",
    )
    beside = beside_floor(found.floor, found.comparison.difference) if found.floor else ""
    return Statement(run=found.run, finding=found.finding, sentence=sentence + beside)


def _noise(report: Report) -> Noise | None:
    if report.noise is None or report.main.floor_first is None:
        return None
    sentence = noise_floor(report.main.floor_first, report.names[0], report.noise.repeat)
    return Noise(repeat=report.noise.repeat, sentence=sentence)
