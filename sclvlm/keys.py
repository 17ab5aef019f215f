"""Which records a file holds, by their keys, in a few bytes each: memory stays flat where ids would fill it.

A key is known by 64 bits of its hash. Of a million keys, two are taken for one with a chance of 3e-8.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def hashed(key: str) -> int:
    """64 bits that stand for `key`, the same in every process."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def repeated(hashes: array[int]) -> set[int]:
    """Those of `hashes` that stand there more than once; sorts them."""
    ordered = _sorted(hashes)
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _sorted(hashes: array[int]) -> NDArray[np.uint64]:
    """`hashes` in order, in the memory they are in."""
    ordered = np.frombuffer(hashes, dtype=np.uint64) if hashes else np.empty(0, np.uint64)
    ordered.sort()
    return ordered


def _place(ordered: NDArray[np.uint64], key: str) -> int | None:
    """Where the first hash of `key` stands."""
    wanted = np.uint64(hashed(key))
    place = int(ordered.searchsorted(wanted))
    return place if place < len(ordered) and ordered[place] == wanted else None


class KeySet:
    """Keys, 8 bytes each."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._hashes = _sorted(array("Q", map(hashed, keys)))

    def __contains__(self, key: str) -> bool:
        return _place(self._hashes, key) is not None

    def __len__(self) -> int:
        """How many different ones."""
        return len(self._hashes) - int((self._hashes[1:] == self._hashes[:-1]).sum())


class KeyIndex:
    """A whole number from 0 to 2**64 - 1 for each of up to 2**32 keys, 20 bytes each. The first one given counts."""

    def __init__(self, placed: Iterable[tuple[str, int]]) -> None:
        hashes, self._values = array("Q"), array("Q")
        for key, value in placed:
            hashes.append(hashed(key))
            self._values.append(value)
        given = np.frombuffer(hashes, dtype=np.uint64) if hashes else np.empty(0, np.uint64)
        self._order = given.argsort(kind="stable").astype(np.uint32)
        self._hashes = _sorted(hashes)

    def get(self, key: str) -> int | None:
        """What was given for `key`; None where nothing was."""
        place = _place(self._hashes, key)
        return None if place is None else self._values[self._order[place]]
