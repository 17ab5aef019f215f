"""The overview of several runs: families of p-values, what is shown, and another seed."""

from __future__ import annotations

from typing import Any

import pytest

from sclvlm.metrics import Finding, holm
from sclvlm.records import Verdict
from sclvlm.reporting import Overview, Repeat, build_overview, overview_headline, render_overview_html
from sclvlm.reporting.schema import SliceKind
from tests.test_reporting import report_of, sample, trace

CORRECT, INCORRECT = Verdict.CORRECT, Verdict.INCORRECT
NAMES = [f"q{index:02d}" for index in range(80)]


def answers(wrong: int) -> list[Any]:
    """All questions answered, the first `wrong` of them wrongly."""
    return [trace(name, INCORRECT if index < wrong else CORRECT) for index, name in enumerate(NAMES)]


def overview_of(*wrong: int, suites: int = 2, repeat: Repeat | None = None) -> Overview:
    """Runs with so many wrong answers each against one with twenty, on questions of so many benchmarks."""
    samples = {
        name: sample(name, category=str(index % 4), meta={"suite": f"suite {index % suites}"} if suites else {})
        for index, name in enumerate(NAMES)
    }
    reports = {
        f"run {number}": report_of(
            samples=samples,
            before=answers(20),
            after=answers(count),
            names=("reference", f"run {number}"),
            repeat=repeat,
        )
        for number, count in enumerate(wrong)
    }
    return build_overview(reports, title="T", folders={run: run[-1] for run in reports})


def test_p_values_of_benchmarks_are_adjusted_over_runs_times_benchmarks() -> None:
    found = [
        each for part in overview_of(12, 15, 18).slices if part.kind is SliceKind.BENCHMARK for each in part.at("first")
    ]
    assert len(found) == 3 * 2
    assert [each.holm for each in found] == holm([each.comparison.p_value for each in found])


def test_a_gain_that_one_of_many_runs_makes_by_chance_is_within_noise() -> None:
    # Six answers mended: p = 2 / 2**6 = 0.031 alone, and twice that among two runs.
    (part,) = [each for each in overview_of(14, 20).main.at("first") if each.run == "run 0"]
    assert (part.comparison.finding, part.holm, part.finding) == (Finding.GAIN, 0.0625, Finding.NOISE)


def test_the_same_gain_twice_stays_within_noise() -> None:
    assert [each.finding for each in overview_of(14, 14).statements] == [Finding.NOISE] * 2


def test_a_clear_gain_is_one_among_many_runs_too() -> None:
    assert [each.finding for each in overview_of(5, 20, 40).statements] == [Finding.GAIN, Finding.NOISE, Finding.LOSS]


@pytest.mark.parametrize(("suites", "kind"), [(2, SliceKind.BENCHMARK), (0, SliceKind.CATEGORY)])
def test_the_forest_shows_benchmarks_and_where_there_are_none_categories(suites: int, kind: SliceKind) -> None:
    assert {part.kind for part in overview_of(10, 20, suites=suites).shown} == {SliceKind.ALL, kind}


def test_a_gain_that_another_seed_would_make_is_within_noise_in_the_overview() -> None:
    # Ten answers mended, +12.5 points. All wrong with another seed is 60 flips: 1.96 * sqrt(60) / 80 = 19.0 points.
    found = overview_of(10, 20, repeat=Repeat("again", answers(80)))
    assert found.statements[0].finding is Finding.NOISE
    assert "+12.5 points lies within ±19.0, the bound of another seed" in found.statements[0].sentence


def test_what_another_seed_does_is_told_once_beside_the_statements() -> None:
    found = overview_of(10, 20, repeat=Repeat("again", answers(24)))
    told = "Another seed of reference (again) changed the verdict of 4 of 80 questions"
    assert overview_headline(found).count(told) == 1
    assert render_overview_html(found).count(told) == 1


def test_an_overview_survives_json() -> None:
    found = overview_of(10, 20)
    assert Overview.model_validate_json(found.model_dump_json()) == found


def test_notes_that_all_reports_share_stand_once() -> None:
    samples = {name: sample(name) for name in NAMES}
    drawn = [*answers(20), trace(NAMES[0], CORRECT, draw=1)]
    reports = {
        run: report_of(samples=samples, before=drawn, after=answers(count), names=("reference", run))
        for run, count in (("a", 10), ("b", 12))
    }
    assert len(build_overview(reports, title="T", folders={"a": "1", "b": "2"}).notes) == 1
