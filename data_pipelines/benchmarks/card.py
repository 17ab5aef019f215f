"""card.md of an imported benchmark: source, licence, counts, what was left out, checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from data_pipelines.benchmarks.layouts import Benchmark
from data_pipelines.cards import Hits, table
from data_pipelines.rows import Wanted
from sclvlm.screening import Screen

NAMED = 3  # places that are named for each reason


class Counted(Protocol):
    """What an import counts."""

    screen: Screen
    read: int
    kept: int
    images: int
    bare: int
    kinds: Counter[str]
    categories: Counter[str]
    answers: dict[str, Counter[str]]
    notes: Counter[str]
    groups: set[str]
    licence: str


def card(name: str, benchmark: Benchmark, wanted: Wanted, limit: int | None, counted: Counted) -> str:
    """The whole card."""
    sections = {
        f"# {benchmark.title}": _about(name, benchmark, wanted, limit, counted),
        "## Counts": table(("what", "number"), _counts(counted)),
        "## Rows left out": _left_out(counted.screen),
        "## Answers": table(("kind", "samples", "always the commonest answer"), _answers(counted)),
        "## Categories": table(("category", "samples"), _categories(counted.categories)),
        "## Checks": _checks(counted),
    }
    return "\n".join(f"{title}\n\n{text}" for title, text in sections.items())


def _about(name: str, benchmark: Benchmark, wanted: Wanted, limit: int | None, counted: Counted) -> str:
    stated = f"; the source states: {counted.licence}" if counted.licence else ""
    about: Mapping[str, str] = {
        "Source": wanted.name,
        "Split": wanted.split + (f", {wanted.subset}" if wanted.subset and not Path(wanted.name).exists() else ""),
        "Rows": "all" if limit is None else f"the first {limit}",
        "Published at": benchmark.where,
        "Licence": benchmark.licence + stated,
        "Made by": f"`python -m data_pipelines.benchmarks {name}`",
    }
    return "".join(f"{key}: {value}  \n" for key, value in about.items())


def _counts(counted: Counted) -> Iterable[tuple[str, int]]:
    yield from (("rows read", counted.read), ("samples", counted.kept), ("images, each kept once", counted.images))
    yield from (("samples without an image", counted.bare), ("groups", len(counted.groups)))
    yield from counted.notes.items()


def _left_out(screen: Screen) -> str:
    if not screen.dropped:
        return "None.\n"
    rows = ((why, len(places), "; ".join(places[:NAMED])) for why, places in screen.places.items())
    return table(("reason", "rows", "first places"), rows)


def _answers(counted: Counted) -> Iterable[tuple[str, int, str]]:
    for kind, total in counted.kinds.most_common():
        answer, right = counted.answers[kind].most_common(1)[0]
        yield kind, total, f"{answer.replace('|', '/')[:40]}: {Hits(right, total)}"


def _categories(categories: Counter[str]) -> Iterable[tuple[str, int]]:
    return ((category or "none", count) for category, count in sorted(categories.items()))


def _checks(counted: Counted) -> str:
    accounted = counted.kept + len(counted.screen.dropped)
    return (
        f"- Rows that became a sample or are listed as left out: {Hits(accounted, counted.read)}.\n"
        "- Every image was decoded once and is kept byte by byte under the hash of its bytes.\n"
        "- Every id stands once; every answer is one of its choices.\n"
    )
