"""`evaluate` module: exact match but for case."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, exact_match, mean


class FoldMatch(evaluating.OfficialMetric):
    """RealWorldQA: the same text but for case, surrounding space and a final dot (`fold_match`)."""

    columns = evaluating.columns(references=evaluating.TEXT)

    def _compute(self, predictions: list[str | None], references: list[str]) -> Figures:
        return {"fold_match": mean([exact_match(*each) for each in zip(predictions, references, strict=True)])}
