"""A report of any two runs: what they are called, and what another seed of the first does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sclvlm.metrics import Finding
from sclvlm.reporting import Repeat, Report, headline, render_markdown
from tests.test_reporting import CORRECT, INCORRECT, report_of, runs, trace


def repeated(given: dict[str, Any], flips: int) -> dict[str, Any]:
    """The same runs with a repeat of the first: another seed got `flips` of its right answers wrong."""
    right = sorted(each.id for each in given["before"] if each.turns[0].verdict is CORRECT)[:flips]
    again = [trace(each.id, INCORRECT, CORRECT) if each.id in right else each for each in given["before"]]
    return {**given, "repeat": Repeat("again", again)}


def test_a_gain_between_two_names_is_said_to_be_higher_with_one_of_them() -> None:
    sentence = report_of(names=("a", "b")).headline.sentence
    assert "is higher with b (90.0 %) than with a (60.0 %): +30.0 points" in sentence


def test_a_loss_between_two_names_is_said_to_be_lower() -> None:
    sentence = report_of(**runs(gains=5, losses=20, same=25), names=("a", "b")).headline.sentence
    assert "is lower with b (60.0 %) than with a (90.0 %)" in sentence


def test_noise_between_two_names_says_what_each_had() -> None:
    sentence = report_of(**runs(gains=5, losses=4, same=41), names=("a", "b")).headline.sentence
    assert "was 90.0 % with a and 92.0 % with b" in sentence  # 45 and 46 of 50


@pytest.mark.parametrize(
    ("flips", "finding", "words"),
    [
        # 12 gained and 1 lost of 80: +13.8 points, p = 0.003. k flips bound a difference by 1.96 sqrt(k) / 80.
        (16, Finding.GAIN, "+13.8 points exceeds ±9.8, the bound of another seed"),
        (64, Finding.NOISE, "+13.8 points lies within ±19.6, the bound of another seed"),
    ],
)
def test_a_difference_that_another_seed_would_make_is_within_noise(flips: int, finding: Finding, words: str) -> None:
    report = report_of(**repeated(runs(gains=12, losses=1, same=67), flips))
    assert (report.headline.finding, report.main.finding_first) == (finding, finding)
    assert report.noise is not None
    assert words in report.noise.sentence
    assert ("within noise" in headline(report)) is (finding is Finding.NOISE)


def test_a_repeat_that_changes_no_verdict_bounds_no_difference() -> None:
    report = report_of(**repeated(runs(gains=12, losses=1, same=67), 0))
    assert report.noise is not None
    assert report.noise.sentence == (
        "Another seed of before (again) changed the verdict of 0 of 80 questions (0.0 % [0.0, 4.6]): it bounds no "
        "difference. Greedy answers of the same weights are alike whatever the seed."
    )
    assert report.headline.finding is Finding.GAIN


def test_the_table_shows_the_bound_of_another_seed_where_there_is_a_repeat() -> None:
    given = runs(gains=12, losses=1, same=67)
    with_repeat, without = (render_markdown(report_of(**each)) for each in (repeated(given, 16), given))
    assert "| another seed |" in with_repeat
    assert "| ±9.8 |" in with_repeat
    assert "another seed" not in without


def test_a_report_written_before_runs_had_names_is_read_as_before_and_after() -> None:
    data = json.loads(report_of().model_dump_json())
    for field in ("names", "noise", "learned"):
        del data[field]
    for part in data["slices"]:
        del part["floor_first"], part["floor_last"]
    assert Report.model_validate(data) == report_of()
