"""`evaluate` module: accuracy over questions, over categories, and of each category."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, by_category


class CategoryAccuracy(evaluating.OfficialMetric):
    """Accuracy (`accuracy`), its mean over categories (`macro`), and that of each (`category/<name>`).

    MMStar, SEED-Bench, MMT-Bench, MMMU, BLINK, ScienceQA. A prediction of None is wrong.
    """

    columns = evaluating.columns(references=evaluating.TEXT, categories=evaluating.TEXT)

    def _compute(self, predictions: list[str | None], references: list[str], categories: list[str]) -> Figures:
        return by_category(evaluating.equal(predictions, references), categories)
