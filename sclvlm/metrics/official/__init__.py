"""The benchmarks' own metrics, as pure functions, and which of them a benchmark's figures are made of."""

from __future__ import annotations

from sclvlm.metrics.official.benchmarks import OFFICIAL, Answered, in_points
from sclvlm.metrics.official.final import final_text
from sclvlm.metrics.official.groups import (
    Figures,
    HallusionQuestion,
    by_category,
    circular,
    consistency,
    genuine_accuracy,
    hallusion,
    mean,
    mme,
)
from sclvlm.metrics.official.mmmu import mmmu_open_match
from sclvlm.metrics.official.running import (
    Judged,
    check_judged,
    judged,
    official_by_turn,
    official_figures,
    official_names,
)
from sclvlm.metrics.official.texts import (
    anls,
    direct_answer_accuracy,
    equal_at_precision,
    exact_match,
    relaxed_match,
    vqa_accuracy,
)
from sclvlm.metrics.official.yes_no import both_readings, pope_answer, yes_no
from sclvlm.suites import benchmark_key

__all__ = [
    "OFFICIAL",
    "Answered",
    "Figures",
    "HallusionQuestion",
    "Judged",
    "anls",
    "benchmark_key",
    "both_readings",
    "by_category",
    "check_judged",
    "circular",
    "consistency",
    "direct_answer_accuracy",
    "equal_at_precision",
    "exact_match",
    "final_text",
    "genuine_accuracy",
    "hallusion",
    "in_points",
    "judged",
    "mean",
    "mme",
    "mmmu_open_match",
    "official_by_turn",
    "official_figures",
    "official_names",
    "pope_answer",
    "relaxed_match",
    "vqa_accuracy",
    "yes_no",
]
