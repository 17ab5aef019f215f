"""`evaluate` module: NLVR's accuracy and consistency."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, consistency


class NLVR(evaluating.OfficialMetric):
    """NLVR and NLVR2: `accuracy` over questions, `consistency` over sentences judged right under every picture."""

    columns = evaluating.columns(references=evaluating.TEXT, sentences=evaluating.TEXT)

    def _compute(self, predictions: list[str | None], references: list[str], sentences: list[str]) -> Figures:
        return consistency(evaluating.equal(predictions, references), sentences)
