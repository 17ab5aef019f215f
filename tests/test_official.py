"""Each benchmark's own metric, by hand. `1` is a right answer, `0` a wrong one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclvlm.errors import SclvlmError
from sclvlm.metrics.official import (
    HallusionQuestion,
    by_category,
    circular,
    consistency,
    final_text,
    genuine_accuracy,
    hallusion,
    mme,
    pope_answer,
    yes_no,
)
from sclvlm.metrics.official.groups import COGNITION, PERCEPTION

M = 1_000_000


def right(bits: str) -> list[bool]:
    return [bit == "1" for bit in bits]


# categories


def test_micro_weighs_questions_and_macro_weighs_categories() -> None:
    # a: 3 of 4, b: 0 of 1.
    figures = by_category(right("11100"), list("aaaab"))
    assert (figures["accuracy"], figures["macro"]) == pytest.approx((3 / 5, (3 / 4 + 0) / 2))


def test_each_category_has_its_accuracy() -> None:
    figures = by_category(right("1100"), ["x", "y", "x", ""])
    assert [figures[f"category/{name}"] for name in ("x", "y", "(none)")] == [0.5, 1.0, 0.0]


def test_one_entry_too_few_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="got 2 answers and 1 keys"):
        by_category(right("11"), ["a"])


def test_an_official_metric_of_nothing_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="accuracy of nothing"):
        circular([], [])


# MMBench


def test_circular_counts_a_question_when_every_rotation_is_right() -> None:
    # Question 1 is right in all three rotations, question 2 in one of two.
    figures = circular(right("111" + "10"), [1, 1 + M, 1 + 2 * M, 2, 2 + M])
    assert figures == {"circular": 0.5, "vanilla": 1.0}


def test_vanilla_sees_the_first_asking_alone() -> None:
    assert circular(right("0111"), [7, 7 + M, 8, 8 + M])["vanilla"] == 0.5


def test_the_order_of_rotations_is_of_no_account() -> None:
    assert circular(right("01"), [3 + M, 3]) == circular(right("10"), [3, 3 + M])


def test_without_rotations_there_is_no_circular_figure() -> None:
    assert circular(right("10"), [1, 2]) == {"vanilla": 0.5}


def test_without_first_askings_there_is_no_vanilla_figure() -> None:
    assert circular(right("10"), [1 + M, 1 + 2 * M]) == {"circular": 0.0}


# MMEvalPro, NLVR


def test_a_triplet_is_genuine_when_all_three_are_right() -> None:
    assert genuine_accuracy(right("111" + "110"), list("aaabbb")) == pytest.approx({"genuine": 0.5, "micro": 5 / 6})


def test_half_a_triplet_is_never_genuine() -> None:
    assert genuine_accuracy(right("111" + "11"), list("aaabb"))["genuine"] == 1.0


def test_four_questions_are_no_triplet() -> None:
    assert genuine_accuracy(right("110" + "1111"), list("aaabbbb"))["genuine"] == 0.0


def test_without_a_whole_triplet_there_is_no_genuine_accuracy() -> None:
    assert genuine_accuracy(right("11"), list("aa")) == {"micro": 1.0}


def test_a_sentence_is_consistent_when_right_under_every_picture() -> None:
    assert consistency(right("11" + "10" + "1"), list("aabbc")) == pytest.approx(
        {"accuracy": 4 / 5, "consistency": 2 / 3}
    )


# HallusionBench


def asked(category: str, figure: int, question: int, subcategory: str = "chart", group: int = 0) -> HallusionQuestion:
    return HallusionQuestion(category, subcategory, str(group), str(figure), str(question))


def test_hallusion_counts_questions_figures_and_pairs() -> None:
    # Figure 0 has questions 0 and 1, figure 1 the same; right: f0q0, f0q1, f1q0.
    questions = [asked("VD", figure, question) for figure in (0, 1) for question in (0, 1)]
    # Figures: 0 whole, 1 not. Pairs: question 0 whole, question 1 not.
    assert hallusion(right("1110"), questions) == {"aAcc": 0.75, "fAcc": 0.5, "qAcc": 0.5}


def test_a_question_without_a_picture_belongs_to_no_figure() -> None:
    questions = [asked("VS", 0, 0), asked("VS", 1, 0)]
    assert hallusion(right("01"), questions) == {"aAcc": 0.5, "fAcc": 1.0, "qAcc": 0.0}


def test_figure_0_of_visual_dependent_questions_is_a_picture() -> None:
    assert hallusion(right("01"), [asked("VD", 0, 0), asked("VD", 1, 0)])["fAcc"] == 0.5


def test_without_pictures_there_is_no_figure_accuracy() -> None:
    assert hallusion(right("1"), [asked("VS", 0, 0)]) == {"aAcc": 1.0, "qAcc": 1.0}


def test_subcategories_and_sets_share_neither_figures_nor_pairs() -> None:
    questions = [asked("VD", 0, 0), asked("VD", 0, 0, subcategory="map"), asked("VD", 0, 0, group=1)]
    found = hallusion(right("110"), questions)
    assert (found["fAcc"], found["qAcc"]) == pytest.approx((2 / 3, 2 / 3))


# MME


def test_mme_adds_accuracy_and_accuracy_plus_in_points() -> None:
    # count: 3 of 4 right, one of two images whole: 75 + 50. code_reasoning: 2 of 2, its image whole: 100 + 100.
    figures = mme(right("1110" + "11"), ["count"] * 4 + ["code_reasoning"] * 2, ["a", "a", "b", "b", "c", "c"])
    assert figures == {
        "perception": 125.0,
        "cognition": 200.0,
        "code_reasoning/accuracy": 100.0,
        "code_reasoning/accuracy_plus": 100.0,
        "count/accuracy": 75.0,
        "count/accuracy_plus": 50.0,
    }


def test_subtasks_share_no_image() -> None:
    figures = mme(right("1001"), ["count", "count", "color", "color"], ["a"] * 4)
    assert (figures["count/accuracy_plus"], figures["color/accuracy_plus"]) == (0.0, 0.0)


def test_an_image_with_one_question_is_not_plus() -> None:
    assert mme(right("110"), ["OCR"] * 3, ["a", "b", "b"])["OCR/accuracy_plus"] == 0.0


def test_an_image_with_three_questions_is_not_plus() -> None:
    assert mme(right("11" + "111"), ["OCR"] * 5, list("aabbb"))["OCR/accuracy_plus"] == 100.0
    assert mme(right("10" + "111"), ["OCR"] * 5, list("aabbb"))["OCR/accuracy_plus"] == 0.0


def test_a_total_is_left_out_where_none_of_its_subtasks_was_asked() -> None:
    assert "cognition" not in mme(right("11"), ["OCR"] * 2, ["a", "a"])


def test_a_perfect_model_has_2000_and_800_points() -> None:
    names = sorted(PERCEPTION | COGNITION)
    twice = [name for name in names for _ in range(2)]
    figures = mme([True] * 28, twice, twice)
    assert (len(names), figures["perception"], figures["cognition"]) == (14, 2000.0, 800.0)


# POPE


def test_pope_counts_yes_as_the_positive_answer() -> None:
    # Said yes 3 times, 2 of them rightly; 4 are true; 5 of 8 right (2 yes, 3 no).
    answers = ["yes", "yes", "yes", "no", "no", "no", "no", "no"]
    labels = ["yes", "yes", "no", "yes", "yes", "no", "no", "no"]
    assert yes_no(answers, labels) == pytest.approx(
        {
            "accuracy": 5 / 8,
            "precision": 2 / 3,
            "recall": 2 / 4,
            "f1": 2 * (2 / 3) * 0.5 / (2 / 3 + 0.5),
            "yes_rate": 3 / 8,
        }
    )


def test_an_answer_that_could_not_be_read_is_wrong_and_no_yes() -> None:
    figures = yes_no([None, "no"], ["yes", "no"])
    assert (figures["accuracy"], figures["recall"], figures["yes_rate"]) == (0.5, 0.0, 0.0)


def test_who_never_says_yes_has_no_precision_and_no_f1() -> None:
    figures = yes_no(["no", "no"], ["yes", "no"])
    assert (figures["precision"], figures["f1"]) == (0.0, 0.0)


def test_another_label_than_yes_and_no_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="must be yes or no, got 'Yes'"):
        yes_no(["yes"], ["Yes"])


@pytest.mark.parametrize(
    ("response", "read"),
    [
        ("No", "no"),
        ("There is no dog.", "no"),
        ("Yes, there is a dog, but it is not large", "no"),  # any denial in the first sentence
        ("Yes. It is not large.", "yes"),  # later sentences are not read
        ("NO", "yes"),  # only these spellings are denials
        ("nothing here", "yes"),  # words, not their beginnings
        ("No, there is none", "no"),  # commas are taken off
        ("I cannot tell", "yes"),  # whatever is no denial is a yes
        ("", "yes"),
    ],
)
def test_the_official_parser_of_pope_takes_everything_for_yes_that_holds_no_denial(response: str, read: str) -> None:
    assert pope_answer(response) == read


# the answer as it was written


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("I see 3.\n## 1,234.5 % ##", "1,234.5 %"),
        ("## Answer ##\n## The Red Lion ##", "The Red Lion"),
        ("## A ## no, wait: ## B ##", "B"),
        ("## Red ## is what I give as ## your answer ##", "Red"),
        ("so \\boxed{$5.20}", "$5.20"),
        ("The answer is The Hague.", "The Hague"),
        ("Answer: Mr. Smith Jr.", "Mr. Smith Jr"),
        ("The Hague", "The Hague"),
        ("<think>unfinished", None),
        ("", None),
    ],
)
def test_the_final_text_keeps_spelling_and_units(response: str, text: str | None) -> None:
    assert final_text(response) == text


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=40))
def test_a_strict_figure_is_never_above_the_accuracy_of_its_groups(rows: list[tuple[bool, int, int]]) -> None:
    unique = {(group, copy): bit for bit, group, copy in rows}
    bits, indices = list(unique.values()), [group + copy * M for group, copy in unique]
    groups = [index % M for index in indices]
    share = consistency(bits, [str(group) for group in groups])["consistency"]
    means = by_category(bits, [str(group) for group in groups])["macro"]
    assert share <= means + 1e-12
