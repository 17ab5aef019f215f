"""`evaluate` module: accuracy against the answers of several people."""

from __future__ import annotations

from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, direct_answer_accuracy, mean, vqa_accuracy


class VQAAccuracy(evaluating.OfficialMetric):
    """VQA v2, OK-VQA, TextVQA: `vqa_accuracy`, the mean over people of min(1, matches among the others / 3).

    compute(..., leave_one_out=False) is A-OKVQA's rule for direct answers: min(1, matches / 3).
    """

    columns = evaluating.columns(references=evaluating.TEXTS)

    def _compute(
        self, predictions: list[str | None], references: list[list[str]], leave_one_out: bool = True
    ) -> Figures:
        score = vqa_accuracy if leave_one_out else direct_answer_accuracy
        return {"vqa_accuracy": mean([score(*each) for each in zip(predictions, references, strict=True)])}
