"""`evaluate` module: MMEvalPro's genuine accuracy."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, genuine_accuracy


class GenuineAccuracy(evaluating.OfficialMetric):
    """MMEvalPro: `genuine` counts triplets that are all right, `micro` counts questions."""

    columns = evaluating.columns(references=evaluating.TEXT, triplets=evaluating.TEXT)

    def _compute(self, predictions: list[str | None], references: list[str], triplets: list[str]) -> Figures:
        return genuine_accuracy(evaluating.equal(predictions, references), triplets)
