"""The form that the `evaluate` library asks of a metric, around the pure functions of `sclvlm.metrics.official`.

Each file of `sclvlm/metrics/modules` holds one metric. That library takes the first metric class it finds in a file for
the file's own, so they import this module and not its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc
from typing import Any, ClassVar

import evaluate
from datasets import Features, List, Value


def columns(**kinds: Any) -> Features:
    """Columns by name, each of one of the kinds below."""
    return Features(kinds)


TEXT, NUMBER, INTEGER, TEXTS = Value("string"), Value("float64"), Value("int64"), List(Value("string"))
"""Kinds of columns: a text, None where there is none; a number; a whole number; several texts."""


class OfficialMetric(evaluate.Metric):  # type: ignore[misc]  # the library has no types
    """A metric whose docstring is its description; `_compute` takes the columns as lists, one entry a question each.

    columns: what there is beside `predictions`.
    """

    columns: ClassVar[Features] = columns(references=TEXT)

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=cleandoc(type(self).__doc__ or ""),
            citation="",
            inputs_description=f"One entry a question in each of: predictions, {', '.join(self.columns)}.",
            features=Features({"predictions": TEXT, **self.columns}),
        )


def equal(predictions: Sequence[str | None], references: Sequence[str]) -> list[bool]:
    """Where both say the same: labels, yes or no."""
    return [said == meant for said, meant in zip(predictions, references, strict=True)]
