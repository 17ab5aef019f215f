"""The A/A noise floor: what another seed of the same model does to an accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

from sclvlm.metrics.figures import ALPHA, NoiseFloor, Which
from sclvlm.metrics.paired import aligned, clustered_flips
from sclvlm.metrics.significance import rate
from sclvlm.metrics.summary import turn_of
from sclvlm.records import GradedTrace, Verdict


def noise_floor(
    first: Sequence[GradedTrace],
    second: Sequence[GradedTrace],
    clusters: Mapping[str, str],
    *,
    turn: Which = "first",
    confidence: float = 0.95,
) -> NoiseFloor:
    """Two runs of one model on the same questions that differ in the seed alone, at one turn.

    A difference between two models that lies below `bound` needs no better model: another seed would make it.
    Raises what `compare` raises.
    """
    pairs = aligned(first, second)
    verdicts = [(turn_of(one, turn).verdict, turn_of(other, turn).verdict) for one, other in pairs]
    grouped = clustered_flips(verdicts, [trace.id for trace, _ in pairs], clusters)
    # The mean is known to be 0, so the clusters' sums are not centred on the one observed.
    error = float(np.sqrt(np.square(grouped.sums).sum()) / len(verdicts))
    flips = sum((one is Verdict.CORRECT) != (other is Verdict.CORRECT) for one, other in verdicts)
    return NoiseFloor(
        n=len(verdicts),
        difference=grouped.mean,
        flips=rate(flips, len(verdicts), confidence),
        standard_error=error,
        bound=NormalDist().inv_cdf(1 - ALPHA / 2) * error,
    )
