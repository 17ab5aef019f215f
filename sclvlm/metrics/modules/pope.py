"""`evaluate` module: POPE's accuracy, precision, recall, F1 and yes rate."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, pope_answer, yes_no


class POPE(evaluating.OfficialMetric):
    """POPE: `accuracy`, `precision`, `recall` and `f1` of yes, and `yes_rate`.

    Predictions are yes, no, or None where nothing could be read. compute(..., official_parsing=True) takes whole
    responses, None where there is none, and reads them as the official script does: what holds no denial is a yes.
    """

    def _compute(self, predictions: list[str | None], references: list[str], official_parsing: bool = False) -> Figures:
        if official_parsing:
            predictions = [None if said is None else pope_answer(said) for said in predictions]
        return yes_no(predictions, references)
