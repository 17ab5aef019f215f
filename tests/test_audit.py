"""The audit of training records: overlap of questions, style, lengths, balance, and what is said of them."""

from __future__ import annotations

import random
from statistics import NormalDist
from typing import Any

import pytest

from sclvlm.audit import Audit, concluded, tables
from sclvlm.audit.overlap import Asked, measure_overlap, normalised
from sclvlm.audit.pictures import Look
from sclvlm.audit.schema import Overlap, Shortcut
from sclvlm.audit.sides import measure_balance, measure_lengths
from sclvlm.audit.style import FEWEST, Sides, measure_shortcut, traits


def asked(name: str, question: str, *images: str) -> Asked:
    return Asked(name, frozenset({normalised(question)}), images)


def look(path: str) -> Look | None:
    """A picture's name is its content; the names of those that can't be read begin with an x."""
    if path.startswith("x"):
        return None
    shade = len(path) * 40
    return Look(path.encode(), (1 << 20 * len(path)) - 1, bytes([shade % 256]) * 192, (1, 1))


def overlap(training: list[Asked], evaluation: list[Asked]) -> Overlap:
    return measure_overlap(training, evaluation, look=look, pixels=str.encode)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What color is it?", "what COLOR  is it"),
        ("Is it “blue”?", 'is it "blue"'),
        ("Ｗｈｏ?", "who"),  # full-width letters
    ],
)
def test_questions_that_differ_in_case_spaces_and_punctuation_are_one(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("3 + 4?", "3 - 4?"), ("10 %", "10 $"), ("is it red?", "is it blue?")])
def test_questions_that_differ_in_meaning_stay_apart(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_a_question_about_another_picture_is_no_copy() -> None:
    found = overlap([asked("a", "what is it?", "p")], [asked("b", "What is it?", "qq")])
    assert (found.same_question, found.same_question_and_picture) == (1, 0)


def test_another_question_about_a_training_picture_is_no_copy_but_its_picture_is() -> None:
    found = overlap([asked("a", "what is it?", "p")], [asked("b", "how many?", "p")])
    assert (found.same_file, found.same_question_and_picture) == (1, 0)


def test_the_same_question_about_the_same_picture_is_a_copy() -> None:
    found = overlap([asked("a", "what is it?", "p")], [asked("b", "What is it", "p")])
    assert found.same_question_and_picture == 1


def test_of_a_question_without_pictures_the_words_are_the_copy() -> None:
    found = overlap([asked("a", "what is it?")], [asked("b", "what is it?"), asked("c", "what is it?", "p")])
    assert (found.same_question, found.same_question_and_picture) == (2, 1)


def test_a_question_of_two_pictures_is_a_copy_only_with_both_in_order() -> None:
    training = [asked("a", "which?", "p", "qq")]
    same, turned, half = (asked("b", "which?", *images) for images in (("p", "qq"), ("qq", "p"), ("p",)))
    assert [overlap(training, [each]).same_question_and_picture for each in (same, turned, half)] == [1, 0, 0]


def test_each_picture_is_opened_once() -> None:
    opened: list[str] = []

    def noted(path: str) -> Look | None:
        opened.append(path)
        return look(path)

    training = [asked("a", "what?", "p"), asked("b", "who?", "p"), asked("c", "who?", "x"), asked("d", "how?", "x")]
    evaluation = [asked("e", "what?", "qq"), asked("f", "who?", "qq")]
    measure_overlap(training, evaluation, look=noted, pixels=str.encode)
    assert opened == ["p", "x", "qq"]


def test_pictures_that_cannot_be_read_are_counted_and_compared_with_nothing() -> None:
    found = overlap([asked("a", "what?", "x1")], [asked("b", "what?", "x1"), asked("c", "what?", "x2")])
    assert (found.unreadable, found.pictures, found.same_question_and_picture) == (2, 0, 0)


OPENINGS = ("upon review, ", "")


def styled(count: int, told: float) -> list[Sides]:
    """Pairs about nothing, of which about a share `told` reject the side that opens like a review."""
    draw, pairs = random.Random(0), []
    for number in range(count):
        one, other = (" ".join(draw.choices(["one", "two", "three", "four", "five", "six"], k=5)) for _ in range(2))
        chosen, rejected = OPENINGS if draw.random() >= told else OPENINGS[::-1]
        pairs.append(Sides(chosen + one, rejected + other, f"q{number}"))
    return pairs


def shortcut(pairs: list[Sides]) -> Shortcut:
    found = measure_shortcut(pairs, of=len(pairs))
    assert found is not None
    return found


def test_a_side_that_always_opens_like_a_review_gives_itself_away() -> None:
    assert shortcut(styled(200, told=1.0)).accuracy == 1.0


def test_style_that_says_nothing_is_told_as_chance_tells() -> None:
    found = shortcut(styled(1000, told=0.5))
    assert found.interval.low < 0.5 < found.interval.high


def test_style_that_tells_three_in_four_is_found_to_tell_three_in_four() -> None:
    found = shortcut(styled(2000, told=0.75))
    assert found.interval.low < 0.75 < found.interval.high


def test_the_trait_that_tells_is_named_with_how_often_it_does() -> None:
    pairs = styled(200, told=0.75)
    told = {trait.name: trait for trait in shortcut(pairs).telling}["opens like a review"]
    spoilt = sum(each.rejected.startswith("upon review") for each in pairs)
    assert (told.chosen, told.rejected) == (200 - spoilt, spoilt)


def test_sides_that_look_the_same_are_told_half() -> None:
    assert shortcut([Sides("blue", "teal", f"q{number}") for number in range(100)]).accuracy != 0.5
    same = [Sides("## blue ##", "## teal ##", f"q{number}") for number in range(100)]
    assert shortcut(same).accuracy == 0.5


def test_pairs_of_one_group_are_never_fitted_and_judged_together() -> None:
    # Each group has an opening of its own, on its chosen sides: of no use for any other group.
    words = [f"word{letter}" for letter in "abcdefghij"]
    together = [Sides(f"{words[n % 10]} so", "well so", words[n % 10]) for n in range(100)]
    apart = [each._replace(group=str(n)) for n, each in enumerate(together)]
    swapped = [each if n % 10 < 5 else Sides(each.rejected, each.chosen, each.group) for n, each in enumerate(together)]
    alone = [each._replace(group=str(n)) for n, each in enumerate(swapped)]
    assert shortcut(alone).accuracy == 1.0
    assert shortcut(swapped).accuracy < 0.6
    assert shortcut(apart).accuracy == 1.0


def test_too_few_pairs_are_not_judged() -> None:
    assert measure_shortcut(styled(FEWEST - 1, told=1.0), of=FEWEST - 1) is None
    assert measure_shortcut(styled(FEWEST, told=1.0), of=FEWEST) is not None


def test_pairs_of_a_single_group_are_not_judged() -> None:
    assert measure_shortcut([each._replace(group="q") for each in styled(100, told=1.0)], of=100) is None


def test_the_marked_answer_is_no_trait() -> None:
    assert traits("It is ## blue ##.") == traits("It is ## teal ##.")


@pytest.mark.parametrize(
    "text",
    ["Upon closer inspection, it is blue.", "I apologize. It is blue.", "My previous answer was wrong.", "重新看"],
)
def test_openings_of_a_review_are_known(text: str) -> None:
    assert "opens like a review" in traits(text)


def test_a_plain_answer_does_not_open_like_a_review() -> None:
    assert "opens like a review" not in traits("The image shows a blue triangle on a grey ground. ## blue ##")


def test_a_difference_of_lengths_has_the_interval_of_a_mean() -> None:
    found = measure_lengths([10, 14], [8, 8])  # differences 2 and 6: mean 4, deviation 2 sqrt 2, error 2
    assert found is not None
    assert found.interval is not None
    reach = 2 * NormalDist().inv_cdf(0.975)
    assert (found.difference, *found.interval) == pytest.approx((4, 4 - reach, 4 + reach))


def test_lengths_tell_means_medians_and_the_share_of_longer_chosen_sides() -> None:
    found = measure_lengths([1, 2, 9], [2, 2, 2])
    assert found is not None
    assert (found.chosen_mean, found.chosen_median, found.rejected_mean, found.longer.count) == (4, 2, 2, 1)


def test_one_pair_has_a_difference_but_no_interval() -> None:
    found = measure_lengths([3], [1])
    assert found is not None
    assert (found.difference, found.interval) == (2, None)


def test_balance_is_of_corrections_among_both_sources() -> None:
    found = measure_balance({"i->c": 1, "c->i": 3, "other": 9})
    assert found.corrected is not None
    assert (found.corrected.count, found.corrected.n) == (1, 4)


def test_pairs_of_other_sources_have_no_balance() -> None:
    assert measure_balance({"": 5}).corrected is None


def audit(**figures: Any) -> Audit:
    return concluded({}, **{"overlap": None, "style": None, "balance": None, "lengths": None, **figures})


def counted(**counts: int) -> Overlap:
    names = set(Overlap.model_fields) - {"twins"}
    return Overlap(**{**dict.fromkeys(names, 0), "questions": 200, "training_pictures": 9, "pictures": 200, **counts})


def warned(found: Audit) -> list[str]:
    return [remark.topic for remark in found.remarks if remark.warns]


def test_no_overlap_is_said_in_so_many_words() -> None:
    found = audit(overlap=counted())
    assert found.remarks[0].verdict == "No picture of the test set is among the training pictures."
    assert warned(found) == []


@pytest.mark.parametrize(
    ("counts", "topics"),
    [
        ({"same_file": 1}, ["pictures"]),
        ({"same_pixels": 1}, ["pictures"]),
        ({"near": 1}, []),  # 0.5 % of 200
        ({"near": 2}, ["pictures"]),
        ({"same_question": 200}, []),
        ({"same_question": 1, "same_question_and_picture": 1}, ["questions"]),
    ],
)
def test_overlap_warns_where_it_matters(counts: dict[str, int], topics: list[str]) -> None:
    assert warned(audit(overlap=counted(**counts))) == topics


def test_style_is_said_in_percent_of_pairs_and_warns() -> None:
    found = audit(style=shortcut(styled(2000, told=0.75)))
    assert "of pairs can be told apart by style alone" in found.remarks[1].verdict
    assert "50 % is chance" in found.remarks[1].verdict
    assert warned(found) == ["style"]


def test_style_within_chance_does_not_warn() -> None:
    assert warned(audit(style=shortcut(styled(1000, told=0.5)))) == []


@pytest.mark.parametrize(("corrected", "topics"), [(9, ["balance"]), (10, []), (90, []), (91, ["balance"])])
def test_nearly_one_source_alone_warns(corrected: int, topics: list[str]) -> None:
    assert warned(audit(balance=measure_balance({"i->c": corrected, "c->i": 100 - corrected}))) == topics


def test_what_warns_says_what_to_do() -> None:
    found = audit(overlap=counted(same_file=1), style=shortcut(styled(200, told=1.0)))
    assert all(remark.remedy for remark in found.remarks if remark.warns)


def test_an_audit_survives_its_file() -> None:
    found = audit(
        overlap=counted(near=1), style=shortcut(styled(100, told=1.0)), lengths=measure_lengths([1, 2], [2, 5])
    )
    assert Audit.model_validate_json(found.model_dump_json()) == found


def test_rows_of_a_table_are_as_long_as_its_head() -> None:
    figures = {"balance": measure_balance({"": 3, "i->c": 1}), "lengths": measure_lengths([1, 2], [2, 5])}
    shown = list(tables(audit(overlap=counted(), style=shortcut(styled(100, told=1.0)), **figures)))
    assert [table.heading for table in shown] == [
        "Findings",
        "Most telling traits of style",
        "Lengths in characters",
        "Sources of pairs",
    ]
    assert all(len(row) == len(table.columns) for table in shown for row in table.rows)
