"""Laws of reading answers that hold for whole families of responses."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from sclvlm.answers import extract

settings.register_profile("patient", deadline=None)  # the first reading of a question compiles its patterns
settings.load_profile("patient")

COLORS = ("red", "blue", "dark blue", "green")

TEMPLATES = [
    "## {label} ##",
    "## {text} ##",
    "## {label}. {text} ##",
    "The answer is {label}.",
    "Answer: ({label}) {text}",
    r"\boxed{{{label}}}",
    "{label}",
    "({label}) {text}",
    "It is clearly {text}.",
    "{text}",
    "It is not {other}. It is {text}.",
    "The correct option is {label}, since it is {text}.",
]


@given(st.permutations(COLORS), st.integers(0, 3), st.integers(1, 3), st.sampled_from(TEMPLATES))
def test_permuting_the_options_permutes_the_answer(options: list[str], place: int, step: int, template: str) -> None:
    label, text, other = "ABCD"[place], options[place], options[(place + step) % 4]
    response = template.format(label=label, text=text, other=other)
    if "{other}" in template and (other in text or text in other):
        return  # "not dark blue" also denies blue
    assert extract(response, kind="choice", choices=options).value == label


RESPONSES = [
    ("choice", "## A ## no, wait ## B ##"),
    ("choice", "## Answer ##\nB"),
    ("choice", "The answer is:\n\nB. blue"),
    ("choice", "It is not red, it is blue."),
    ("choice", "A. red\nB. blue\n\nB"),
    ("choice", "## A, B ##"),
    ("yes_no", "The picture shows a street. So, no."),
    ("number", "I count 3 red and 4 blue ones. Answer: 7"),
    ("text", "The answer is the stop sign, because it is red."),
    ("text", "stop sign"),
]


@given(st.sampled_from(RESPONSES), st.text(" \n\t", max_size=4), st.text(" \n\t", max_size=4))
def test_whitespace_around_a_response_changes_nothing(row: tuple[str, str], before: str, behind: str) -> None:
    kind, text = row
    choices = COLORS if kind == "choice" else None
    assert extract(f"{before}{text}{behind}", kind=kind, choices=choices) == extract(text, kind=kind, choices=choices)


@given(st.sampled_from(TEMPLATES), st.sampled_from(["**", "*", "__", "`"]), st.sampled_from(["label", "text"]))
def test_emphasis_changes_nothing(template: str, sign: str, part: str) -> None:
    words = {"label": "B", "text": "blue", "other": "red"}
    emphatic = words | {part: f"{sign}{words[part]}{sign}"}
    plain, strong = template.format(**words), template.format(**emphatic)
    assert extract(strong, kind="choice", choices=COLORS) == extract(plain, kind="choice", choices=COLORS)


@given(st.sampled_from(RESPONSES), st.sampled_from(["**{}**", "> {}", "- {}", "<b>{}</b>", "{}</s>", "<s>{}"]))
def test_markup_around_a_response_of_one_line_changes_nothing(row: tuple[str, str], markup: str) -> None:
    kind, text = row
    if "\n" in text:
        return  # markup that spans lines is none
    choices = COLORS if kind == "choice" else None
    assert extract(markup.format(text), kind=kind, choices=choices) == extract(text, kind=kind, choices=choices)


PIECES = [
    "## ",
    "##",
    "B",
    " ",
    "\n",
    "the answer is ",
    "not ",
    "red",
    "\\boxed{",
    "}",
    "<answer>",
    "(",
    "A",
    ", ",
    ".",
]
PIECES += [
    "1",
    "-",
    "/",
    "*",
    "_",
    "$",
    "yes",
    "no ",
    "</think>",
    "\u0301",
    "\ufdfa",
    "if ",
    "is correct ",
    "or ",
    "#",
    "wait, ",
    "Actually, ",
    "no, ",
    '{"answer": "',
    "答案是",
    "不",
    "，",
    "B选",
    "three ",
    " million",
    "x 10^",
    "Answer:\n",
    "A: no. ",
    "A. red B. blue ",
    "please answer ",
    "total ",
    "is ruled out ",
    "my first answer was ",
    "it could also be ",
    "only A ",
    "not A, ",
    "C (90% ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=200))
def test_any_text_yields_a_label_of_the_question_or_none(text: str) -> None:
    assert extract(text, kind="choice", choices=COLORS).value in ("A", "B", "C", "D", None)


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=200))
def test_any_text_yields_a_plain_decimal_or_none(text: str) -> None:
    value = extract(text, kind="number").value
    assert value is None or (value.lstrip("-").replace(".", "", 1).isdecimal() and value.isascii())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join))
def test_a_megabyte_of_anything_is_read_in_a_moment(piece: str) -> None:
    text = (piece * (1_000_000 // len(piece) + 1))[:1_000_000]
    for kind, choices in (("choice", COLORS), ("yes_no", None), ("number", None), ("text", None)):
        start = time.process_time()
        extract(text, kind=kind, choices=choices)
        assert time.process_time() - start < 1  # a tenth is usual; a quadratic rule would take minutes
