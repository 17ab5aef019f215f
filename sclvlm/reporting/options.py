"""A policy's habits before and after: the options it chose, and the form in which it gave its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sclvlm.metrics import Rate, wilson
from sclvlm.records import GradedTrace, Sample
from sclvlm.reporting.schema import OptionShares

UNREAD = "none"


def option_shares(
    samples: Mapping[str, Sample], before: Sequence[GradedTrace], after: Sequence[GradedTrace], confidence: float
) -> tuple[OptionShares, ...]:
    """Shares of first answers, those that could not be read first; empty where the options differ or are none."""
    offered = {sample.choices for sample in samples.values()}
    labels = next(iter(samples.values())).labels
    if len(offered) != 1 or not labels:
        return ()
    counts = [Counter(trace.turns[0].answer for trace in run) for run in (before, after)]
    rows = [(UNREAD, None), *((text, label) for label, text in labels.items())]
    return tuple(_shares(text, [count[label] for count in counts], before, after, confidence) for text, label in rows)


def reading_shares(
    before: Sequence[GradedTrace], after: Sequence[GradedTrace], confidence: float
) -> tuple[OptionShares, ...]:
    """Shares of the rules by which first answers were read (`answers.Extraction`), in the order of the alphabet."""
    counts = [Counter(trace.turns[0].method for trace in run) for run in (before, after)]
    rules = sorted({*counts[0], *counts[1]})
    return tuple(_shares(rule, [count[rule] for count in counts], before, after, confidence) for rule in rules)


def _shares(
    name: str, counts: Sequence[int], before: Sequence[GradedTrace], after: Sequence[GradedTrace], confidence: float
) -> OptionShares:
    earlier, later = counts
    return OptionShares(
        option=name, before=_rate(earlier, len(before), confidence), after=_rate(later, len(after), confidence)
    )


def _rate(count: int, n: int, confidence: float) -> Rate:
    return Rate(count=count, n=n, value=count / n, interval=wilson(count, n, confidence))
