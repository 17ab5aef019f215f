"""The plain figures of pairs: where they come from, and how long their sides are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

from sclvlm.audit.schema import Balance, Lengths
from sclvlm.metrics import Interval
from sclvlm.metrics.significance import rate
from sclvlm.records import Transition

CONFIDENCE = 0.95


def measure_balance(sources: Mapping[str, int]) -> Balance:
    """Of the pairs counted by source, how many are corrections."""
    corrected, spoilt = sources.get(Transition.IC, 0), sources.get(Transition.CI, 0)
    both = corrected + spoilt
    return Balance(sources=dict(sources), corrected=rate(corrected, both, CONFIDENCE) if both else None)


def measure_lengths(chosen: Sequence[int], rejected: Sequence[int]) -> Lengths | None:
    """Of two sides' lengths in characters, pair by pair; None without pairs."""
    if not len(chosen):
        return None
    gaps = np.subtract(chosen, rejected, dtype=np.float64)  # (pairs,)
    return Lengths(
        pairs=len(gaps),
        chosen_mean=float(np.mean(chosen)),
        chosen_median=float(np.median(chosen)),
        rejected_mean=float(np.mean(rejected)),
        rejected_median=float(np.median(rejected)),
        difference=float(gaps.mean()),
        interval=_normal(float(gaps.mean()), float(gaps.std(ddof=1)) / len(gaps) ** 0.5) if len(gaps) > 1 else None,
        longer=rate(int((gaps > 0).sum()), len(gaps), CONFIDENCE),
    )


def _normal(mean: float, error: float) -> Interval:
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    return Interval(mean - reach, mean + reach)
