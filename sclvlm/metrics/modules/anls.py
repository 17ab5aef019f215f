"""`evaluate` module: ANLS of DocVQA and InfographicVQA."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, anls, mean


class ANLS(evaluating.OfficialMetric):
    """DocVQA, InfographicVQA: the mean similarity to the nearest accepted text (`anls`)."""

    columns = evaluating.columns(references=evaluating.TEXTS)

    def _compute(self, predictions: list[str | None], references: list[list[str]]) -> Figures:
        return {"anls": mean([anls(*each) for each in zip(predictions, references, strict=True)])}
