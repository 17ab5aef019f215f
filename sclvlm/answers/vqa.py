"""The normalisation of the official VQA evaluation: two people's spellings of one short answer become one.

Goyal et al., arXiv 1612.00837; rules of github.com/GT-Vision-Lab/VQA (vqaEvaluation): case, punctuation,
number words up to ten, articles, apostrophes that were left out.
"""

from __future__ import annotations

import re

from sclvlm.answers.cleaning import fold

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(NUMBER_WORDS)}
_ARTICLES = ("a", "an", "the")

_ENDINGS = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "'ve": "could I might must not should they we what where who would you",
    "'d": "he how it someone something there they where who you",
    "'ll": "how it somebody someone something they what who why you",
    "'re": "there they what why you",
    "'s": "he how somebody someone that there what when where who why",
}
_DOUBLE = {
    "n't've": "could had might should would",
    "'d've": "I he it she somebody someone something there they we who you",
}


def _contractions() -> dict[str, str]:
    """Every contraction by its spelling without the apostrophe, or without either one of two."""
    whole = [f"{stem.lower()}{ending}" for ending, stems in _ENDINGS.items() for stem in stems.split()]
    table = {word.replace("'", ""): word for word in [*whole, "ma'am", "o'clock", "'twas", "y'all"]}
    for ending, stems in _DOUBLE.items():
        for stem in stems.split():
            word = f"{stem.lower()}{ending}"
            first, second = word.index("'"), word.rindex("'")
            table[word[:first] + word[first + 1 :]] = table[word[:second] + word[second + 1 :]] = word
    return table


CONTRACTIONS = _contractions()


def normalise(text: str) -> str:
    """`text` as the official VQA evaluation compares it."""
    text = " ".join(fold(text).split())
    between_digits = _DIGIT_COMMA.search(text) is not None
    bare = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if beside_space or between_digits else " ")
    words = [_NUMBERS.get(word, word) for word in _PERIOD.sub("", bare).lower().split()]
    words = ["0" if word == "none" else word for word in words if word not in _ARTICLES]
    return " ".join(CONTRACTIONS.get(word, word) for word in words)
