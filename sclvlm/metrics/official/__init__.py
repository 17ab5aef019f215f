"""The benchmarks' own metrics, as pure functions, and which of them a benchmark's figures are made of."""

from __future__ import annotations

from sclvlm.metrics.official.benchmarks import OFFICIAL, benchmark_key, in_points, official_by_turn, official_figures
from sclvlm.metrics.official.final import final_text
from sclvlm.metrics.official.groups import (
    Figures,
    HallusionQuestion,
    by_category,
    circular,
    consistency,
    genuine_accuracy,
    hallusion,
    mme,
)
from sclvlm.metrics.official.mmmu import mmmu_open_match
from sclvlm.metrics.official.texts import (
    anls,
    direct_answer_accuracy,
    equal_at_precision,
    exact_match,
    relaxed_match,
    vqa_accuracy,
)
from sclvlm.metrics.official.yes_no import pope_answer, yes_no

__all__ = [
    "OFFICIAL",
    "Figures",
    "HallusionQuestion",
    "anls",
    "benchmark_key",
    "by_category",
    "circular",
    "consistency",
    "direct_answer_accuracy",
    "equal_at_precision",
    "exact_match",
    "final_text",
    "genuine_accuracy",
    "hallusion",
    "in_points",
    "mme",
    "mmmu_open_match",
    "official_by_turn",
    "official_figures",
    "pope_answer",
    "relaxed_match",
    "vqa_accuracy",
    "yes_no",
]
