"""`evaluate` module: MathVista's equality at a precision."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, equal_at_precision, mean


class MathVista(evaluating.OfficialMetric):
    """MathVista: extracted answers equal at the precision of their question (`accuracy`).

    answer_types: integer, float, list or text. precisions: decimals, None where there are none.
    """

    columns = evaluating.columns(references=evaluating.TEXT, answer_types=evaluating.TEXT, precisions=evaluating.NUMBER)

    def _compute(
        self,
        predictions: list[str | None],
        references: list[str],
        answer_types: list[str],
        precisions: list[float | None],
    ) -> Figures:
        rows = zip(predictions, references, answer_types, precisions, strict=True)
        right = [equal_at_precision(said, meant, answer_type=kind, precision=p) for said, meant, kind, p in rows]
        return {"accuracy": mean(right)}
