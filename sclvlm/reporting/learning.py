"""What a run learned from: its pairs, their audit, and how its training went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sclvlm.audit import Audit
from sclvlm.reporting.schema import Curve, Learning

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


def learning_of(
    run: str,
    *,
    pair_counts: dict[str, int] | None = None,
    audit: Audit | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
) -> Learning:
    """What the run of this name learned from. history: transformers' Trainer log_history."""
    return Learning(run=run, pair_counts=pair_counts, audit=audit, training=curves_of(history or []))


def curves_of(history: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """The quantities worth a picture, in this order."""
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
