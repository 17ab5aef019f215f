"""Labelled responses of tests/data: what a careful person reads in them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.extraction import Case, Outcome, good, otherwise, read_cases
from benchmarks.parsers import STAND_INS, ours

FILES = sorted((Path(__file__).parent / "data").glob("answers*.jsonl"))
CASES = {path.name: read_cases(path) for path in FILES}
ALL = [case for cases in CASES.values() for case in cases]


def outcomes(cases: list[Case]) -> Counter[Outcome]:
    """How ours fares."""
    return Counter(case.outcome(ours) for case in cases)


@pytest.mark.parametrize("name", CASES)
def test_nearly_every_response_is_read_as_a_careful_person_does(name: str) -> None:
    assert good(outcomes(CASES[name])) >= 0.98, otherwise(CASES[name])


def test_of_113_choices_at_most_one_gets_a_wrong_letter() -> None:
    choices = [case for case in ALL if case.kind == "choice"]
    assert outcomes(choices)[Outcome.WRONG] <= len(choices) / 113


@pytest.mark.parametrize("kind", ["yes_no", "number", "text"])
def test_of_the_other_kinds_no_value_is_wrong(kind: str) -> None:
    assert outcomes([case for case in ALL if case.kind == kind])[Outcome.WRONG] == 0


def test_no_stand_in_for_a_published_parser_reads_two_thirds() -> None:
    shares = {name: good(Counter(case.outcome(read) for case in ALL)) for name, read in STAND_INS.items()}
    assert max(shares.values()) < 2 / 3


@pytest.mark.parametrize("name", CASES)
def test_a_label_of_a_choice_is_an_option_of_its_question(name: str) -> None:
    assert all(case.value in (None, *case.labels) for case in CASES[name] if case.kind == "choice")


@pytest.mark.parametrize("name", CASES)
def test_no_response_is_labelled_twice(name: str) -> None:
    counts = Counter((case.kind, case.text, *case.labels.values()) for case in CASES[name])
    assert [case for case, count in counts.items() if count > 1] == []
