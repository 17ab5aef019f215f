"""The same questions to the model before and after: traces, graded, and their figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sclvlm.errors import SclvlmError
from sclvlm.grading import grade_trace
from sclvlm.records import GradedTrace, Sample, Trace
from sclvlm.storage import read_records, write_records


def grade_file(traces: Path, samples: Mapping[str, Sample], out: Path) -> list[GradedTrace]:
    """Grade `traces` into `out`, in the order of `samples`. Raises SclvlmError for a trace of no sample."""
    graded = [grade_trace(trace, _sample(trace, samples, traces)) for trace in read_records(traces, Trace)]
    place = {name: index for index, name in enumerate(samples)}
    graded.sort(key=lambda trace: (place[trace.id], trace.draw))
    write_records(out, graded)
    return graded


def _sample(trace: Trace, samples: Mapping[str, Sample], path: Path) -> Sample:
    if trace.id not in samples:
        raise SclvlmError(f"{path}: trace {trace.id!r} is about no sample. Grade it with the file it was made from.")
    return samples[trace.id]


def by_id(samples: Iterable[Sample]) -> dict[str, Sample]:
    """Samples under their ids, in order."""
    return {sample.id: sample for sample in samples}
