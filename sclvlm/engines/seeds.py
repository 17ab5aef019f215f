"""Where the random numbers of a reply come from."""

from __future__ import annotations

import hashlib


def row_seed(seed: int, sample: str, draw: int, turn: int) -> int:
    """A 63-bit seed for one reply."""
    digest = hashlib.sha256(f"{seed}|{sample}|{draw}|{turn}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1
