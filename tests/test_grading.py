"""Responses against known answers."""

from __future__ import annotations

from typing import Any

import pytest

from sclvlm.errors import SclvlmError
from sclvlm.grading import grade, grade_trace
from sclvlm.records import ModelRef, Sample, Trace, Transition, Turn, Verdict, text_message


def sample(**fields: Any) -> Sample:
    return Sample(**{"id": "s", "question": "Which colour?", "kind": "text", "answer": "red"} | fields)


def trace(*responses: str, reasons: tuple[str, ...] = ("stop", "stop"), id: str = "s") -> Trace:
    turns = tuple(
        Turn.model_validate(
            {
                "role": "initial" if position == 0 else "refined",
                "prompt": [text_message("user", "Which colour?")],
                "response": response,
                "num_tokens": 3,
                "finish_reason": reasons[position],
            }
        )
        for position, response in enumerate(responses)
    )
    return Trace(id=id, turns=turns, model=ModelRef(path="m"), sampling={}, prompts={}, seed=0, meta={"note": 1})


LETTER = sample(kind="choice", choices=("red", "blue"), answer="B")


def test_the_right_letter_is_correct() -> None:
    assert grade("## B ##", LETTER) == ("B", "marker", Verdict.CORRECT)


def test_the_text_of_the_right_option_is_correct() -> None:
    assert grade("## blue ##", LETTER) == ("B", "marker", Verdict.CORRECT)


def test_another_letter_is_incorrect() -> None:
    assert grade("## A ##", LETTER).verdict is Verdict.INCORRECT


def test_a_letter_that_is_no_option_is_unparsed_not_incorrect() -> None:
    assert grade("## C ##", LETTER) == (None, "none", Verdict.UNPARSED)


def test_a_contradiction_is_unparsed() -> None:
    assert grade("## A or B ##", LETTER) == (None, "contradiction", Verdict.UNPARSED)


def test_yes_and_no_are_compared() -> None:
    question = sample(kind="yes_no", answer="no")
    assert [grade(text, question).verdict for text in ("No.", "Yes.")] == [Verdict.CORRECT, Verdict.INCORRECT]


@pytest.mark.parametrize("answer", ["1234.5", "1,234.50", "+1234.5", "01234.500"])
def test_numbers_are_equal_as_decimals(answer: str) -> None:
    assert grade("## 1234.5 ##", sample(kind="number", answer=answer)).verdict is Verdict.CORRECT


def test_a_close_number_is_incorrect() -> None:
    assert grade("## 3.14 ##", sample(kind="number", answer="3.141")).verdict is Verdict.INCORRECT


def test_a_sample_whose_number_is_none_is_an_error_that_names_it() -> None:
    with pytest.raises(SclvlmError, match=r"sample 's': answer must be a number .* 'many'"):
        grade("## 3 ##", sample(kind="number", answer="many"))


@pytest.mark.parametrize("text", ["## The red. ##", "## RED ##", "red", "The answer is red."])
def test_texts_are_compared_after_normalisation(text: str) -> None:
    assert grade(text, sample(answer="Red")).verdict is Verdict.CORRECT


def test_any_of_several_accepted_texts_is_correct() -> None:
    question = sample(answer="car", answers=("an automobile", "2 cars"))
    assert [grade(f"## {text} ##", question).verdict for text in ("automobile", "two cars", "bus")] == [
        Verdict.CORRECT,
        Verdict.CORRECT,
        Verdict.INCORRECT,
    ]


@pytest.mark.parametrize("answer", ["$5", "f(x) = 2*x", "St. Louis", "don't stop", "*star*", "x_1", "½ cup"])
def test_an_answer_repeated_between_marks_is_correct_whatever_its_characters(answer: str) -> None:
    assert grade(f"I see. ## {answer} ##", sample(answer=answer)).verdict is Verdict.CORRECT


def test_a_trace_is_graded_turn_by_turn() -> None:
    graded = grade_trace(trace("## red ##", "## blue ##"), sample())
    assert [(turn.answer, turn.verdict) for turn in graded.turns] == [
        ("red", Verdict.CORRECT),
        ("blue", Verdict.INCORRECT),
    ]


@pytest.mark.parametrize(
    ("first", "last", "transition"),
    [
        ("red", "red", Transition.CC),
        ("red", "blue", Transition.CI),
        ("blue", "red", Transition.IC),
        ("blue", "green", Transition.II),
    ],
)
def test_the_transition_is_that_of_first_and_last_turn(first: str, last: str, transition: Transition) -> None:
    assert grade_trace(trace(f"## {first} ##", f"## {last} ##"), sample()).transition is transition


def test_a_turn_that_failed_is_unparsed_by_the_method_error() -> None:
    turn = grade_trace(trace("## red ##", "", reasons=("stop", "error")), sample()).turns[1]
    assert (turn.answer, turn.method, turn.verdict) == (None, "error", Verdict.UNPARSED)


def test_a_response_that_was_cut_off_is_read_like_any_other() -> None:
    graded = grade_trace(trace("## red ## becau", reasons=("length",)), sample())
    assert graded.turns[0].verdict is Verdict.CORRECT


def test_everything_else_of_a_trace_stays() -> None:
    before = trace("red", "blue")
    after = grade_trace(before, sample()).model_dump(include=set(Trace.model_fields) - {"turns"})
    assert after == before.model_dump(exclude={"turns"})


def test_grading_again_changes_nothing() -> None:
    once = grade_trace(trace("red", "blue"), sample())
    assert grade_trace(once, sample()) == once


def test_a_trace_of_another_sample_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="'other' cannot be graded by sample 's'"):
        grade_trace(trace("red", id="other"), sample())


def test_an_answer_is_read_from_between_the_markers_it_was_asked_for() -> None:
    said = trace("A or <a>B</a> or A", "<a>A</a> or B").model_copy(update={"prompts": {"marker": "<a> </a>"}})
    assert [turn.answer for turn in grade_trace(said, LETTER).turns] == ["B", "A"]


@pytest.mark.parametrize(
    ("opened", "verdict"), [("<think>", Verdict.UNPARSED), ("◁think▷", Verdict.UNPARSED), ("", Verdict.INCORRECT)]
)
def test_a_thought_that_the_template_opened_and_that_was_cut_is_no_answer(opened: str, verdict: Verdict) -> None:
    asked = trace("The answer is blue, but look at")
    turns = (asked.turns[0].model_copy(update={"opened": opened, "finish_reason": "length"}),)
    assert grade_trace(asked.model_copy(update={"turns": turns}), sample()).turns[0].verdict is verdict


def test_what_follows_a_thought_that_the_template_opened_is_the_answer() -> None:
    asked = trace("Blue? No.</think>The answer is red.")
    turns = (asked.turns[0].model_copy(update={"opened": "<think>"}),)
    graded = grade_trace(asked.model_copy(update={"turns": turns}), sample()).turns[0]
    assert (graded.verdict, graded.opened) == (Verdict.CORRECT, "<think>")
