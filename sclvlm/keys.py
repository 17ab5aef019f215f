"""Which records a file holds, by their keys, in a few bytes each: memory stays flat where ids would fill it.

A key is known by 64 bits of its hash. Of a million keys, two are taken for one with a chance of 3e-8.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np


def hashed(key: str) -> int:
    """64 bits that stand for `key`, the same in every process."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def repeated(hashes: array[int]) -> set[int]:
    """Those of `hashes` that stand there more than once."""
    ordered = np.sort(np.frombuffer(hashes, dtype=np.uint64)) if hashes else np.empty(0, np.uint64)
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


class KeyIndex:
    """A whole number from 0 to 2**64 - 1 for each key: 16 bytes a key. Of a key given twice the first one counts."""

    def __init__(self, placed: Iterable[tuple[str, int]]) -> None:
        hashes, values = array("Q"), array("Q")
        for key, value in placed:
            hashes.append(hashed(key))
            values.append(value)
        self._hashes, first = np.unique(np.array(hashes, dtype=np.uint64), return_index=True)
        self._values = np.array(values, dtype=np.uint64)[first]

    def get(self, key: str) -> int | None:
        """What was given for `key`; None where nothing was."""
        wanted = hashed(key)
        place = int(self._hashes.searchsorted(np.uint64(wanted)))
        found = place < len(self._hashes) and int(self._hashes[place]) == wanted
        return int(self._values[place]) if found else None

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        """How many different keys."""
        return len(self._hashes)

    @property
    def total(self) -> int:
        """The sum of the numbers, each key's once."""
        return int(self._values.sum())
