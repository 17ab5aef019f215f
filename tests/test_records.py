"""Records hold their laws at construction."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sclvlm.records import (
    Demonstration,
    GradedTrace,
    GradedTurn,
    ModelRef,
    PreferencePair,
    Record,
    Sample,
    Trace,
    Transition,
    Turn,
    UnpairedCompletion,
    Verdict,
    count_images,
    message_text,
    text_message,
)

CHOICE = {"id": "1", "question": "which?", "kind": "choice", "choices": ("blue", "teal"), "answer": "A"}
VERDICTS = st.sampled_from(Verdict)


def turn(verdict: Verdict = Verdict.CORRECT, finish: str = "stop") -> GradedTurn:
    """A graded turn."""
    return GradedTurn.model_validate(
        {
            "role": "initial",
            "prompt": [text_message("user", "which?")],
            "response": "## A ##",
            "num_tokens": 3,
            "finish_reason": finish,
            "answer": "A",
            "method": "marker",
            "verdict": verdict,
        }
    )


def trace_fields(*turns: Turn) -> dict[str, Any]:
    """What every trace of these turns has."""
    model = ModelRef(path="m")
    return {"id": "1", "turns": turns, "model": model, "sampling": {}, "prompts": {}, "seed": 0}


def pair_fields() -> dict[str, Any]:
    """A pair about one image."""
    return {
        "id": "1",
        "prompt": [text_message("user", "which?", images=1)],
        "chosen": [text_message("assistant", "blue")],
        "rejected": [text_message("assistant", "teal")],
        "images": ("a.png",),
    }


def test_unknown_fields_go_into_meta() -> None:
    assert Sample.model_validate({**CHOICE, "split": "dev"}).meta == {"split": "dev"}


def test_what_stood_in_meta_stays_there_beside_unknown_fields() -> None:
    sample = Sample.model_validate({**CHOICE, "split": "dev", "meta": {"page": 3}})
    assert sample.meta == {"split": "dev", "page": 3}


@pytest.mark.parametrize("meta", [[1], "text"])
def test_a_meta_that_is_no_mapping_is_refused(meta: Any) -> None:
    with pytest.raises(ValidationError, match="meta"):
        Sample.model_validate({**CHOICE, "split": "dev", "meta": meta})


def test_a_record_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Sample.model_validate(CHOICE).answer = "B"


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="question"):
        Sample.model_validate({"id": "1", "kind": "text", "answer": "a"})


def test_the_answer_to_a_choice_is_one_of_its_letters() -> None:
    with pytest.raises(ValidationError, match=r"answer must be one of A, B \(2 choices\), got 'C'"):
        Sample.model_validate({**CHOICE, "answer": "C"})


@pytest.mark.parametrize("number", [0, 1, 27])
def test_a_choice_has_2_to_26_options(number: int) -> None:
    with pytest.raises(ValidationError, match=f"2 to 26 options for kind=choice, got {number}"):
        Sample.model_validate({**CHOICE, "choices": ("option",) * number})


def test_26_options_are_lettered_to_z() -> None:
    sample = Sample.model_validate({**CHOICE, "choices": ("option",) * 26, "answer": "Z"})
    assert "".join(sample.labels) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_only_a_choice_has_options() -> None:
    with pytest.raises(ValidationError, match="choices must be empty for kind=text, got 2"):
        Sample.model_validate({**CHOICE, "kind": "text"})


def test_the_answer_to_yes_or_no_is_yes_or_no() -> None:
    with pytest.raises(ValidationError, match="answer must be yes or no for kind=yes_no, got 'true'"):
        Sample.model_validate({"id": "1", "question": "is it?", "kind": "yes_no", "answer": "true"})


@pytest.mark.parametrize(
    ("fields", "cluster"),
    [({"group": "g", "images": ("a",)}, "g"), ({"images": ("a", "b")}, "a|b"), ({}, "1")],
)
def test_samples_cluster_by_group_else_by_images_else_alone(fields: dict[str, Any], cluster: str) -> None:
    assert Sample.model_validate({**CHOICE, **fields}).cluster == cluster


@given(VERDICTS, VERDICTS)
def test_a_transition_names_correct_and_not_correct(first: Verdict, last: Verdict) -> None:
    letters = ["c" if verdict == "correct" else "i" for verdict in (first, last)]
    assert Transition.between(first, last) == f"{letters[0]}->{letters[1]}"


def test_a_graded_trace_must_state_the_transition_of_its_turns() -> None:
    turns = (turn(Verdict.UNPARSED), turn(Verdict.CORRECT))
    with pytest.raises(ValidationError, match="transition must be i->c for these verdicts, got c->c"):
        GradedTrace.model_validate({**trace_fields(*turns), "transition": "c->c"})


def test_a_trace_has_a_turn() -> None:
    with pytest.raises(ValidationError, match="turns"):
        Trace.model_validate(trace_fields())


@pytest.mark.parametrize(("opened", "written"), [("<think>", True), ("", False)])
def test_a_turn_names_the_thought_that_was_opened_where_there_is_one(opened: str, written: bool) -> None:
    turn = Turn(role="initial", prompt=[], response="", num_tokens=0, finish_reason="stop", opened=opened)
    assert ("opened" in turn.model_dump()) is written
    assert Turn.model_validate_json(turn.model_dump_json()) == turn


def test_a_trace_failed_when_one_turn_did() -> None:
    fields = trace_fields(turn(), turn(finish="error"))
    assert GradedTrace.model_validate({**fields, "transition": "c->c"}).failed


def test_a_trace_is_known_by_id_and_draw() -> None:
    trace = GradedTrace.model_validate({**trace_fields(turn()), "draw": 2, "transition": "c->c"})
    assert trace.key == ("1", 2)


def test_a_pair_prefers_one_text_to_another() -> None:
    fields = pair_fields()
    with pytest.raises(ValidationError, match="chosen and rejected must differ"):
        PreferencePair.model_validate({**fields, "rejected": fields["chosen"]})


@pytest.mark.parametrize("images", [(), ("a.png", "b.png")])
def test_a_pair_has_a_placeholder_for_each_image(images: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match=f"one image placeholder per image: 1 for {len(images)} images"):
        PreferencePair.model_validate({**pair_fields(), "images": images})


def test_the_chosen_completion_comes_first() -> None:
    pair = PreferencePair.model_validate(pair_fields())
    assert pair.completions == (pair.chosen, pair.rejected)


def test_a_demonstration_has_a_placeholder_for_each_image() -> None:
    prompt, completion = [text_message("user", "which?")], [text_message("assistant", "blue")]
    with pytest.raises(ValidationError, match="one image placeholder per image: 0 for 1 images"):
        Demonstration(id="1", prompt=prompt, completion=completion, images=("a.png",))


@given(st.text(), st.integers(0, 3))
def test_a_text_message_gives_back_its_text_and_its_images(text: str, images: int) -> None:
    message = text_message("user", text, images=images)
    assert (message_text(message), count_images([message])) == (text, images)


def test_a_message_may_have_a_plain_string_as_content() -> None:
    message = {"role": "user", "content": "which?"}
    assert (message_text(message), count_images([message])) == ("which?", 0)


@pytest.mark.parametrize("model", [Sample, Trace, GradedTrace, PreferencePair, Demonstration, UnpairedCompletion])
def test_a_record_says_what_it_is(model: type[Record]) -> None:
    assert model.__doc__
