"""Training records without those that contradict themselves: left out with a reason, or the end of the run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sclvlm.errors import SclvlmError
from sclvlm.records import Record
from sclvlm.records.conflicts import conflict_in
from sclvlm.storage import read_records

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)


class Dropped(NamedTuple):
    """A record that was left out: its file:line or row, and why."""

    where: str
    why: str


@dataclass(frozen=True)
class Screen:
    """Notes what conflicts with itself, or raises at the first when `strict`."""

    strict: bool = False
    dropped: list[Dropped] = field(default_factory=list)

    def drop(self, where: str, why: str) -> None:
        """Note one. Raises SclvlmError naming it when strict."""
        if self.strict:
            raise SclvlmError(f"{where}: {why}. Mend or remove it, or set strict to false, which leaves such ones out.")
        self.dropped.append(Dropped(where, why))

    def skips(self, where: str, fields: dict[str, Any]) -> bool:
        """Whether the record of these fields is to be passed over."""
        if (conflict := conflict_in(fields)) is not None:
            self.drop(where, conflict)
        return conflict is not None

    @property
    def places(self) -> dict[str, list[str]]:
        """Where the records of each reason stand."""
        found: dict[str, list[str]] = {}
        for where, why in self.dropped:
            found.setdefault(why, []).append(where)
        return found


def read_sound(path: Path, model: type[R], screen: Screen) -> Iterator[R]:
    """The records of `path` that don't conflict with themselves; `screen` knows the others.

    Raises SclvlmError as `read_records` does, and where no record is left.
    """
    before, kept = len(screen.dropped), 0
    for record in read_records(path, model, skip=screen.skips):
        kept += 1
        yield record
    dropped = screen.dropped[before:]
    if not kept:
        raise SclvlmError(f"{path}: no record is sound ({told(dropped)}). Mend them, or name another file.")
    if dropped:
        log.warning("%d of %d records of %s are left out: %s", len(dropped), len(dropped) + kept, path, told(dropped))


def told(dropped: Sequence[Dropped]) -> str:
    """How many for each reason, in one line."""
    return ", ".join(f"{why} {count}" for why, count in Counter(each.why for each in dropped).items())
