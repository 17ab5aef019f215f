"""Which conversations are held at once: as many as fit in a budget of tokens, those of similar length together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sclvlm.engines import Opening
from sclvlm.pictures import BROKEN, TOO_LARGE, load_image, load_images, opened
from sclvlm.records import Message
from sclvlm.rendering import Renderer

WINDOW = 256
"""Conversations that are looked at together: their replies come when all of them are there, in the order they came."""


def batches(widths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices into `widths`, the longest first, equal ones in their order, cut where `tokens` would be exceeded.

    widths: tokens of a row from its prompt to the end of its last reply. A batch counts all its rows as wide as the
    widest, since the others are padded to it. A row that is wider than `tokens` by itself is a batch of its own.
    """
    batch: list[int] = []
    for index in sorted(range(len(widths)), key=lambda row: -widths[row]):
        if batch and (len(batch) + 1) * widths[batch[0]] > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def equally_pictured(openings: Sequence[Opening]) -> list[list[int]]:
    """Indices of openings, those with equally many pictures together, in their order."""
    found: dict[int, list[int]] = {}
    for index, opening in enumerate(openings):
        found.setdefault(len(opening.images), []).append(index)
    return list(found.values())


Sizes = tuple[tuple[int, int], ...]
"""Height and width in pixels of each of a prompt's pictures."""


@dataclass(frozen=True)
class Widths:
    """How many tokens rows will need, told without preparing the pictures of each.

    How many tokens pictures make depends on their sizes alone: the processor is asked once for each sizes that occur.
    """

    renderer: Renderer
    known: dict[Sizes, int] = field(default_factory=dict)

    def rows(self, openings: Sequence[Opening], follow_ups: Sequence[Message], limit: int) -> list[int]:
        """Tokens of a row for each opening: its prompt with pictures, the follow-ups, replies of `limit` tokens.

        Follow-ups are counted as they would be alone, which some templates open with a few words more. Raises
        SclvlmError for a picture that can't be read.
        """
        text, tokens = self.renderer.text, self.renderer.tokens
        room = limit * (1 + len(follow_ups)) + sum(len(tokens(text([each], reply=True))) for each in follow_ups)
        paths = dict.fromkeys(path for opening in openings for path in opening.images)
        sizes = {path: picture_size(Path(path)) for path in paths}
        return [self._prompt(opening, tuple(sizes[path] for path in opening.images)) + room for opening in openings]

    def _prompt(self, opening: Opening, sizes: Sizes) -> int:
        text = self.renderer.text([opening.message], reply=True)
        words = len(self.renderer.tokens(text))
        if not sizes:
            return words
        if sizes not in self.known:
            encoded = self.renderer.encode([text], [load_images(opening.images, [opening.message])])
            self.known[sizes] = len(encoded.ids[0]) - words
        return words + self.known[sizes]


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels, from the head of the file. Raises SclvlmError as `load_image` does."""
    try:
        with opened(path) as image:
            return image.height, image.width
    except (*BROKEN, *TOO_LARGE):
        image = load_image(path)  # tells what is wrong
        return image.height, image.width
