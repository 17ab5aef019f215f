"""`evaluate` module: HallusionBench's three accuracies."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, HallusionQuestion, hallusion


class Hallusion(evaluating.OfficialMetric):
    """HallusionBench: accuracy by question (`aAcc`), by figure (`fAcc`), by question pair (`qAcc`).

    keys: category, subcategory, set_id, figure_id, question_id of each question, as texts.
    """

    columns = evaluating.columns(references=evaluating.TEXT, keys=evaluating.TEXTS)

    def _compute(self, predictions: list[str | None], references: list[str], keys: list[list[str]]) -> Figures:
        return hallusion(evaluating.equal(predictions, references), [HallusionQuestion(*key) for key in keys])
