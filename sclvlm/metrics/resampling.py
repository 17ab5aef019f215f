"""How far a mean difference may be off when the questions are a sample: bootstrap and standard error by cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sclvlm.metrics.figures import FEWEST, Interval

Floats = NDArray[np.float64]
EVERYTHING = Interval(-1.0, 1.0)
"""What a difference of shares can be: its interval where there is no other."""
DRAWN_AT_ONCE = 1 << 22
"""Clusters drawn before their totals are added up: what bounds the memory of a bootstrap."""
FEW = 64
"""So many distinct clusters are drawn faster by how often each comes than one by one."""


class Clusters(NamedTuple):
    """K clusters of questions: `sums`, (K,), of their differences, and `sizes`, (K,), in questions."""

    sums: Floats
    sizes: Floats

    @property
    def mean(self) -> float:
        """The mean difference a question."""
        return float(self.sums.sum() / self.sizes.sum())


def clustered(difference: Floats, keys: Sequence[str]) -> Clusters:
    """The n differences, (n,), added up by cluster key."""
    numbers: dict[str, int] = {}
    member = np.array([numbers.setdefault(key, len(numbers)) for key in keys])  # (n,)
    sums = np.bincount(member, weights=difference).astype(np.float64)
    return Clusters(sums, np.bincount(member).astype(np.float64))


def bootstrap_interval(clusters: Clusters, *, resamples: int, confidence: float, seed: int) -> Interval | None:
    """Percentile interval of the mean difference, clusters resampled (Field, Welsh 2007, JRSS-B 69:369).

    None with fewer than FEWEST clusters: a few say next to nothing about others, and resampling them hides it.
    """
    if len(clusters.sums) < FEWEST:
        return None
    # Clusters with equal totals are interchangeable.
    kinds, counts = np.unique(np.stack(clusters, axis=1), axis=0, return_counts=True)  # (T, 2), (T,)
    random = np.random.default_rng(seed)
    draw = _by_count if len(kinds) <= FEW else _one_by_one
    totals = draw(random, kinds, counts, resamples)  # (R, 2)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def clustered_error(clusters: Clusters) -> float | None:
    """Standard error of the mean difference with clusters (Miller, arXiv 2411.00640), times K/(K-1).

    With clusters of one it is the usual s / sqrt(n). None with a single cluster.
    """
    k = len(clusters.sums)
    if k < 2:
        return None
    residuals = clusters.sums - clusters.sizes * clusters.mean  # (K,)
    return float(np.sqrt(k / (k - 1) * np.square(residuals).sum()) / clusters.sizes.sum())


def _by_count(random: np.random.Generator, kinds: Floats, counts: NDArray[np.int64], resamples: int) -> Floats:
    """Totals, (R, 2), of resamples: one multinomial draw each over the T distinct clusters."""
    drawn = random.multinomial(counts.sum(), counts / counts.sum(), size=resamples)  # (R, T)
    totals: Floats = drawn @ kinds
    return totals


def _one_by_one(random: np.random.Generator, kinds: Floats, counts: NDArray[np.int64], resamples: int) -> Floats:
    """The same distribution where most clusters differ, a block of resamples at a time."""
    each = np.repeat(np.arange(len(kinds), dtype=np.int32), counts)  # (K,)
    k, totals = len(each), np.empty((resamples, 2))
    block = max(1, DRAWN_AT_ONCE // k)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = each[random.integers(k, size=(rows, k), dtype=np.int32)]  # (rows, K)
        totals[start : start + rows] = np.stack([column[drawn].sum(axis=1) for column in kinds.T], axis=1)
    return totals
