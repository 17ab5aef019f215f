"""Scores of one free answer, by hand."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclvlm.errors import SclvlmError
from sclvlm.metrics.official import (
    anls,
    direct_answer_accuracy,
    equal_at_precision,
    exact_match,
    mmmu_open_match,
    relaxed_match,
    vqa_accuracy,
)
from sclvlm.metrics.official.texts import edit_distance, number

words = st.text("ab ", max_size=8)


# VQA


@pytest.mark.parametrize(("matches", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_vqa_accuracy_of_ten_people(matches: int, score: float) -> None:
    # With m matches, m people see m - 1 others agree and 10 - m see m: m=3 gives (3 * 2/3 + 7 * 1) / 10 = 0.9.
    assert vqa_accuracy("red", ["red"] * matches + ["blue"] * (10 - matches)) == pytest.approx(score)


def test_people_who_said_nothing_are_people() -> None:
    # 3 of 10 agree: each of them leaves 2 of 3 (2/3), each of the others 3 (1): (3 * 2/3 + 7) / 10.
    assert vqa_accuracy("red", ["red"] * 3 + [""] * 2 + ["blue"] * 5) == pytest.approx(0.9)


def test_vqa_accuracy_compares_normalised_texts() -> None:
    assert vqa_accuracy("The Two dogs.", ["2 dogs"] * 10) == 1.0


def test_an_unread_answer_has_no_vqa_accuracy() -> None:
    assert vqa_accuracy(None, ["none"] * 10) == 0.0


def test_vqa_accuracy_of_one_person_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="several people, got 1"):
        vqa_accuracy("red", ["red"])


@pytest.mark.parametrize(("matches", "score"), [(0, 0.0), (1, 1 / 3), (2, 2 / 3), (3, 1.0), (9, 1.0)])
def test_direct_answers_leave_nobody_out(matches: int, score: float) -> None:
    assert direct_answer_accuracy("Red", ["red"] * matches + ["blue"] * (10 - matches)) == pytest.approx(score)


def test_direct_answers_of_nobody_are_an_error() -> None:
    with pytest.raises(SclvlmError, match="got none"):
        direct_answer_accuracy("red", [])


# ChartQA


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("105", "100", True),  # 5 % off
        ("105.1", "100", False),
        ("95", "100", True),
        ("94.9", "100", False),
        ("-95", "-100", True),
        ("95", "-100", False),
        ("0", "0", True),
        ("0.0", "0", True),  # zero is zero however it is written
        ("0.01", "0", False),  # 5 % of nothing is nothing
        ("5%", "0.05", True),
        ("5%", "5", False),  # a percent is a hundredth
        ("5 %", "5%", True),
        ("1,234", "1234", True),
        ("1,23", "123", False),  # no thousands separator: a text
        ("3.", "3", True),
        ("3.0e2", "300", True),
        ("1e999", "1e999", True),  # no finite number: compared as texts
        ("Blue", "blue", True),
        ("Blue.", "blue", True),
        ("bluish", "blue", False),
        ("blue", "3", False),
        ("nan", "nan", True),
        (None, "3", False),
    ],
)
def test_relaxed_match(answer: str | None, target: str, right: bool) -> None:
    assert relaxed_match(answer, target) is right


@pytest.mark.parametrize(
    ("text", "value"),
    [("-1,000.5", -1000.5), (".5", 0.5), ("12 %", 0.12), ("1.2.3", None), ("e5", None), ("five", None), ("", None)],
)
def test_what_is_a_number(text: str, value: float | None) -> None:
    assert number(text) == value


# DocVQA


@pytest.mark.parametrize(
    ("answer", "targets", "score"),
    [
        ("kitten", ["kitten"], 1.0),
        ("Kitten ", ["kitten"], 1.0),
        ("sitten", ["kitten"], 1 - 1 / 6),
        ("abcd", ["abzz"], 0.0),  # half of it is wrong: 2 / 4 is not below the threshold
        ("abcde", ["abczz"], 1 - 2 / 5),
        ("new york", ["newyork"], 1 - 1 / 8),  # spaces are no different from letters
        ("abc", ["xyz", "abd"], 1 - 1 / 3),  # the nearest counts
        ("", ["abc"], 0.0),
        (None, ["abc"], 0.0),
    ],
)
def test_anls(answer: str | None, targets: list[str], score: float) -> None:
    assert anls(answer, targets) == pytest.approx(score)


def test_anls_without_a_target_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="at least one accepted answer"):
        anls("a", [])


def test_a_long_response_costs_nothing() -> None:
    response, start = "word " * 1_000_000, time.process_time()
    assert anls(response, ["word"]) == 0.0
    assert time.process_time() - start < 1  # comparing them letter by letter takes a minute


@pytest.mark.parametrize(
    ("one", "other", "distance"), [("kitten", "sitting", 3), ("", "abc", 3), ("flaw", "lawn", 2), ("a", "a", 0)]
)
def test_edit_distance(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other) == distance


@given(words, words, words)
def test_edit_distance_is_a_distance(one: str, other: str, third: str) -> None:
    there = edit_distance(one, other)
    assert there == edit_distance(other, one)
    assert (there == 0) == (one == other)
    assert there <= edit_distance(one, third) + edit_distance(third, other)


# RealWorldQA, MathVista


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [("Yes.", "yes", True), (" 3 ", "3", True), ("three", "3", False), ("a yes", "yes", False), (None, "yes", False)],
)
def test_exact_match(answer: str | None, target: str, right: bool) -> None:
    assert exact_match(answer, target) is right


@pytest.mark.parametrize(
    ("answer", "target", "answer_type", "precision", "right"),
    [
        ("3", "3", "integer", None, True),
        ("3.9", "3", "integer", None, True),  # the published rule cuts decimals off
        ("1,000", "1000", "integer", None, True),
        ("1.23", "1.2", "float", 1, True),
        ("1.27", "1.2", "float", 1, False),
        ("1.2", "1.20", "float", 2, True),
        ("about 1", "1", "integer", None, False),
        (None, "1", "integer", None, False),
        ("[1, 2]", "[1, 2]", "list", None, True),
        ("yes", "Yes", "text", None, False),
    ],
)
def test_equality_at_a_precision(
    answer: str | None, target: str, answer_type: str, precision: float | None, right: bool
) -> None:
    assert equal_at_precision(answer, target, answer_type=answer_type, precision=precision) is right


def test_a_float_without_precision_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="needs the question's precision"):
        equal_at_precision("1.2", "1.2", answer_type="float")


def test_a_numeric_target_that_is_no_number_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="must be a number for answer_type=integer, got 'many'"):
        equal_at_precision("1", "many", answer_type="integer")


# MMMU


@pytest.mark.parametrize(
    ("response", "targets", "right"),
    [
        ("The answer is 4.001", ["4"], True),  # equal to two decimals
        ("The answer is 4.01", ["4"], False),
        ("It costs $1,200.", ["1200"], True),
        ("So x = 2 + 3 = 5", ["5"], True),  # an equation ends in its result
        ("So x = 2 + 3 = 5", ["2"], False),
        ("x = 7\nThe answer is 5", ["7"], False),  # not the last line
        ("Therefore it is 1.5e3", ["1500"], True),
        ("I think it is photosynthesis at work", ["photosynthesis"], False),  # "is " ends that word too: "at work"
        ("I think it is photosynthesis", ["photosynthesis"], True),
        ("Photosynthesis", ["photosynthesis"], True),  # nothing concluded: all of it
        ("It is respiration.", ["photosynthesis", "respiration"], True),
        ("The answer is Bach", ["b"], False),  # a lone letter needs a space beside it
        ("The answer is b", ["b"], True),
        ("Choose b now", ["b"], True),
        ("3 apples and 4 pears", ["4"], True),  # any number
        ("", ["4"], False),
    ],
)
def test_the_open_rule_of_mmmu(response: str, targets: list[str], right: bool) -> None:
    assert mmmu_open_match(response, targets) is right


def test_the_open_rule_without_a_target_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="at least one accepted answer"):
        mmmu_open_match("4", [])
