"""All models by all benchmarks: the figure a leaderboard shows, with what it must not be read without beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from sclvlm.metrics import Which
from sclvlm.metrics.official import OFFICIAL, benchmark_key, in_points, official_figures
from sclvlm.metrics.summary import turn_of, turns_said
from sclvlm.records import GradedTrace, GradedTurn, Sample, Verdict

VERSION = 1
MAIN = {"pope": "f1", "blink": "macro", "puzzlevqa": "macro", "blindtest": "macro"}
"""The figure a benchmark is known by, where it is not the first one of its official metric."""
LEGEND = (
    "A cell is the official figure in percent (MME: points), ± its standard deviation over draws where there are "
    "several; in brackets accuracy and the share of answers that could not be read, in percent. n counts questions."
)
BY_CATEGORY = "By category: accuracy, and in brackets the share of answers that could not be read, in percent."


class Part(NamedTuple):
    """The questions of one category: shares of all draws' answers, and how many questions."""

    accuracy: float
    unparsed: float
    n: int


class Cell(NamedTuple):
    """One model at one turn of a benchmark. Shares are fractions of 1, MME's value is in points.

    value: the mean over draws; spread: their standard deviation, None of a single draw. accuracy, unparsed: of all
    draws' answers. categories: by name, in order of the alphabet; empty where there is but one.
    """

    benchmark: str
    model: str
    turn: Which
    figure: str
    in_points: bool
    value: float
    spread: float | None
    draws: int
    accuracy: float
    unparsed: float
    n: int
    categories: dict[str, Part]


def cells_of(model: str, graded: Sequence[GradedTrace], samples: Mapping[str, Sample]) -> list[Cell]:
    """The cells of one model, benchmark by benchmark in the order of its traces.

    A benchmark stands under its name in the suite, else under meta.benchmark; one without an official metric, or an
    entry with questions of several, and questions of none, which are `questions`, by their accuracy. Raises what
    `official_figures` raises.
    """
    parts: dict[str, list[GradedTrace]] = {}
    for trace in graded:
        parts.setdefault(_benchmark(samples[trace.id]), []).append(trace)
    return [_cell(name, model, turn, part, samples) for name, part in parts.items() for turn in turns_said(part)]


def document(cells: Sequence[Cell]) -> dict[str, Any]:
    """The table as data: a row for each benchmark, a cell in it for each model and turn."""
    rows = [
        {"benchmark": name, "cells": [_data(cell) for cell in cells if cell.benchmark == name]}
        for name in _benchmarks(cells)
    ]
    return {"version": VERSION, "rows": rows}


def _data(cell: Cell) -> dict[str, Any]:
    return cell._asdict() | {"categories": {name: part._asdict() for name, part in cell.categories.items()}}


def markdown(cells: Sequence[Cell]) -> str:
    """The table alone: rows are benchmarks, columns models and turns."""
    columns = _columns(cells)
    lines = [_line("benchmark", "figure", "n", *columns.values()), "|---|---|--:|" + "--:|" * len(columns)]
    for name in _benchmarks(cells):
        found = {(cell.model, cell.turn): cell for cell in cells if cell.benchmark == name}
        first = next(iter(found.values()))
        said = [_said(found[column]) if column in found else "" for column in columns]
        lines.append(_line(name, first.figure, f"{first.n:,}", *said))
    return "\n".join(lines)


def page(cells: Sequence[Cell]) -> str:
    """suite.md: the table, then a table of the categories of each benchmark that has several."""
    tables = [f"## {name}\n\n{table}\n" for name in _benchmarks(cells) if (table := _categories(name, cells))]
    told = [f"{BY_CATEGORY}\n", *tables] if tables else []
    return "\n".join([f"# Benchmarks\n\n{markdown(cells)}\n\n{LEGEND}\n", *told])


def _categories(benchmark: str, cells: Sequence[Cell]) -> str:
    """Accuracy by category, models and turns as columns; empty where there are no categories."""
    found = {(cell.model, cell.turn): cell.categories for cell in cells if cell.benchmark == benchmark}
    columns = {column: head for column, head in _columns(cells).items() if found.get(column)}
    sizes = {name: part.n for categories in found.values() for name, part in categories.items()}
    lines = [_line("category", "n", *columns.values()), "|---|--:|" + "--:|" * len(columns)]
    for name in sorted(sizes):
        parts = [found[column].get(name) for column in columns]
        said = [f"{100 * part.accuracy:.1f} ({100 * part.unparsed:.1f})" if part else "" for part in parts]
        lines.append(_line(name, f"{sizes[name]:,}", *said))
    return "\n".join(lines) if sizes else ""


def _columns(cells: Sequence[Cell]) -> dict[tuple[str, Which], str]:
    """Models and turns, with what stands over them."""
    columns = list(dict.fromkeys((cell.model, cell.turn) for cell in cells))
    reviewed = {model for model, turn in columns if turn == "last"}
    return {(model, turn): f"{model}, {turn} turn" if model in reviewed else model for model, turn in columns}


def _benchmark(sample: Sample) -> str:
    return str(sample.meta.get("suite") or sample.meta.get("benchmark") or "questions")


def _benchmarks(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.benchmark for cell in cells))


def _cell(name: str, model: str, turn: Which, graded: Sequence[GradedTrace], samples: Mapping[str, Sample]) -> Cell:
    draws: dict[int, list[GradedTrace]] = {}
    for trace in graded:
        draws.setdefault(trace.draw, []).append(trace)
    key, figures = _figures(list(draws.values()), turn, samples)
    figure = MAIN.get(key, next(iter(figures[0])))
    values = [each[figure] for each in figures if figure in each]
    turns = [turn_of(trace, turn) for trace in graded]
    return Cell(
        benchmark=name,
        model=model,
        turn=turn,
        figure=figure,
        in_points=in_points(key),
        value=fmean(values),
        spread=stdev(values) if len(values) > 1 else None,
        draws=len(draws),
        accuracy=_share(turns, Verdict.CORRECT),
        unparsed=_share(turns, Verdict.UNPARSED),
        n=len({trace.id for trace in graded}),
        categories=_parts(graded, turn, samples),
    )


def _parts(graded: Sequence[GradedTrace], turn: Which, samples: Mapping[str, Sample]) -> dict[str, Part]:
    members: dict[str, list[GradedTrace]] = {}
    for trace in graded:
        members.setdefault(samples[trace.id].category or "(none)", []).append(trace)
    return {
        name: _part([turn_of(trace, turn) for trace in members[name]], n=len({trace.id for trace in members[name]}))
        for name in (sorted(members) if len(members) > 1 else ())
    }


def _part(turns: Sequence[GradedTurn], n: int) -> Part:
    return Part(_share(turns, Verdict.CORRECT), _share(turns, Verdict.UNPARSED), n)


def _figures(
    draws: Sequence[Sequence[GradedTrace]], turn: Which, samples: Mapping[str, Sample]
) -> tuple[str, list[dict[str, float]]]:
    """Whose metric it is, and the figures of each draw; accuracy where there is none, or more than one."""
    keys = {benchmark_key(samples[trace.id].meta.get("benchmark")) for draw in draws for trace in draw}
    if len(keys) == 1 and (key := keys.pop()) in OFFICIAL:
        return key, [figures for draw in draws for figures in official_figures(draw, samples, turn=turn).values()]
    return "", [{"accuracy": _share([turn_of(trace, turn) for trace in draw], Verdict.CORRECT)} for draw in draws]


def _share(turns: Sequence[GradedTurn], verdict: Verdict) -> float:
    return fmean(turn.verdict is verdict for turn in turns)


def _said(cell: Cell) -> str:
    scale = 1 if cell.in_points else 100
    spread = "" if cell.spread is None else f" ± {scale * cell.spread:.1f}"
    return f"{scale * cell.value:.1f}{spread} ({100 * cell.accuracy:.1f}; {100 * cell.unparsed:.1f})"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def several(cells: Sequence[Cell]) -> bool:
    """Whether there is anything to compare: more than one benchmark or model."""
    return len({(cell.benchmark, cell.model) for cell in cells}) > 1
