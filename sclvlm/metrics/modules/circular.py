"""`evaluate` module: MMBench's circular and vanilla accuracy."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, circular


class Circular(evaluating.OfficialMetric):
    """MMBench: `circular` counts a question where all its rotations are right, `vanilla` sees index < 1e6 alone.

    indices: as published, copies of a question at index + k * 1e6.
    """

    columns = evaluating.columns(references=evaluating.TEXT, indices=evaluating.INTEGER)

    def _compute(self, predictions: list[str | None], references: list[str], indices: list[int]) -> Figures:
        return circular(evaluating.equal(predictions, references), indices)
