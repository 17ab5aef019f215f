"""What `benchmarks.extraction` and its stand-ins for published parsers say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.extraction import Case, Outcome, by, main, otherwise, read_cases, table
from benchmarks.parsers import PARSERS, ours
from sclvlm.errors import SclvlmError

LABELS = {"A": "red", "B": "blue"}

READINGS = [
    ("only_marker", "choice", "So. ## B ##", "B"),
    ("only_marker", "choice", "The answer is B.", None),
    ("only_marker", "choice", "## B. blue ##", None),
    ("only_marker", "number", "## 1,200 ##", "1200"),
    ("whole_response", "choice", "(B)", "B"),
    ("whole_response", "choice", "B it is", None),
    ("whole_response", "yes_no", "Yes.", "yes"),
    ("cue_then_first", "choice", "A or B? The answer is (B).", "B"),
    ("cue_then_first", "choice", "It looks blue.", "B"),
    ("first_match", "choice", "Not A but B", "A"),
    ("first_match", "number", "3 and 4.50", "3"),
    ("last_match", "number", "3 and 4.50", "4.5"),
    ("last_match", "yes_no", "Yes? No.", "no"),
    ("last_match", "text", "The dog.", "dog"),
    ("first_capital", "choice", "Both colours", "B"),
    ("first_capital", "yes_no", "no", "no"),
    ("ours", "choice", "Not A but B", "B"),
]


@pytest.mark.parametrize(("reader", "kind", "text", "value"), READINGS)
def test_a_reader_reads_as_its_docstring_says(reader: str, kind: str, text: str, value: str | None) -> None:
    assert PARSERS[reader](text, kind, LABELS if kind == "choice" else {}) == value


OUTCOMES = [("B", "B", Outcome.RIGHT), ("?", None, Outcome.ABSTAINED), ("?", "B", Outcome.MISSED)]
OUTCOMES += [("A", "B", Outcome.WRONG), ("A", None, Outcome.WRONG)]


@pytest.mark.parametrize(("text", "value", "outcome"), OUTCOMES)
def test_an_outcome_compares_value_and_label(text: str, value: str | None, outcome: Outcome) -> None:
    assert Case("choice", "plain", text, value, LABELS).outcome(ours) is outcome


def test_the_table_counts_outcomes_and_gives_the_good_share() -> None:
    counts = Counter({Outcome.RIGHT: 2, Outcome.ABSTAINED: 1, Outcome.WRONG: 1})
    assert table([("ours", counts)]).splitlines()[1].split() == ["ours", "2", "1", "0", "1", "75.0%"]


def test_groups_are_counted_apart() -> None:
    cases = [Case("choice", style, "B", "B", LABELS) for style in ("plain", "plain", "marker")]
    assert [(name, counts[Outcome.RIGHT]) for name, counts in by(cases, lambda case: case.style, ours)] == [
        ("marker", 1),
        ("plain", 2),
    ]


def test_a_case_read_otherwise_is_shown_with_both_values() -> None:
    shown = otherwise([Case("choice", "plain", "A", "B", LABELS)])
    assert shown == "wrong: choice, plain: 'A': expected 'B', read 'A'"


def test_the_report_names_each_file_and_its_cases(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"kind": "number", "style": "plain", "text": "7", "value": "7"}\n')
    assert main([path]).startswith("mine.jsonl: 1 cases\n")


@pytest.mark.parametrize("line", ["{", '{"kind": "number"}', "[]"])
def test_a_line_that_is_no_case_is_an_error_that_names_it(line: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"kind": "number", "style": "plain", "text": "7", "value": "7"}}\n{line}\n')
    with pytest.raises(SclvlmError, match=r"mine\.jsonl:2: expected kind, style, text, value"):
        read_cases(path)
