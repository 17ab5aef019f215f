"""What a report says where there are too few pictures to find anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from sclvlm.reporting import Report, headline, load_report, write_report
from tests.test_reporting import report_of, runs, sample


def of_pictures(count: int) -> Report:
    """Every other question gained; `count` pictures take turns."""
    given = runs(gains=20, losses=0, same=20)
    named = {name: sample(name, group=str(at % count)) for at, name in enumerate(given["samples"])}
    return report_of(**given | {"samples": named})


def test_gains_of_five_pictures_are_noise_and_the_headline_says_why() -> None:
    said = of_pictures(5).headline.sentence
    # All five gained: p = 2 / 2**5.
    assert "[−100.0, +100.0], p = 0.062" in said
    assert said.endswith(
        "within noise: it shows neither a gain nor a loss. With fewer than 6 pictures or groups none could be found."
    )


def test_gains_of_six_pictures_are_a_gain() -> None:
    assert "p = 0.031: a gain beyond noise" in headline(of_pictures(6))  # 2 / 2**6


@pytest.mark.parametrize("form", ["md", "html"])
def test_shifts_of_few_pictures_have_a_dash_for_an_interval(tmp_path: Path, form: str) -> None:
    write_report(of_pictures(5), tmp_path)
    assert "0.0 [–]" in (tmp_path / f"report.{form}").read_text(encoding="utf-8")


def test_shifts_of_few_pictures_have_null_for_an_interval(tmp_path: Path) -> None:
    write_report(of_pictures(5), tmp_path)
    assert {shift.comparison.interval for shift in load_report(tmp_path / "report.json").shifts} == {None}
