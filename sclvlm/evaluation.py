"""The same questions to the model before and after: traces, graded, and their figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sclvlm.grading import grade_trace, questions
from sclvlm.records import Sample, Trace
from sclvlm.storage import read_records, write_records


def grade_file(traces: Path, samples: Iterable[Sample], out: Path) -> None:
    """Grade `traces` into `out`, one at a time. Raises SclvlmError for a trace of no sample, or out of their order."""
    asked = questions(samples, read_records(traces, Trace), traces)
    write_records(out, (grade_trace(trace, sample) for sample, draws in asked for trace in draws))


def by_id(samples: Iterable[Sample]) -> dict[str, Sample]:
    """Samples under their ids, in order."""
    return {sample.id: sample for sample in samples}
