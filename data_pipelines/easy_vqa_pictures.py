"""What easy-VQA says about its pictures: questions, what follows from them, and disjoint sets of pictures."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from data_pipelines.cards import fingerprints
from data_pipelines.packages import read_member, read_members

COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
FLIPPED = {"yes": "no", "no": "yes"}


class Question(NamedTuple):
    """A question about a picture and its answer."""

    text: str
    answer: str

    @property
    def is_open(self) -> bool:
        """False for a yes/no question."""
        return self.answer not in FLIPPED

    @property
    def category(self) -> str:
        """What is asked for: color, shape or yes/no."""
        if not self.is_open:
            return "yes/no"
        return "color" if self.answer in COLORS else "shape"


class Traits(NamedTuple):
    """What a picture shows."""

    color: str
    shape: str


@dataclass(frozen=True)
class Picture:
    """An image of the package with all its questions."""

    png: bytes
    questions: tuple[Question, ...]

    @cached_property
    def marks(self) -> frozenset[str]:
        """Two pictures are the same picture when they share one: by bytes, or by pixels."""
        return fingerprints(self.png)

    @cached_property
    def name(self) -> str:
        """File name without its ending, and the group of the picture's samples."""
        return hashlib.sha256(self.png).hexdigest()[:16]

    @cached_property
    def traits(self) -> Traits | None:
        """What it shows, where that follows from its questions."""
        return derive_traits(self.questions)


class Asked(NamedTuple):
    """One question about one picture."""

    picture: Picture
    question: Question


class Slices(NamedTuple):
    """Disjoint sets of pictures, one a file, and how many were left out why."""

    pictures: dict[str, list[Picture]]
    dropped: dict[str, int]


def load_pictures(wheel: Path, split: str) -> list[Picture]:
    """The pictures of `split` ("train" or "test") in the order of the package."""
    folder = f"easy_vqa/data/{split}"
    questions: dict[int, list[Question]] = {}
    for text, answer, image in json.loads(read_member(wheel, f"{folder}/questions.json")):
        questions.setdefault(image, []).append(Question(text, answer))
    images = read_members(wheel, [f"{folder}/images/{image}.png" for image in questions])
    return [Picture(png, tuple(asked)) for png, asked in zip(images.values(), questions.values(), strict=True)]


def mentioned(text: str) -> list[str]:
    """The colours and shapes named in `text`."""
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word in COLORS or word in SHAPES]


def facts(question: Question) -> list[tuple[str, bool]]:
    """Colours and shapes that a question and its answer together say are there (True) or are not (False)."""
    words = mentioned(question.text)
    if question.is_open:
        return [(word, True) for word in [*words, question.answer]]
    if len(words) != 1:
        return []
    negated = not {"no", "not"}.isdisjoint(question.text.lower().split())
    return [(words[0], (question.answer == "yes") != negated)]


def derive_traits(questions: Iterable[Question]) -> Traits | None:
    """Colour and shape as far as they follow from the answers; None when either stays open or contradicts."""
    known = [fact for question in questions for fact in facts(question)]
    color, shape = _only_one(COLORS, known), _only_one(SHAPES, known)
    return Traits(color, shape) if color and shape else None


def _only_one(values: tuple[str, ...], known: list[tuple[str, bool]]) -> str | None:
    present = {word for word, there in known if there and word in values} or set(values)
    possible = present - {word for word, there in known if not there}
    return possible.pop() if len(possible) == 1 else None


def distinct(pictures: Iterable[Picture], seen: set[str]) -> list[Picture]:
    """`pictures` without those that equal an earlier one, or one whose marks are in `seen` (extended)."""
    kept = []
    for picture in pictures:
        if seen.isdisjoint(picture.marks):
            kept.append(picture)
        seen |= picture.marks
    return kept


def make_slices(train: list[Picture], test: list[Picture], seed: int) -> Slices:
    """Training pictures in two halves, the first for demonstrations, and test pictures that occur in neither.

    Of the demonstrations' half a tenth is held out. Their pictures have traits, from which demonstrations are made.
    """
    seen: set[str] = set()
    unique = distinct(stream(seed, "slices").sample(train, len(train)), seen)
    unseen = [picture for picture in test if seen.isdisjoint(picture.marks)]
    kept = distinct(unseen, seen)
    half = len(unique) // 2
    shown = [picture for picture in unique[:half] if picture.traits]
    cut = len(shown) - max(1, len(shown) // 10)
    dropped = {
        "training images that repeat another training image": len(train) - len(unique),
        "test images that occur in the training images": len(test) - len(unseen),
        "test images that repeat another test image": len(unseen) - len(kept),
        "student images whose colour or shape cannot be derived": half - len(shown),
    }
    pictures = {"student": shown[:cut], "held_out": shown[cut:], "train": unique[half:], "test": kept}
    return Slices(pictures, dropped)


def draw(pictures: Iterable[Picture], count: int, open_share: float, rng: random.Random) -> list[Asked]:
    """`count` questions, `open_share` of them open; fewer of a sort when the pictures have no more."""
    asked = [Asked(picture, question) for picture in pictures for question in picture.questions]
    wanted = {True: round(count * open_share), False: count - round(count * open_share)}
    chosen = []
    for is_open, number in wanted.items():
        sort = [one for one in asked if one.question.is_open is is_open]
        chosen += rng.sample(sort, min(number, len(sort)))
    rng.shuffle(chosen)
    return chosen


def stream(seed: int, purpose: str) -> random.Random:
    """A stream of its own for each purpose, so that one size does not change what another draws."""
    return random.Random(f"easy-vqa {purpose} {seed}")
