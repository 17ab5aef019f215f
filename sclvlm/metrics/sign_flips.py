"""Whether a difference is more than chance where questions come in clusters: the sign-flip (randomisation) test.

If the two runs are equally good, each cluster's sum of changes could as well have had the other sign. p is the chance
that random signs make a sum as far from 0 as the observed one (Fisher 1935, The Design of Experiments, section 21).
K clusters make no p-value below 2 / 2^K.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, gammaln, stdtr

from sclvlm.metrics.resampling import Clusters, Floats, clustered_error

ENUMERATED = 16
"""So many sums have all their signs tried, 65,536 of them; of more, Student's t is as good."""
NEGLIGIBLE = 1e-300
"""A chance that counts as none."""


def sign_flip_exact(sums: Floats) -> float:
    """Two-sided p-value of whole sums, (K,), by cluster. With sums of 1 and -1 alone it is `mcnemar_exact`.

    What random signs make gains adds up to S = sum of m Bin(n_m, 1/2), where n_m sums have magnitude m. With s the
    lesser of what was gained and what was lost, p = min(1, 2 P(S <= s)). All terms are positive: small p-values are as
    exact as large ones.
    """
    whole = np.rint(sums[sums != 0]).astype(np.int64)
    if not len(whole):
        return 1.0
    sizes, counts = np.unique(np.abs(whole), return_counts=True)  # (M,), (M,)
    lesser = int(min(whole[whole > 0].sum(), -whole[whole < 0].sum()))
    most = int(counts.argmax())  # its distribution function is known, those of the others are added up
    chances = _chances(np.delete(sizes, most), np.delete(counts, most), lesser)
    left = np.minimum((lesser - np.arange(len(chances))) // sizes[most], counts[most])
    return min(1.0, 2 * float(chances @ bdtr(left.astype(np.float64), int(counts[most]), 0.5)))


def sign_flip(clusters: Clusters) -> float:
    """Two-sided p-value of K clusters whose sums are any numbers.

    Exact where at most ENUMERATED sums are not 0; of more, Student's t with K - 1 degrees of freedom, but no less than
    signs could make it: sums without any spread are no certainty.
    """
    changed = clusters.sums[clusters.sums != 0]
    if len(changed) <= ENUMERATED:
        return _enumerated(changed)
    error = clustered_error(clusters)
    t = abs(clusters.mean) / error if error else np.inf
    return max(2.0 ** (1 - len(changed)), 2 * float(stdtr(len(clusters.sums) - 1, -t)))


def _enumerated(sums: Floats) -> float:
    """The share of all signs that take the sum as far from 0. Opposite signs are as far: the first is held."""
    if not len(sums):
        return 1.0
    totals = sums[:1]
    for each in sums[1:]:
        totals = np.concatenate([totals + each, totals - each])
    rounding = 1e-9 * np.abs(sums).sum()
    return float(np.mean(np.abs(totals) >= abs(sums.sum()) - rounding))


def _chances(sizes: NDArray[np.int64], counts: NDArray[np.int64], most: int) -> Floats:
    """Of the totals 0, 1, ... `most` of independent m Bin(n_m, 1/2)."""
    found = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        added = _halves(count)[: most // size + 1]
        total = np.zeros(min(most, len(found) - 1 + size * count) + 1)
        low, high = _held(found)
        for kept in np.flatnonzero(added > NEGLIGIBLE).tolist():
            start = low + size * kept
            part = total[start : start + high - low]
            part += added[kept] * found[low : low + len(part)]
        found = total
    return found


def _held(chances: Floats) -> tuple[int, int]:
    """Where the ones that are not negligible begin and end."""
    places = np.flatnonzero(chances > NEGLIGIBLE)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def _halves(count: int) -> Floats:
    """P(Bin(count, 1/2) = 0, 1, ... count)."""
    kept = np.arange(count + 1.0)
    chosen = gammaln(count + 1) - gammaln(kept + 1) - gammaln(count - kept + 1)
    return np.asarray(np.exp(chosen - count * np.log(2)), dtype=np.float64)
