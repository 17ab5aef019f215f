"""Letters, indices and open answers as benchmarks write them, and options inside a question."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.benchmarks.options import (
    apart,
    free,
    letter,
    letter_at,
    letter_of_text,
    letters_inside,
    yes_or_no,
)
from data_pipelines.rows import BrokenError


@pytest.mark.parametrize("text", ["B", "b", "(B)", "B.", " (b) ", "blue"])
def test_a_letter_may_be_written_in_many_ways_or_as_its_option(text: str) -> None:
    assert letter(text, ("red", "blue")) == "B"


@pytest.mark.parametrize("text", ["C", "", "green", "AB", "?"])
def test_what_is_none_of_the_choices_is_told(text: str) -> None:
    with pytest.raises(BrokenError, match="none of the choices"):
        letter(text, ("red", "blue"))


def test_an_answer_by_its_text_is_not_read_as_a_letter() -> None:
    assert letter_of_text("A", ("B", "A")) == "B"


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_beyond_the_choices_is_told(index: int) -> None:
    with pytest.raises(BrokenError, match="none of the choices"):
        letter_at(index, ("red", "blue"))


@pytest.mark.parametrize(
    ("text", "kind", "answer"),
    [
        ("Yes", "yes_no", "yes"),
        ("14", "number", "14"),
        ("-0.5", "number", "-0.5"),
        ("5,6", "text", "5,6"),
        ("14%", "text", "14%"),
        ("yes, it is", "text", "yes, it is"),
    ],
)
def test_an_open_answer_is_yes_or_no_or_a_plain_number_or_text(text: str, kind: str, answer: str) -> None:
    assert free(text) == (kind, answer)


@pytest.mark.parametrize(("text", "word"), [("Yes", "yes"), ("TRUE", "yes"), ("1", "yes"), ("No.", "no"), ("0", "no")])
def test_yes_and_no_have_several_ways(text: str, word: str) -> None:
    assert yes_or_no(text) == word


def test_neither_yes_nor_no_is_told() -> None:
    with pytest.raises(BrokenError, match="neither yes nor no"):
        yes_or_no("2")


INSIDE = {
    "Which?\nOptions: A: a bed., B: a bag, with B, C: a box": ("a bed.", "a bag, with B", "a box"),
    "Which?\nChoices:\n(A) 135\n(B) 140": ("135", "140"),
    "Which? (A) 135 (B) 140": ("135", "140"),
    "Which?\n\nA. Left\nB. Right\nC. It is 3.5 m": ("Left", "Right", "It is 3.5 m"),
}


@pytest.mark.parametrize(("text", "choices"), INSIDE.items())
def test_options_inside_a_question_are_taken_apart(text: str, choices: tuple[str, ...]) -> None:
    assert apart(text) == ("Which?", choices)


@pytest.mark.parametrize(
    "text",
    [
        "Which?",
        "Which?\nA. Left",
        "Which?\nA. Left\nC. Right",
        "Which?\nB. Left\nA. Right",
        "Which?\nOptions: A: x, B: y, B: z",
        "Which?\nOptions: A: x B: y",
        "Which?\nA. Left\nB. Right\nAnd why?",
        "Which?\nA. \nB. Right",
        "A. Left\nB. Right",
    ],
)
def test_options_that_leave_a_doubt_stay_inside(text: str) -> None:
    assert apart(text) is None


@pytest.mark.parametrize(
    ("text", "answer", "letters"),
    [
        ("Which?\nA: x, B: y, B: z", "A", "AB"),
        ("Which? (A) x (B) y\nor (C) z", "B", "ABC"),
        ("A. x\nB. y\nC. z", "C", "ABC"),
        ("Which? A) x, B) y, D) z", "D", "ABCD"),  # beyond the gap only as far as the answer
        ("Which letter?", "b", "ABCD"),
        ("Vitamin A. or else?", "(C)", "ABCD"),
        ("Which? x or y", "F", "ABCDEF"),
        ("In the U.S.A. or in Room 1B: which?", "A", "ABCD"),
    ],
)
def test_a_question_that_keeps_its_options_inside_is_answered_by_the_letters_it_shows(
    text: str, answer: str, letters: str
) -> None:
    assert letters_inside(text, answer) == tuple(letters)


WORDS = st.text(string.ascii_lowercase + " 0123456789", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(st.lists(WORDS, min_size=2, max_size=9), st.sampled_from(["lines", "commas", "parentheses"]))
def test_options_are_found_again_in_any_style(texts: list[str], style: str) -> None:
    marked = {
        "lines": "\n" + "\n".join(f"{mark}. {text}" for mark, text in zip(string.ascii_uppercase, texts, strict=False)),
        "commas": "\nOptions: "
        + ", ".join(f"{mark}: {text}" for mark, text in zip(string.ascii_uppercase, texts, strict=False)),
        "parentheses": "\nChoices:\n"
        + "\n".join(f"({mark}) {text}" for mark, text in zip(string.ascii_uppercase, texts, strict=False)),
    }
    assert apart(f"which one{marked[style]}") == ("which one", tuple(texts))
