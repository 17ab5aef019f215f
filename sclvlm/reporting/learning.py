"""What a run learned from: its pairs, their audit, and how its training went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sclvlm.reporting.schema import Curve

CURVES = (
    "loss",
    "eval_loss",
    "eval_rewards/accuracies",
    "eval_exact",
    "rewards/margins",
    "rewards/accuracies",
    "rewards/chosen",
    "rewards/rejected",
    "kl",
)


def curves_of(history: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    return tuple(curve for name in CURVES if (curve := _curve(name, history)) is not None)


def _curve(name: str, history: Sequence[Mapping[str, Any]]) -> Curve | None:
    entries = [(int(entry["step"]), float(entry[name])) for entry in history if name in entry and "step" in entry]
    finite = [(step, value) for step, value in entries if math.isfinite(value)]
    if not entries:
        return None
    return Curve(
        name=name,
        steps=tuple(step for step, _ in finite),
        values=tuple(value for _, value in finite),
        dropped=len(entries) - len(finite),
    )
