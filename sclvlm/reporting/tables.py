"""Tables in Markdown, of what moved and what shifted among others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sclvlm.records import Verdict
from sclvlm.reporting.movements import Flow, Shift
from sclvlm.reporting.schema import Names
from sclvlm.reporting.sentences import QUANTITY, SHIFT, SHIFT_GUIDE, amount, difference, ends_of
from sclvlm.reporting.wording import p_value


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def flow_table(flow: Flow, names: Names) -> str:
    """Counts from each verdict (rows) to each (columns). names: of the runs, as Markdown."""
    left, right = ends_of(flow, names)
    rows = ([then, *(f"{row[now]:,}" for now in Verdict)] for then, row in flow.counts.items())
    return table([f"{left} ↓ {right} →", *Verdict], rows)


def shift_blocks(shifts: Sequence[Shift], names: Names) -> Iterator[str]:
    """Unparsed answers and lengths; nothing where there are none. names: of the runs, as Markdown."""
    if shifts:
        yield table(("what", "turn", *names, "difference", "p", "shift"), map(_shift_row, shifts))
        yield SHIFT_GUIDE


def _shift_row(shift: Shift) -> tuple[str, ...]:
    found = shift.comparison
    return (
        QUANTITY[shift.quantity],
        shift.turn,
        amount(shift, found.before),
        amount(shift, found.after),
        difference(shift),
        p_value(found.p_value),
        SHIFT[found.finding],
    )
