"""Which pictures are among others: as the same file, as the same pixels, or nearly.

A near copy agrees in all but DISTANCE bits of its perceptual hash and, cell by cell, in the colours of a thumbnail.
The hash alone finds most pairs of simple drawings alike; it is what makes the search fast. The hashes are cut into
DISTANCE + 1 bands, one of which two near hashes must share unchanged: only those are compared, not all pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELLS = 8
"""Cells a side of the thumbnail."""

DISTANCE = 6
"""Bits of the perceptual hash, of 64, in which near copies may differ."""

TOLERANCE = 16
"""How far the colour of a cell, from 0 to 255, may be off in a near copy."""

CANDIDATES = 256  # most thumbnails compared with one picture, the nearest hashes first
BANDS = np.array_split(np.arange(64, dtype=np.uint64), DISTANCE + 1)


class Look(NamedTuple):
    """What is kept of a picture. digest: SHA-256 of the file. bits: 64. cells: CELLS x CELLS RGB colours.

    size: width and height of the whole picture.
    """

    digest: bytes
    bits: int
    cells: bytes
    size: tuple[int, int]


Pixels = Callable[[str], bytes | None]
"""A digest of the pixels of the picture at a path; None where they can't be read."""


class Likeness(StrEnum):
    """How alike two pictures are: the same file, the same pixels in another file, or nearly the same."""

    FILE = "file"
    PIXELS = "pixels"
    NEAR = "near"


class Match(NamedTuple):
    """The picture that was found, and how like it is."""

    path: str
    likeness: Likeness


class Gallery:
    """Pictures in which others are looked for. About 500 bytes each."""

    def __init__(self, looks: Mapping[str, Look]) -> None:
        """`looks` by path; of files with the same bytes the first stands for all."""
        self._path: dict[bytes, str] = {}
        for path, each in looks.items():
            self._path.setdefault(each.digest, path)
        kept = [looks[path] for path in self._path.values()]
        self._paths = list(self._path.values())
        self._bits = np.array([each.bits for each in kept], dtype=np.uint64)  # (n,)
        self._cells = np.array([_cells(each) for each in kept]).reshape(len(kept), CELLS * CELLS * 3)
        self._bands = [_Band(self._bits, places) for places in BANDS]
        self._sizes = [each.size for each in kept]
        self._pixels: dict[int, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def matches(self, path: str, seen: Look, pixels: Pixels) -> list[Match]:
        """What is like the picture at `path`, the likest first: its very file alone, or else copies and near copies.

        pixels: asked of near copies of the same size only, and once of each picture.
        """
        if seen.digest in self._path:
            return [Match(self._path[seen.digest], Likeness.FILE)]
        near = list(self._near(seen))
        alike = [place for place in near if self._sizes[place] == seen.size]
        mine = pixels(path) if alike else None
        equal = {place for place in alike if mine is not None and self._pixels_of(place, pixels) == mine}
        found = [Match(self._paths[each], Likeness.PIXELS if each in equal else Likeness.NEAR) for each in near]
        return sorted(found, key=lambda match: match.likeness is Likeness.NEAR)

    def _pixels_of(self, place: int, pixels: Pixels) -> bytes | None:
        if place not in self._pixels:
            self._pixels[place] = pixels(self._paths[place])
        return self._pixels[place]

    def _near(self, seen: Look) -> Iterator[int]:
        bits = np.uint64(seen.bits)
        places = np.unique(np.concatenate([self._within(band.agreeing(bits), bits) for band in self._bands]))
        places = places[np.argsort(self._distance(places, bits), kind="stable")][:CANDIDATES]
        off = np.abs(self._cells[places] - _cells(seen)).max(axis=1, initial=0)
        yield from map(int, places[off <= TOLERANCE])

    def _within(self, places: NDArray[np.int64], bits: np.uint64) -> NDArray[np.int64]:
        return places[self._distance(places, bits) <= DISTANCE]

    def _distance(self, places: NDArray[np.int64], bits: np.uint64) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = np.bitwise_count(self._bits[places] ^ bits)
        return found


class _Band:
    """Pictures in the order of a few bits of their hashes."""

    def __init__(self, bits: NDArray[np.uint64], places: NDArray[np.uint64]) -> None:
        self._first, self._mask = places[0], np.uint64((1 << len(places)) - 1)
        keys = self._key(bits)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def agreeing(self, bits: np.uint64) -> NDArray[np.int64]:
        """Places of the pictures with the same bits in this band."""
        low, high = (int(np.searchsorted(self._keys, self._key(bits), side)) for side in ("left", "right"))
        return self._order[low:high]

    def _key(self, bits: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
        return np.asarray((bits >> self._first) & self._mask)


def _cells(seen: Look) -> NDArray[np.int16]:
    return np.frombuffer(seen.cells, dtype=np.uint8).astype(np.int16)
