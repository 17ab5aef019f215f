"""Which graded traces become pairs, and that none is lost from the count."""

from __future__ import annotations

import random
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclvlm.errors import SclvlmError
from sclvlm.labeling import Labeling, label_pairs
from sclvlm.records import GradedTrace, GradedTurn, ModelRef, Sample, Transition, Verdict, text_message

VERDICTS = {"c": Verdict.CORRECT, "i": Verdict.INCORRECT, "u": Verdict.UNPARSED, "e": Verdict.UNPARSED}
ANSWERS = {"c": "A", "i": "B", "u": None, "e": None}


def sample(id: str, images: tuple[str, ...] = ("x.png",)) -> Sample:
    return Sample(id=id, images=images, question="?", kind="choice", choices=("red", "blue"), answer="A")


def turn(letter: str, position: int, draw: int, images: int) -> GradedTurn:
    return GradedTurn(
        role="refined" if position else "initial",
        prompt=[text_message("user", f"turn {position}", images=0 if position else images)],
        response="" if letter == "e" else f"{letter} of turn {position}, draw {draw}",
        num_tokens=4,
        finish_reason="error" if letter == "e" else "stop",
        answer=ANSWERS[letter],
        method="marker",
        verdict=VERDICTS[letter],
    )


def trace(id: str, letters: str, draw: int = 0, images: int = 1) -> GradedTrace:
    """A trace with one turn a letter: correct, incorrect, unparsed, error."""
    turns = tuple(turn(letter, position, draw, images) for position, letter in enumerate(letters))
    return GradedTrace(
        id=id,
        draw=draw,
        turns=turns,
        model=ModelRef(path="m"),
        sampling={},
        prompts={},
        seed=0,
        transition=Transition.between(turns[0].verdict, turns[-1].verdict),
    )


def label(*traces: GradedTrace, **options: Any) -> Labeling:
    return label_pairs(traces, {each.id: sample(each.id) for each in traces}, **options)


def said(messages: list[dict[str, Any]]) -> str:
    text: str = messages[0]["content"][0]["text"]
    return text


def test_a_mended_answer_is_preferred_to_the_first() -> None:
    (pair,) = label(trace("q", "ic")).pairs
    assert (said(pair.chosen), said(pair.rejected)) == ("c of turn 1, draw 0", "i of turn 0, draw 0")


def test_a_spoilt_answer_is_rejected_for_the_first() -> None:
    (pair,) = label(trace("q", "ci")).pairs
    assert (said(pair.chosen), said(pair.rejected)) == ("c of turn 0, draw 0", "i of turn 1, draw 0")


def test_of_several_rounds_the_last_turn_counts() -> None:
    (pair,) = label(trace("q", "iuc")).pairs
    assert said(pair.chosen) == "c of turn 2, draw 0"


def test_both_sides_answer_the_first_prompt_with_its_images() -> None:
    (pair,) = label(trace("q", "ic")).pairs
    assert (pair.prompt, pair.images) == ([text_message("user", "turn 0", images=1)], ("x.png",))


def test_a_pair_tells_where_it_comes_from() -> None:
    (pair,) = label(trace("q", "ic", draw=3)).pairs
    assert (pair.id, pair.source) == ("q", "i->c")
    assert pair.meta == {
        "draw": 3,
        "chosen_verdict": "correct",
        "rejected_verdict": "incorrect",
        "chosen_answer": "A",
        "rejected_answer": "B",
    }


@pytest.mark.parametrize(
    ("letters", "outcome"),
    [
        ("ic", "pairs i->c"),
        ("ci", "pairs c->i"),
        ("cc", "dropped c->c"),
        ("ii", "dropped i->i"),
        ("c", "dropped c->c"),
        ("uc", "dropped unparsed"),
        ("cu", "dropped unparsed"),
        ("uu", "dropped i->i"),
        ("ec", "dropped failed"),
        ("ce", "dropped failed"),
        ("iec", "dropped failed"),
    ],
)
def test_every_kind_of_trace_has_its_outcome(letters: str, outcome: str) -> None:
    assert label(trace("q", letters)).counts == {outcome: 1}


def test_an_unparsed_side_is_rejected_where_that_is_asked_for() -> None:
    (pair,) = label(trace("q", "uc"), unparsed="rejected").pairs
    assert (pair.meta["rejected_verdict"], pair.meta["rejected_answer"]) == ("unparsed", None)


def test_a_failed_turn_is_no_unparsed_answer() -> None:
    assert label(trace("q", "ec"), unparsed="rejected").counts == {"dropped failed": 1}


def test_two_sides_with_the_same_answer_make_no_pair() -> None:
    changed = trace("q", "ic")
    same = changed.turns[0].model_copy(update={"answer": "A"})
    odd = changed.model_copy(update={"turns": (same, changed.turns[1])})
    assert label(odd).counts == {"dropped same answer": 1}


def test_a_source_that_is_not_asked_for_is_dropped_under_its_name() -> None:
    labeling = label(trace("p", "ic"), trace("q", "ci"), sources=("i->c",))
    assert labeling.counts == {"pairs i->c": 1, "dropped c->i": 1}


def test_a_question_gives_one_pair_from_its_first_draw_that_has_one() -> None:
    labeling = label(trace("q", "ic", 2), trace("q", "cc", 0), trace("q", "ci", 1))
    assert [pair.meta["draw"] for pair in labeling.pairs] == [1]
    assert labeling.counts == {"dropped c->c": 1, "pairs c->i": 1, "dropped second pair of a question": 1}


def test_questions_keep_their_order() -> None:
    assert [pair.id for pair in label(trace("b", "ic"), trace("a", "ci"), trace("c", "ic")).pairs] == [
        "b",
        "a",
        "c",
    ]


def test_a_trace_without_its_sample_is_an_error_that_names_it() -> None:
    with pytest.raises(SclvlmError, match=r"trace 'lost' \(draw 0\): none of the 1 samples .* samples file"):
        label_pairs([trace("lost", "ic")], {"q": sample("q")})


def test_a_prompt_with_other_images_than_its_sample_is_an_error_that_names_the_trace() -> None:
    with pytest.raises(SclvlmError, match=r"trace 'q' \(draw 0\): prompt must hold one image placeholder"):
        label_pairs([trace("q", "ic", images=2)], {"q": sample("q")})


def test_independent_pairs_compare_first_answers_of_two_draws() -> None:
    labeling = label(trace("q", "ii", 0), trace("q", "cc", 1), pairing="independent")
    (pair,) = labeling.pairs
    assert (said(pair.chosen), said(pair.rejected)) == ("c of turn 0, draw 1", "i of turn 0, draw 0")
    assert (pair.source, pair.meta["draw"], pair.meta["rejected_draw"]) == ("i->c", 1, 0)
    assert labeling.counts == {"partner in a pair": 1, "pairs i->c": 1}


def test_an_independent_pair_whose_correct_draw_came_first_is_of_the_other_source() -> None:
    assert [pair.source for pair in label(trace("q", "c", 0), trace("q", "i", 1), pairing="independent").pairs] == [
        "c->i"
    ]


def test_independent_pairs_take_the_first_draw_of_either_verdict() -> None:
    draws = [trace("q", letter, draw) for draw, letter in enumerate("uicic")]
    labeling = label(*draws, pairing="independent")
    assert (labeling.pairs[0].meta["draw"], labeling.pairs[0].meta["rejected_draw"]) == (2, 1)
    assert labeling.counts == {
        "dropped unparsed": 1,
        "partner in a pair": 1,
        "pairs i->c": 1,
        "dropped further draw": 2,
    }


def test_independent_draws_without_an_opposite_make_no_pair() -> None:
    draws = [trace("q", "ci", 0), trace("q", "ci", 1), trace("q", "ec", 2)]
    counts = label(*draws, pairing="independent").counts
    assert counts == {"dropped no opposite draw": 1, "dropped further draw": 1, "dropped failed": 1}


def test_a_failed_review_does_not_spoil_an_independent_pair() -> None:
    assert len(label(trace("q", "ce", 0), trace("q", "ie", 1), pairing="independent").pairs) == 1


def test_balance_cuts_the_commoner_source_to_the_rarer() -> None:
    traces = [trace(f"q{n}", "ic" if n < 2 else "ci") for n in range(7)]
    labeling = label(*traces, balance=True)
    assert labeling.counts == {"pairs i->c": 2, "pairs c->i": 2, "dropped for balance": 3}
    assert [pair.source for pair in labeling.pairs] == ["i->c", "i->c", "c->i", "c->i"]


def test_balance_draws_the_same_pairs_for_the_same_seed() -> None:
    traces = [trace(f"q{n}", "ic" if n < 5 else "ci") for n in range(50)]
    first, second, other = (label(*traces, balance=True, seed=seed).pairs for seed in (1, 1, 2))
    assert first == second != other


def test_balance_counts_both_traces_of_an_independent_pair() -> None:
    traces = [trace("p", "i", 0), trace("p", "c", 1), trace("q", "i", 0), trace("q", "c", 1)]
    assert label(*traces, pairing="independent", balance=True).counts == {"dropped for balance": 4}


LETTERS = st.text("ciue", min_size=1, max_size=3)


@given(
    st.lists(st.tuples(st.sampled_from("pqr"), LETTERS), max_size=12),
    st.sampled_from(["refine", "independent"]),
    st.sampled_from(["drop", "rejected"]),
    st.sampled_from([("i->c", "c->i"), ("i->c",), ("c->i",)]),
    st.booleans(),
)
def test_counts_sum_to_the_number_of_traces_and_name_every_pair(
    rows: list[tuple[str, str]],
    pairing: Literal["refine", "independent"],
    unparsed: Literal["drop", "rejected"],
    sources: tuple[str, ...],
    balance: bool,
) -> None:
    traces = [trace(id, letters, draw) for draw, (id, letters) in enumerate(rows)]
    labeling = label(*traces, pairing=pairing, unparsed=unparsed, sources=sources, balance=balance)
    assert sum(labeling.counts.values()) == len(traces)
    named = sum(count for name, count in labeling.counts.items() if name.startswith("pairs "))
    assert named == len(labeling.pairs) == len({pair.id for pair in labeling.pairs})


@given(st.lists(st.tuples(st.sampled_from("pqr"), LETTERS), max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_traces_in_their_file_changes_no_pair(rows: list[tuple[str, str]], shuffle: random.Random) -> None:
    traces = [trace(id, letters, draw) for draw, (id, letters) in enumerate(rows)]
    shuffled = shuffle.sample(traces, len(traces))
    straight, mixed = (sorted(label(*order).pairs, key=lambda pair: pair.id) for order in (traces, shuffled))
    assert straight == mixed
