"""`evaluate` module: ChartQA's relaxed accuracy."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, mean, relaxed_match


class RelaxedAccuracy(evaluating.OfficialMetric):
    """ChartQA: numbers within 5 % of the reference, other texts the same but for case (`relaxed_accuracy`)."""

    columns = evaluating.columns(references=evaluating.TEXT)

    def _compute(self, predictions: list[str | None], references: list[str]) -> Figures:
        return {"relaxed_accuracy": mean([relaxed_match(*each) for each in zip(predictions, references, strict=True)])}
