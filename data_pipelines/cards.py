"""What every source's card.md states: tables, overlap of images between files, what a blind guess scores."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from sclvlm.records import Sample


class Asked(NamedTuple):
    """A question text with its answer, without the image."""

    question: str
    answer: str


class Hits(NamedTuple):
    """How many of how many were right."""

    right: int
    total: int

    def __str__(self) -> str:
        share = f"{100 * self.right / self.total:.1f} %" if self.total else "no question"
        return f"{self.right} / {self.total} ({share})"


def pixel_hash(png: bytes) -> str:
    """SHA-256 of the decoded pixels: equal for files that differ only in compression or metadata."""
    with Image.open(io.BytesIO(png)) as image:
        pixels = image.convert("RGB")
    return hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).hexdigest()


def fingerprints(png: bytes) -> frozenset[str]:
    """Two images are the same when they share one of these: by bytes, or by pixels."""
    return frozenset((hashlib.sha256(png).hexdigest(), pixel_hash(png)))


def overlaps(files: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], int]:
    """For each two files, given as name to image paths: how many fingerprints they have in common."""
    seen = {
        name: {mark for image in set(images) for mark in fingerprints(Path(image).read_bytes())}
        for name, images in files.items()
    }
    return {(one, two): len(seen[one] & seen[two]) for one, two in combinations(seen, 2)}


def blind_baseline(training: Iterable[Asked], samples: Iterable[Sample]) -> Hits:
    """Each sample answered with the commonest training answer to its question text, without its image."""
    answers: dict[str, Counter[str]] = {}
    for question, answer in training:
        answers.setdefault(question, Counter())[answer] += 1
    best = {question: counts.most_common(1)[0][0] for question, counts in answers.items()}
    right = [best.get(sample.question) == sample.answer for sample in samples]
    return Hits(sum(right), len(right))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
