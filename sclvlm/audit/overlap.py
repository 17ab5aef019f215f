"""Which test questions were trained on: by their words, by their pictures, by both."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import NamedTuple

from sclvlm.audit.pictures import Gallery, Likeness, Look, Match, Pixels
from sclvlm.audit.schema import Overlap, Twin

TWINS = 5  # shown
COMBINATIONS = 64  # of like pictures tried for one question of several pictures

Looks = Callable[[str], Look | None]


class Asked(NamedTuple):
    """A question: how it may be worded, each normalised, and the paths of its pictures."""

    id: str
    wordings: frozenset[str]
    images: tuple[str, ...]


def normalised(text: str) -> str:
    """`text` without case, punctuation and the form of its spaces and letters; symbols that mean something stay."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[^\w+\-*/=<>%°$€£]", " ", plain).split())


def measure_overlap(training: Iterable[Asked], evaluation: Iterable[Asked], *, look: Looks, pixels: Pixels) -> Overlap:
    """How much of `evaluation` is in `training`. Both are read once, as streams; each picture is looked at once.

    look, pixels: see `likeness`; the second decodes a picture in full, and is asked once of those with a near copy.
    """
    taught = _Taught(look)
    for asked in training:
        taught.add(asked)
    tested = _Tested(taught, Gallery(taught.looks), look, pixels)
    for asked in evaluation:
        tested.add(asked)
    return tested.overlap()


@dataclass
class _Taught:
    """What the training records ask, and about which pictures."""

    look: Looks
    count: int = 0
    looks: dict[str, Look] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    wordings: set[str] = field(default_factory=set)
    asked: set[tuple[str, tuple[bytes, ...]]] = field(default_factory=set)

    def add(self, asked: Asked) -> None:
        """Note one record."""
        self.count += 1
        for path in asked.images:
            self._open(path)
        self.wordings |= asked.wordings
        if all(path in self.looks for path in asked.images):
            pictures = tuple(self.looks[path].digest for path in asked.images)
            self.asked |= {(words, pictures) for words in asked.wordings}

    def _open(self, path: str) -> None:
        if path in self.looks or path in self.unreadable:
            return
        if (seen := self.look(path)) is None:
            self.unreadable.add(path)
        else:
            self.looks[path] = seen


@dataclass
class _Tested:
    """The test questions held against what was taught."""

    taught: _Taught
    gallery: Gallery
    look: Looks
    pixels: Pixels
    count: int = 0
    same_question: int = 0
    same_both: int = 0
    matches: dict[str, list[Match]] = field(default_factory=dict)
    digests: dict[bytes, str] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    twins: list[Twin] = field(default_factory=list)

    def add(self, asked: Asked) -> None:
        """Note one question."""
        self.count += 1
        found = [self._found(path) for path in asked.images]
        self.same_question += not asked.wordings.isdisjoint(self.taught.wordings)
        self.same_both += self._was_taught(asked.wordings, found)
        like = [(path, matches[0]) for path, matches in zip(asked.images, found, strict=True) if matches]
        if like and len(self.twins) < TWINS:
            path, match = like[0]
            self.twins.append(Twin(id=asked.id, picture=path, training=match.path, likeness=match.likeness))

    def _found(self, path: str) -> list[Match]:
        if path not in self.matches:
            seen = self.look(path)
            if seen is None:
                self.unreadable.add(path)
            else:
                self.digests.setdefault(seen.digest, path)
            self.matches[path] = self.gallery.matches(path, seen, self.pixels) if seen else []
        return self.matches[path]

    def _was_taught(self, wordings: frozenset[str], found: Sequence[list[Match]]) -> bool:
        """Whether a wording was trained on together with pictures like these; with none, the wording alone."""
        known = wordings & self.taught.wordings
        combinations = islice(product(*found), COMBINATIONS) if known else ()
        digests = (tuple(self.taught.looks[match.path].digest for match in each) for each in combinations)
        return any((words, pictures) in self.taught.asked for pictures in digests for words in known)

    def overlap(self) -> Overlap:
        """The counts."""
        likest = Counter(found[0].likeness for path in self.digests.values() if (found := self.matches[path]))
        return Overlap(
            training=self.taught.count,
            questions=self.count,
            training_pictures=len(self.gallery),
            pictures=len(self.digests),
            unreadable=len(self.taught.unreadable | self.unreadable),
            same_file=likest[Likeness.FILE],
            same_pixels=likest[Likeness.PIXELS],
            near=likest[Likeness.NEAR],
            same_question=self.same_question,
            same_question_and_picture=self.same_both,
            twins=tuple(self.twins),
        )
