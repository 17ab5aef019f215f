"""Progress with a time estimate on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sclvlm.launch import is_main

console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=not is_main())  # one of several processes speaks
errors = Console(stderr=True, highlight=False, soft_wrap=True)  # and any of them may fail
SECONDS_BETWEEN_LINES = 15.0


class Advance(Protocol):
    """Call it with how many steps were made."""

    def __call__(self, steps: int = 1) -> None: ...


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Shows how far `what` is in `total` steps, `done` of which were made before."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task(what, total=total, completed=done)
            yield lambda steps=1: bar.advance(task, steps)
    else:
        yield _Lines(what, total, done)


class _Lines:
    def __init__(self, what: str, total: int, done: int) -> None:
        self.what, self.total, self.done, self.before = what, total, done, done
        self.started = self.printed = time.monotonic()

    def __call__(self, steps: int = 1) -> None:
        self.done += steps
        now = time.monotonic()
        if self.done >= self.total or now - self.printed >= SECONDS_BETWEEN_LINES:
            self.printed = now
            left = (now - self.started) / max(self.done - self.before, 1) * (self.total - self.done)
            console.print(
                f"{self.what}: {self.done}/{self.total}, {_clock(now - self.started)} passed, {_clock(left)} to go"
            )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
