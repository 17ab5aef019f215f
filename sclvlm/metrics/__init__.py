"""What one run shows, and what two runs on the same questions show: accuracy, transitions, paired statistics.

The benchmarks' own metrics stand in `sclvlm.metrics.official`.
"""

from __future__ import annotations

from sclvlm.metrics.figures import (
    ALPHA,
    FEWEST,
    POWER,
    Comparison,
    Finding,
    Gain,
    Interval,
    NoiseFloor,
    Rate,
    RunSummary,
    ScoreComparison,
    Statistic,
    TurnSummary,
    Which,
)
from sclvlm.metrics.noise import noise_floor
from sclvlm.metrics.paired import compare, compare_scores
from sclvlm.metrics.sign_flips import sign_flip, sign_flip_exact
from sclvlm.metrics.significance import (
    detectable_effect,
    holm,
    mcnemar_exact,
    questions_needed,
    wilson,
)
from sclvlm.metrics.summary import summarize, turn_of

__all__ = [
    "ALPHA",
    "FEWEST",
    "POWER",
    "Comparison",
    "Finding",
    "Gain",
    "Interval",
    "NoiseFloor",
    "Rate",
    "RunSummary",
    "ScoreComparison",
    "Statistic",
    "TurnSummary",
    "Which",
    "compare",
    "compare_scores",
    "detectable_effect",
    "holm",
    "mcnemar_exact",
    "noise_floor",
    "questions_needed",
    "sign_flip",
    "sign_flip_exact",
    "summarize",
    "turn_of",
    "wilson",
]
