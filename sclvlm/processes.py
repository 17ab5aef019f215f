"""What the processes of a run tell one another. Each function is called by all of them in the same order.

They speak over gloo, whatever the gradients take, and wait for as long as it takes: the main process may be asking a
model for hours before there is something to train on. With one process nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch.distributed as dist

from sclvlm.errors import SclvlmError
from sclvlm.launch import count, index, is_main

T = TypeVar("T")
PATIENCE = timedelta(days=30)
LOST = ("gloo", "Connection closed", "Connection reset", "NCCL")  # in what torch says when another process is gone


@cache
def _group() -> Any:
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def meet() -> None:
    """Once, before all else here, and by all processes within minutes of one another."""
    _group()


def gathered(value: T) -> list[T]:
    """The `value` of each process, in their order."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value, group=_group())
    return values


def told(value: T) -> T:
    """The `value` of the main process."""
    if count() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, group=_group())
    return values[0]


def wait() -> None:
    """Return when all processes have come here."""
    if count() > 1:
        dist.barrier(group=_group())


def counted(name: str, amount: int) -> int:
    """The sum of the amounts that any process has counted under `name`, this one included; at any time, by any one."""
    store = dist.distributed_c10d._get_default_store()
    return int(store.add(f"sclvlm/{name}", amount))


@contextmanager
def loss_told() -> Iterator[None]:
    """Raises SclvlmError for what torch says when another process has ended within this block."""
    try:
        yield
    except RuntimeError as error:
        if count() == 1 or not any(sign in str(error) for sign in LOST):
            raise
        raise SclvlmError(
            f"another of the {count()} processes has ended, so this one (process {index()}) can't go on. Its own "
            "message, or the launcher's, says why. Start the command again: what was answered is kept, and "
            "training goes on from the last checkpoint."
        ) from error


_joint: set[str] = set()


@contextmanager
def joint(task: str) -> Iterator[None]:
    """Within, all processes work on `task`: the main one calls the others, which stand in `tasks`."""
    if is_main():
        told(task)
        _joint.add(task)
    yield
    _joint.discard(task)


@contextmanager
def leading() -> Iterator[None]:
    """What the main process does while the others stand in `tasks`; they are let go at the end, also at a failure.

    Not at one of a task that all work on: there they can't hear it, and end with this process.
    """
    try:
        yield
    finally:
        if not _joint:
            told(None)


def tasks() -> Iterator[str]:
    """What the main process calls this one to, until it lets it go."""
    while (task := told("")) is not None:
        yield task
