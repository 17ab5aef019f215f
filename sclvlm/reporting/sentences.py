"""What the figures beside the headline say in words: findings counted, shifts named, the pairs summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from sclvlm.metrics import Finding, Which
from sclvlm.reporting.movements import Flow, Shift
from sclvlm.reporting.schema import Names, Slice, SliceKind
from sclvlm.reporting.wording import TURN, percent, points

PLURAL = {SliceKind.BENCHMARK: "benchmarks", SliceKind.CATEGORY: "categories", SliceKind.CUSTOM: "further slices"}

QUANTITY = {"unparsed": "unparsed answers", "tokens": "tokens in a response"}

SHIFT = {Finding.GAIN: "more, beyond noise", Finding.LOSS: "fewer, beyond noise", Finding.NOISE: "within noise"}


def ends_of(flow: Flow, names: Names) -> tuple[str, str]:
    """What stands on the left and on the right of a flow."""
    if flow.step == "training":
        return names
    run = names[flow.step == "review after"]
    return f"{run}, first turn", f"{run}, last turn"


def findings_sentences(slices: Iterable[Slice], turn: Which) -> list[str]:
    """How many benchmarks, categories and further slices gained and lost, a sentence for each kind there is."""
    found = Counter((part.kind, part.finding(turn)) for part in slices)
    return [_counted(kind, found, turn) for kind in PLURAL if any((kind, finding) in found for finding in Finding)]


def _counted(kind: SliceKind, found: Mapping[tuple[SliceKind, Finding], int], turn: Which) -> str:
    gained, lost, noise = (found.get((kind, finding), 0) for finding in (Finding.GAIN, Finding.LOSS, Finding.NOISE))
    total = gained + lost + noise
    if noise == total:
        return f"Of {total} {PLURAL[kind]}, none changed beyond noise ({TURN[turn]})."
    return (
        f"Of {total} {PLURAL[kind]}, {gained} gained and {lost} lost beyond noise; "
        f"{noise} changed within noise ({TURN[turn]})."
    )


def amount(shift: Shift, value: float) -> str:
    """A mean of the quantity: `4.2 %` of answers, or `31.4` tokens."""
    return percent(value) if shift.quantity == "unparsed" else f"{value:.1f}"


def difference(shift: Shift) -> str:
    """`+1.2 [+0.4, +2.0]`, in points or in tokens; `+1.2 [–]` where too few pictures make no interval."""
    found = shift.comparison
    # Tokens are written as points are, which are hundredths.
    scale = 1 if shift.quantity == "unparsed" else 100
    ends = [points(end / scale) for end in found.interval or ()]
    return f"{points(found.difference / scale)} [{', '.join(ends) or '–'}]"


SHIFT_GUIDE = (
    "Differences with paired bootstrap intervals, in percentage points of unparsed answers and in tokens; p is of a "
    "sign-flip test over images and groups, of many by Student's t. A gain that comes with fewer unparsed or much "
    "longer answers is partly one of form."
)


def pairs_sentence(counts: Mapping[str, int]) -> str:
    """`750 pairs from 4,800 traces: 456 i->c (60.8 %) and 294 c->i (39.2 %).`; empty where no count names pairs."""
    pairs = {name.removeprefix("pairs "): count for name, count in counts.items() if name.startswith("pairs ")}
    total = sum(pairs.values())
    if not total:
        return ""
    made = " and ".join(f"{count:,} {source} ({percent(count / total)})" for source, count in sorted(pairs.items()))
    return f"{total:,} pairs from {sum(counts.values()):,} traces: {made}."
