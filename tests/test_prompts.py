"""Every word said to a model, named, versioned and replaceable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sclvlm.errors import ConfigError
from sclvlm.prompts import INITIAL, REVIEW, Prompt, in_plain_marks, initial_message, load_prompt, review_message
from sclvlm.records import AnswerKind, Sample, count_images, message_text

PLAIN = Prompt("plain", 1, "{hint}{question}\n{options}Answer.")


def sample(**fields: Any) -> Sample:
    """A question for a colour, changed by `fields`."""
    return Sample.model_validate({"id": "1", "question": "which?", "kind": "text", "answer": "blue", **fields})


def own(tmp_path: Path, text: str) -> str:
    """The spec of the prompt `mine` in a YAML file of this text."""
    path = tmp_path / "prompts.yaml"
    path.write_text(text)
    return f"{path}:mine"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, ""),
        ({"kind": "yes_no", "answer": "yes"}, "The final answer is yes or no.\n"),
        ({"kind": "number", "answer": "3"}, "The final answer is a number.\n"),
        (
            {"kind": "choice", "choices": ("blue", "teal"), "answer": "A"},
            "A. blue\nB. teal\nThe final answer is the letter of one option.\n",
        ),
    ],
)
def test_a_question_is_followed_by_its_options_and_the_form_of_the_answer(fields: dict[str, Any], line: str) -> None:
    assert message_text(initial_message(PLAIN, sample(**fields))) == f"which?\n{line}Answer."


def test_a_hint_stands_before_the_question() -> None:
    assert message_text(initial_message(PLAIN, sample(hint="Look."))) == "Look.\nwhich?\nAnswer."


def test_braces_in_a_question_are_left_alone() -> None:
    assert "{hint} {0}" in message_text(initial_message(PLAIN, sample(question="{hint} {0}")))


def test_images_stand_before_the_text() -> None:
    message = initial_message(PLAIN, sample(images=("a", "b")))
    assert [part["type"] for part in message["content"]] == ["image", "image", "text"]


@pytest.mark.parametrize("name", REVIEW)
def test_a_review_does_not_show_the_images_again(name: str) -> None:
    assert count_images([review_message(load_prompt("review", name))]) == 0


ASKING = [prompt for prompt in (*INITIAL.values(), *REVIEW.values()) if prompt.name != "bare"]


@pytest.mark.parametrize("prompt", ASKING, ids=str)
def test_every_built_in_prompt_asks_for_the_marked_answer(prompt: Prompt) -> None:
    assert "only the final answer between two ## marks." in prompt.text


@pytest.mark.parametrize(("role", "built_in"), [("initial", INITIAL), ("review", REVIEW)])
def test_a_built_in_prompt_is_found_by_its_name(role: str, built_in: dict[str, Prompt]) -> None:
    assert [load_prompt(role, name) for name in built_in] == list(built_in.values())


def test_a_prompt_is_cited_with_its_version() -> None:
    assert str(Prompt("mine", 3, "")) == "mine@3"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"initial prompt: expected one of reasoned, direct, .* got 'reasonde'"):
        load_prompt("initial", "reasonde")


def test_a_yaml_file_gives_a_prompt_of_ones_own(tmp_path: Path) -> None:
    spec = own(tmp_path, "mine: {version: 2, initial: 'Now: {question}'}")
    assert load_prompt("initial", spec) == Prompt("mine", 2, "Now: {question}")


@pytest.mark.parametrize(
    "text",
    ["other: {initial: x}", "mine: {review: x}", "mine: text", "- mine", ""],
)
def test_a_file_without_the_prompt_says_what_was_expected(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="expected an entry 'mine' with a text under 'initial'"):
        load_prompt("initial", own(tmp_path, text))


def test_an_unknown_placeholder_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    spec = own(tmp_path, "mine: {initial: '{answer}'}")
    with pytest.raises(ConfigError, match=r"'mine' may use \['hint', 'options', 'question'\], got \['answer'\]"):
        load_prompt("initial", spec)


def test_a_review_has_no_placeholder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"may use no placeholder, got \['question'\]"):
        load_prompt("review", own(tmp_path, "mine: {review: '{question}'}"))


def test_a_lone_brace_is_answered_with_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Write \{\{ for a literal brace"):
        load_prompt("initial", own(tmp_path, "mine: {initial: 'a { b'}"))


def test_a_doubled_brace_is_said_as_one(tmp_path: Path) -> None:
    prompt = load_prompt("review", own(tmp_path, "mine: {review: 'Write {{x}}.'}"))
    assert message_text(review_message(prompt)) == "Write {x}."


def test_a_doubled_brace_around_a_placeholder_s_name_is_said_as_one(tmp_path: Path) -> None:
    prompt = load_prompt(
        "initial", own(tmp_path, "mine: {initial: '{question} Write {{marked}} {marked}.'}"), "<a> </a>"
    )
    said = message_text(initial_message(prompt, sample()))
    assert said == f"{sample().question} Write {{marked}} between <a> and </a>."


@pytest.mark.parametrize("field", ["question:d", "question!z", "marked!r", "hint:>9", "options:{hint}"])
def test_a_placeholder_takes_no_format(tmp_path: Path, field: str) -> None:
    name = field.replace("!", ":").partition(":")[0]
    with pytest.raises(ConfigError, match=rf"'mine': a placeholder takes no format .* Write \{{{name}\}} alone"):
        load_prompt("initial", own(tmp_path, f"mine: {{initial: '{{question}} {{{field}}}'}}"))


@pytest.mark.parametrize("entry", ["initial: ''", "review: ' '", "review: x, review_wrong: ' '"])
def test_a_prompt_says_something(tmp_path: Path, entry: str) -> None:
    role, key = entry.partition(":")[0], entry.split(", ")[-1].partition(":")[0]
    with pytest.raises(ConfigError, match=rf"'mine': {key} must say something, got '\s?'"):
        load_prompt(role, own(tmp_path, f"mine: {{{entry}}}"))


def test_an_initial_prompt_asks_the_question(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'mine': an initial prompt must ask the question, got 'Hello'"):
        load_prompt("initial", own(tmp_path, "mine: {initial: Hello}"))


@pytest.mark.parametrize(("version", "shown"), [("two", "'two'"), ("true", "True")])
def test_a_version_is_a_whole_number(tmp_path: Path, version: str, shown: str) -> None:
    with pytest.raises(ConfigError, match=f"version must be a whole number, got {shown}"):
        load_prompt("review", own(tmp_path, f"mine: {{version: {version}, review: x}}"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot read prompts"):
        load_prompt("review", f"{tmp_path}/none.yaml:mine")


def test_the_bare_prompt_says_no_more_than_the_question() -> None:
    sample = Sample(id="s", question="Which?", kind=AnswerKind.CHOICE, choices=("one", "two"), answer="A")
    assert message_text(initial_message(INITIAL["bare"], sample)) == "Which?"


def test_the_oracle_is_the_neutral_control_where_an_answer_is_right() -> None:
    assert load_prompt("review", "oracle").text == REVIEW["again"].text


def test_a_yaml_file_gives_a_review_that_knows_the_answer(tmp_path: Path) -> None:
    prompt = load_prompt("review", own(tmp_path, "mine: {review: Again., review_wrong: 'No. Again.'}"))
    said = [message_text(review_message(prompt, wrong=wrong)) for wrong in (False, True)]
    assert said == ["Again.", "No. Again."]


def test_a_review_that_knows_nothing_says_the_same_of_a_wrong_answer() -> None:
    assert review_message(REVIEW["again"], wrong=True) == review_message(REVIEW["again"])


def test_what_is_said_of_wrong_answers_must_be_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'mine': review_wrong must be a text, got 3"):
        load_prompt("review", own(tmp_path, "mine: {review: x, review_wrong: 3}"))


@pytest.mark.parametrize(
    ("marker", "asked"),
    [
        ("##", "between two ## marks."),
        ("%%", "between two %% marks."),
        ("<a> </a>", "between <a> and </a>."),
        (r"\boxed{ }", r"between \boxed{ and }."),
    ],
)
def test_the_marker_is_what_one_asks_for(marker: str, asked: str, tmp_path: Path) -> None:
    first, review = load_prompt("initial", "direct", marker), load_prompt("review", "again", marker)
    assert message_text(initial_message(first, sample())).endswith(asked)
    assert message_text(review_message(review)).endswith(asked)
    mine = load_prompt("review", own(tmp_path, "mine: {review: 'Say it {marked}.'}"), marker)
    assert message_text(review_message(mine)) == f"Say it {asked}"


@pytest.mark.parametrize("marker", ["", "a b c", "a  b", " a"])
def test_a_marker_is_one_mark_or_two(marker: str) -> None:
    with pytest.raises(ConfigError, match="marker: expected a mark, or an opening and a closing one"):
        load_prompt("initial", "direct", marker)


@pytest.mark.parametrize(
    ("text", "marker", "plain"),
    [
        ("So ## B ##", "##", "So ## B ##"),
        ("So %%B%%", "%%", "So ##B##"),
        ("So <a>B</a>!", "<a> </a>", "So ## B ##!"),
        ("<a>A</a> or <a>B</a>", "<a> </a>", "## A ## or ## B ##"),
        ("So <a>B", "<a> </a>", "So <a>B"),
    ],
)
def test_what_stands_between_own_markers_is_read_as_between_ours(text: str, marker: str, plain: str) -> None:
    assert in_plain_marks(text, marker) == plain
