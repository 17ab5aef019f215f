"""`evaluate` module: POPE's accuracy, precision, recall, F1 and yes rate."""

from __future__ import annotations

from sclvlm.answers import extract
from sclvlm.metrics import evaluating
from sclvlm.metrics.official import Figures, both_readings, pope_answer, yes_no


class POPE(evaluating.OfficialMetric):
    """POPE: `accuracy`, `precision`, `recall` and `f1` of yes, and `yes_rate`.

    Predictions are yes, no, or None where nothing could be read. With either of these they are whole responses, None
    where there is none: compute(..., own_parsing=True) reads them as this package does, which may abstain;
    compute(..., official_parsing=True) as the official script does: what holds no denial is a yes. With both, the
    official figures stand behind `official/`.
    """

    def _compute(
        self,
        predictions: list[str | None],
        references: list[str],
        official_parsing: bool = False,
        own_parsing: bool = False,
    ) -> Figures:
        ours = [said and extract(said, kind="yes_no").value for said in predictions] if own_parsing else predictions
        published = [None if said is None else pope_answer(said) for said in predictions]
        if own_parsing and official_parsing:
            return both_readings(ours, published, references)
        return yes_no(published if official_parsing else ours, references)
