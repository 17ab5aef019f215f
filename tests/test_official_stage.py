"""`sclvlm evaluate` writes official figures beside its summary, from traces alone: scoring again needs no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sclvlm.config import Config
from sclvlm.pipeline import Job, evaluate
from sclvlm.records import ModelRef, Sample, Trace, Turn
from sclvlm.storage import write_records


def scored(folder: Path, benchmark: str, *responses: str) -> dict[str, Any]:
    """official.json of a run whose traces are there already; empty where it isn't written."""
    meta = {"benchmark": benchmark}
    sample = Sample(id="a", question="?", kind="choice", choices=("x", "y"), answer="A", meta=meta)
    turns = tuple(
        Turn(role="refined" if index else "initial", prompt=[], response=said, num_tokens=1, finish_reason="stop")
        for index, said in enumerate(responses)
    )
    trace = Trace(id="a", turns=turns, model=ModelRef(path="m"), sampling={}, prompts={}, seed=0)
    write_records(folder / "samples.jsonl", [sample])
    write_records(folder / "run/evaluate/before/traces.jsonl", [trace])
    config = Config.model_validate(
        {
            "run": {"dir": str(folder / "run")},
            "model": {"path": str(folder / "no model")},
            "data": {"test": str(folder / "samples.jsonl")},
            "evaluate": {},
        }
    )
    evaluate(Job.of(config, "evaluate"))
    file = folder / "run/evaluate/before/official.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return found


def test_the_official_figures_of_both_turns_lie_beside_the_summary(tmp_path: Path) -> None:
    found = scored(tmp_path, "AI2D", "B", "A")
    assert found == {"first": {"ai2d": {"accuracy": 0.0}}, "last": {"ai2d": {"accuracy": 1.0}}}


def test_questions_of_no_benchmark_leave_no_such_file(tmp_path: Path) -> None:
    assert scored(tmp_path, "", "A") == {}
