"""Responses that weigh: options ruled out, earlier answers confirmed or taken back, comparisons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclvlm.answers import extract

FISH = ("carp", "trout", "perch", "eel")

RULED_OUT = [
    "{a}, {b} and {c} can be ruled out.",
    "I exclude {a}, {b} and {c}.",
    "{a} has been discarded. {b} is eliminated too. {c} is also ruled out.",
    "It can't be {a}, it can't be {b}, and it couldn't be {c}.",
    "Everything except {d} is wrong.",
    "Of these, only {d} fits.",
    "None but {d} fits.",
    "{a} is wrong, {b} doesn't fit, {c} is impossible. {d} is fine.",
    "{a} is out of the question. So are {b} and {c}.",
    "排除{a}、{b}和{c}。",
]


@given(st.permutations("ABCD"), st.sampled_from(RULED_OUT))
def test_what_is_left_when_all_other_options_are_ruled_out_is_the_answer(labels: list[str], template: str) -> None:
    response = template.format(**dict(zip("abcd", labels, strict=True)))
    assert extract(response, kind="choice", choices=FISH).value == labels[3]


@pytest.mark.parametrize("count", [3, 5, 8])
def test_ruling_out_all_but_one_works_for_any_number_of_options(count: int) -> None:
    *others, last = "ABCDEFGH"[:count]
    response = f"We can rule out {', '.join(others[:-1])} and {others[-1]}."
    choices = [f"thing {number}" for number in range(count)]
    assert extract(response, kind="choice", choices=choices).value == last


NOT_LEFT = [
    ("We can rule out A and B.", "two options are left"),
    ("I can't rule out A, B or C.", "ruling out is denied"),
    ("If we exclude A, B and C, D is what we have to explain.", "ruling out is supposed"),
    ("So A, B and C are ruled out?", "ruling out is asked"),
    ("A, B and C are wrong.", "to call others wrong is not yet to choose"),
    ("A, B and C are ruled out, but none of them is bad.", "none fits"),
    ("Only A and C fit.", "two options are kept"),
    ("Only D is not covered.", "the only one is denied"),
]


@pytest.mark.parametrize(("text", "reason"), NOT_LEFT, ids=[row[1] for row in NOT_LEFT])
def test_no_option_is_left(text: str, reason: str) -> None:
    assert extract(text, kind="choice", choices=FISH).value is None, reason


def test_of_two_options_none_is_left_by_ruling_one_out() -> None:
    assert extract("B can be ruled out.", kind="choice", choices=["carp", "trout"]).value is None


def test_labels_in_option_texts_are_not_options_left() -> None:
    assert extract("only A", kind="choice", choices=["only B", "only A", "both"]).value == "B"


CONFIRMED = [
    "My previous answer was {x}. I went through it again and it was correct.",
    "I stand by my first answer, {x}.",
    "My initial choice of {x} remains right.",
    "Originally I picked {x}. That is still correct.",
    "My answer of {x} does not change.",
    "My earlier response was {x}, and I see no error in it: it stands.",
    "I see no reason to change my original answer: {x}.",
]


@pytest.mark.parametrize("template", CONFIRMED)
@pytest.mark.parametrize(
    ("kind", "said", "value"), [("choice", "D", "D"), ("yes_no", "no", "no"), ("number", "7", "7")]
)
def test_an_earlier_answer_that_is_confirmed_is_the_answer(template: str, kind: str, said: str, value: str) -> None:
    choices = FISH if kind == "choice" else None
    assert extract(template.format(x=said), kind=kind, choices=choices).value == value


NOT_CONFIRMED = [
    ("My previous answer was C. I am not sure that it is correct.", "doubted"),
    ("My previous answer was C. It was wrong.", "taken back"),
    ("My first answer, C, was a mistake.", "taken back between commas"),
    ("Earlier I answered (C). That was an error.", "taken back in a sentence of its own"),
    ("The answer is C. Actually, I'm no longer certain.", "no longer certain"),
    ("My previous answer was C. Is it correct?", "asked"),
    ("My previous answer was correct.", "without a value"),
]


@pytest.mark.parametrize(("text", "reason"), NOT_CONFIRMED, ids=[row[1] for row in NOT_CONFIRMED])
def test_an_earlier_answer_that_is_not_confirmed_is_none(text: str, reason: str) -> None:
    assert extract(text, kind="choice", choices=FISH).value is None, reason


def test_a_new_answer_overrules_the_one_that_was_quoted() -> None:
    response = "My previous answer was C. It was correct about the fins, yet the answer is D."
    assert extract(response, kind="choice", choices=FISH).value == "D"


COMPARED = [
    ("B is plausible, but C is stronger.", "C", "the stronger one"),
    ("C explains the fins better than anything else, so C.", "C", "a conclusion"),
    ("B is far more likely given the spots.", "B", "more likely with an adverb"),
    ("C seems the most plausible of the four.", "C", "the most plausible"),
    ("The spots point to B.", "B", "what evidence points to"),
    ("The spots do not point to B.", None, "evidence that is denied"),
    ("Spots -> B", "B", "an arrow to a label"),
    ("A -> B", None, "an arrow between labels"),
    ("Choose C.", "C", "an imperative"),
    ("It's C. Hold on, it has spots. Then it's B.", "B", "a second thought with its conclusion"),
    ("The spots make B the obvious choice.", "B", "what makes a choice"),
    ("Dark spots along the side. Hence the trout.", "B", "a last sentence that concludes"),
    ("- [ ] carp\n- [x] trout\n- [ ] perch\n- [ ] eel", "B", "the box that is checked"),
    ('{"A": false, "B": true, "C": false, "D": false}', "B", "an object of verdicts"),
    ("B (90% confident)", "B", "a remark on how sure it is"),
    ("B (trout)", "B", "a label beside its text in brackets"),
    ("trout (C)", None, "a text beside another label in brackets"),
    ("B. It could just as well be C.", None, "another answer that is as possible"),
    ("It could also be C, but the spots say trout.", "B", "another answer that is then outdone"),
    ("B. It could also be a young one.", "B", "something possible that is no answer"),
    ("The fins look odd. C.", "C", "a last sentence that is a label"),
    ("B. The fins look odd. C.", None, "a first and a last label"),
    ("Carp would be golden. It is silver, so it's an eel.", "D", "what an option would be like"),
    ("我认为原来的答案 C 是正确的。", "C", "a Chinese clause that ends with its label"),
    ("A和C是正确的。", None, "a Chinese clause that ends with two labels"),
    ("无法判断是B还是C。", None, "two labels in a Chinese question"),
    ("It isn't a carp, trout or eel. It's a perch.", "C", "a list of what it is not"),
    ("A, revised to D", "D", "a revision"),
    ("B (or maybe C)", None, "a remark that hedges"),
    ("Q: Which fish?\nA: B", "B", "the A of a question and its answer"),
    ("A: C", None, "a label beside another label"),
    ("C 更合适。", "C", "Chinese comparison"),
    ("C 不合适。", None, "Chinese comparison denied"),
    ("之前的答案有误，应改为C。", "C", "Chinese correction"),
    ("B不对，C对。", "C", "Chinese verdicts"),
]


@pytest.mark.parametrize(("text", "value", "reason"), COMPARED, ids=[row[2] for row in COMPARED])
def test_what_a_response_prefers(text: str, value: str | None, reason: str) -> None:
    assert extract(text, kind="choice", choices=FISH).value == value, reason


AMOUNTS = [
    ("2 on the left and 3 on the right make a total of 5.", ["2", "3", "5"], "C", "the total among its parts"),
    ("2 + 3 = 5", ["2", "3", "5"], "C", "the right-hand side of an equation"),
    ("There are 2 on the left and 3 on the right.", ["2", "3", "5"], None, "numbers that count several things"),
    ("The total is not 3.", ["2", "3", "5"], None, "a total that is denied"),
    ("at least 3", ["2", "3", "5"], None, "a bound"),
    ("The bridge is 2,500 metres long.", ["250 m", "2500 m"], "B", "a separator, and a unit by its name"),
    ("There are none.", ["0", "1", "2"], None, "none of anything"),
    ("There are no birds.", ["0", "1", "2"], "A", "no things are zero things"),
    ("One bird", ["0", "1", "2"], "B", "a number word among numbers"),
    ("2 km", ["2 m", "5 m"], None, "a number with a unit that no option has"),
    ("2500 miles", ["250 m", "2500 m"], None, "another unit"),
    ("Blue and red", ["red and blue", "red"], "A", "two words joined in the other order"),
    ("Blue and red are what I see.", ["red and blue", "red"], "A", "the other order in a sentence"),
    ("Neither of them", ["both", "neither"], "B", "of them says nothing"),
    ("no gain", ["gain", "loss"], None, "an option denied by a determiner"),
]


@pytest.mark.parametrize(("text", "choices", "value", "reason"), AMOUNTS, ids=[row[3] for row in AMOUNTS])
def test_options_of_amounts_and_joined_words(text: str, choices: list[str], value: str | None, reason: str) -> None:
    assert extract(text, kind="choice", choices=choices).value == value, reason


@pytest.mark.parametrize("text", ["A", "a", "A.", "(A)", " A \n", "**A**", "'A'", "A!", "A, because of the fins"])
def test_a_lone_a_is_the_label(text: str) -> None:
    assert extract(text, kind="choice", choices=FISH).value == "A"


@pytest.mark.parametrize("text", ["A fish swims.", "A large animal", "I see a fish.", "It is a"])
def test_the_article_is_no_label(text: str) -> None:
    assert extract(text, kind="choice", choices=FISH).value is None
