"""`evaluate` module: MME's points."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, mme


class MME(evaluating.OfficialMetric):
    """MME, in points: accuracy and accuracy+ of each subtask, and their sums `perception` and `cognition`."""

    columns = evaluating.columns(references=evaluating.TEXT, subtasks=evaluating.TEXT, images=evaluating.TEXT)

    def _compute(
        self, predictions: list[str | None], references: list[str], subtasks: list[str], images: list[str]
    ) -> Figures:
        return mme(evaluating.equal(predictions, references), subtasks, images)
