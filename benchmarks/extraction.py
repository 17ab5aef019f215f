"""How well answers are read, on labelled responses: `python -m benchmarks.extraction [FILE.jsonl ...]`

A line of a file is `{"kind", "style", "text", "value", "choices"}`; value is what a careful person reads, null where
that person would abstain. Of each reader (ours, and simple stand-ins for published ones) are printed, in counts:

- right: the value; abstained rightly: none, as it should;
- missed: none, though there is a value; wrong: another value, or one where there is none.

Then the same for ours by kind and by style, and the cases that ours reads otherwise than the label says.
Without files: those of `tests/data`, each apart.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from benchmarks.parsers import OURS, PARSERS, Reader
from sclvlm.errors import SclvlmError
from sclvlm.records import LETTERS

DATA = Path(__file__).parents[1] / "tests" / "data"


class Outcome(StrEnum):
    """How a reading compares with its label."""

    RIGHT = "right"
    ABSTAINED = "abstained rightly"
    MISSED = "missed"
    WRONG = "wrong"


class Case(NamedTuple):
    """A response and what a careful person reads in it; labels: label to option text, empty but for kind=choice."""

    kind: str
    style: str
    text: str
    value: str | None
    labels: Mapping[str, str]

    def outcome(self, read: Reader) -> Outcome:
        """How `read` fares."""
        value = read(self.text, self.kind, self.labels)
        if value == self.value:
            return Outcome.ABSTAINED if value is None else Outcome.RIGHT
        return Outcome.MISSED if value is None else Outcome.WRONG


def read_cases(path: Path) -> list[Case]:
    """The cases of a file. Raises SclvlmError that names file and line."""
    cases = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            choices = row.get("choices") or {}
            labels = choices if isinstance(choices, dict) else dict(zip(LETTERS, choices, strict=False))
            cases.append(Case(row["kind"], row["style"], row["text"], row["value"], labels))
        except (ValueError, KeyError, AttributeError) as error:
            raise SclvlmError(
                f"{path}:{number}: expected kind, style, text, value and choices, got {error!r}. Correct the line."
            ) from None
    return cases


def table(rows: Iterable[tuple[str, Counter[Outcome]]]) -> str:
    """A row for each name with its counts and the share that is right or rightly abstained."""
    head = ["", *Outcome, "good"]
    lines = [[name, *(str(counts[each]) for each in Outcome), f"{good(counts):.1%}"] for name, counts in rows]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in (head, *lines)
    )


def good(counts: Counter[Outcome]) -> float:
    """The share that is right or rightly abstained."""
    return (counts[Outcome.RIGHT] + counts[Outcome.ABSTAINED]) / max(1, counts.total())


def by(cases: Sequence[Case], key: Callable[[Case], str], read: Reader) -> list[tuple[str, Counter[Outcome]]]:
    """What `read` makes of each group of cases."""
    groups: dict[str, Counter[Outcome]] = {}
    for case in cases:
        groups.setdefault(key(case), Counter())[case.outcome(read)] += 1
    return sorted(groups.items())


def otherwise(cases: Sequence[Case]) -> str:
    """The cases that ours reads otherwise than their labels."""
    ours = PARSERS[OURS]
    lines = [
        f"{outcome}: {case.kind}, {case.style}: {case.text[:200]!r}: "
        f"expected {case.value!r}, read {ours(case.text, case.kind, case.labels)!r}"
        for case in cases
        if (outcome := case.outcome(ours)) in (Outcome.MISSED, Outcome.WRONG)
    ]
    return "\n".join(lines) or "every case as its label says"


def report(cases: Sequence[Case]) -> str:
    """All tables on `cases`."""
    ours = PARSERS[OURS]
    readers = [(name, Counter(case.outcome(read) for case in cases)) for name, read in PARSERS.items()]
    return "\n\n".join(
        (
            table(readers),
            table(by(cases, lambda case: case.kind, ours)),
            table(by(cases, lambda case: case.style, ours)),
            otherwise(cases),
        )
    )


def main(paths: Sequence[Path]) -> str:
    """The report of each file."""
    return "\n\n".join(
        f"{path.name}: {len(cases)} cases\n\n{report(cases)}" for path in paths if (cases := read_cases(path))
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.jsonl")
    try:
        print(main(parser.parse_args().files or sorted(DATA.glob("answers*.jsonl"))))
    except (SclvlmError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
