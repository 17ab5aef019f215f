"""Which of the processes of a run this one is: `accelerate launch` and torchrun tell it by environment variables."""

from __future__ import annotations

import os


def count() -> int:
    """How many processes work on the run, on all machines; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def index() -> int:
    """The place of this one among them, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_index() -> int:
    """Its place among those on this machine, from 0: the number of its accelerator."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    """Whether this process writes what the run makes, and prints."""
    return index() == 0
