"""How often each option was chosen, where all questions offer the same ones: a policy's habits before and after."""

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
    return tuple(
        OptionShares(
            option=text,
            before=_rate(counts[0][label], len(before), confidence),
            after=_rate(counts[1][label], len(after), confidence),
        )
        for text, label in rows
    )


def _rate(count: int, n: int, confidence: float) -> Rate:
    return Rate(count=count, n=n, value=count / n, interval=wilson(count, n, confidence))
