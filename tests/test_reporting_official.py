"""The benchmarks' own figures in the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sclvlm.records import AnswerKind, Sample
from sclvlm.reporting import Report, render_html, render_markdown, write_report
from tests.test_reporting import CORRECT, INCORRECT, report_of, runs, trace


def mme(**given: Any) -> Report:
    """Two questions about one image: before, one is right at first and both in the end; after, both."""
    samples = {
        name: Sample(
            id=name,
            question="?",
            kind=AnswerKind.YES_NO,
            answer="yes",
            category="count",
            group="image",
            meta={"benchmark": "MME"},
        )
        for name in ("a", "b")
    }
    before = [trace("a", CORRECT, CORRECT), trace("b", INCORRECT, CORRECT)]
    after = [trace("a", CORRECT, CORRECT), trace("b", CORRECT, CORRECT)]
    return report_of(**{"samples": samples, "before": before, "after": after, **given})


def ai2d() -> Report:
    given = runs(gains=1, losses=0, same=1)
    given["samples"] = {
        name: Sample(
            id=name, question="?", kind=AnswerKind.CHOICE, choices=("x", "y"), answer="A", meta={"benchmark": "AI2D"}
        )
        for name in given["samples"]
    }
    return report_of(**given)


def test_a_row_holds_a_figure_at_each_turn_of_both_runs() -> None:
    row = mme().official[0]
    assert (row.benchmark, row.figure, row.before, row.after) == ("mme", "perception", (50.0, 200.0), (200.0, 200.0))


def test_entries_of_a_suite_with_one_metric_have_rows_of_their_own() -> None:
    entries = {"a": "EN", "b": "CN"}
    samples = {
        name: Sample(id=name, question="?", kind="yes_no", answer="yes", meta={"benchmark": "MME", "suite": entry})
        for name, entry in entries.items()
    }
    rows = mme(samples=samples).official
    assert {row.benchmark for row in rows} == {"EN", "CN"}
    assert all(row.in_points for row in rows)


def test_questions_of_no_benchmark_have_no_official_figures() -> None:
    report = report_of()
    assert report.official == ()
    assert "Official figures" not in render_markdown(report) + render_html(report)


def test_categories_are_not_told_twice() -> None:
    given = runs(gains=1, losses=0, same=1)
    given["samples"] = {
        name: sample.model_copy(update={"meta": {"benchmark": "BLINK"}}) for name, sample in given["samples"].items()
    }
    assert [row.figure for row in report_of(**given).official] == ["accuracy", "macro"]


def test_points_are_shown_as_points_and_shares_as_percent() -> None:
    assert "| mme | perception | 50.0 | 200.0 | 200.0 | 200.0 |" in render_markdown(mme())
    assert "| ai2d | accuracy | 50.0 % | 100.0 % | 100.0 % | 100.0 % |" in render_markdown(ai2d())


def test_html_shows_the_same_figures() -> None:
    page = re.sub(r"<[^>]+>", " ", render_html(mme()))
    assert re.search(r"mme\s+perception\s+50\.0\s+200\.0\s+200\.0\s+200\.0", page)


def test_a_report_written_before_there_were_official_figures_is_read(tmp_path: Path) -> None:
    write_report(mme(), tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    del data["official"]
    assert Report.model_validate(data).official == ()


def test_official_figures_survive_json() -> None:
    assert Report.model_validate_json(mme().model_dump_json()).official == mme().official
