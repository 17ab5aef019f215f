"""Whether a share, a difference, a family of differences is more than chance: intervals and tests of counts."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from statistics import NormalDist

from scipy.special import bdtr

from sclvlm.errors import SclvlmError
from sclvlm.metrics.figures import ALPHA, POWER, Interval, Rate


def wilson(k: int, n: int, confidence: float = 0.95) -> Interval:
    """The score interval of a share of `k` in `n` (Wilson 1927, JASA 22:209). wilson(8, 10): 0.490, 0.943.

    Raises SclvlmError when n is 0.
    """
    if n == 0:
        raise SclvlmError("accuracy of nothing: an interval needs at least one answer, got n = 0.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = k / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # Rounding may leave the exact ends 0 and 1 on the wrong side of the share itself.
    return Interval(max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact p-value of `b` against `c` discordant pairs (McNemar 1947), symmetric; 1 without any.

    p = min(1, 2 P(X <= min(b, c))), X ~ Binomial(b + c, 1/2). mcnemar_exact(10, 2): 0.038574.
    """
    if b + c == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979, Scand. J. Statist. 6:65)."""
    adjusted = [0.0] * len(pvalues)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(pvalues)), key=pvalues.__getitem__)):
        running = max(running, (len(pvalues) - rank) * pvalues[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def detectable_effect(error: float | None, *, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """The smallest true difference found with `power` at level `alpha`: (z(1 - alpha/2) + z(power)) * error.

    Bloom 1995, Evaluation Review 19:547. `error`: standard error of the difference. None where it shows no spread.
    """
    return _both_errors(alpha, power) * error if error else None


def questions_needed(difference: float, flipped: float, *, alpha: float = ALPHA, power: float = POWER) -> int:
    """How many independent questions it takes to find `difference` between two runs, before either is made.

    flipped: the share of questions whose verdict is expected to change, either way; a difference of means d with it has
    variance flipped - d² a question. questions_needed(0.02, 0.1): 1955.
    Raises SclvlmError unless 0 < |difference| <= flipped <= 1.
    """
    if not 0 < abs(difference) <= flipped <= 1:
        raise SclvlmError(
            f"a difference needs as many changed verdicts: expected 0 < |difference| <= flipped <= 1, got {difference} "
            f"and {flipped}. Give the share of questions whose verdict may change."
        )
    return max(1, ceil(_both_errors(alpha, power) ** 2 * (flipped - difference**2) / difference**2))


def rate(count: int, n: int, confidence: float) -> Rate:
    """`count` in `n` with its Wilson interval."""
    return Rate(count=count, n=n, value=count / n, interval=wilson(count, n, confidence))


def _both_errors(alpha: float, power: float) -> float:
    return NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)
