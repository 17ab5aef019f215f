"""`evaluate` module: MMMU's rule for open questions."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, mean, mmmu_open_match


class MMMUOpen(evaluating.OfficialMetric):
    """MMMU: whether whole responses give an accepted answer, by the rule for open questions (`accuracy`)."""

    columns = evaluating.columns(references=evaluating.TEXTS)

    def _compute(self, predictions: list[str], references: list[list[str]]) -> Figures:
        return {"accuracy": mean([mmmu_open_match(*each) for each in zip(predictions, references, strict=True)])}
