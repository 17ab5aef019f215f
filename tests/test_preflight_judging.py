"""What an answer will be judged by is looked at before anything is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sclvlm.config import Config
from sclvlm.errors import SclvlmError
from sclvlm.metrics.official import check_judged
from sclvlm.preflight import check_inputs
from sclvlm.records import Sample
from sclvlm.storage import write_records
from tests.test_benchmark_figures import samples_of
from tests.test_benchmark_layouts import CASES, Case

SOUND = Sample(id="0", question="?", kind="text", answer="one")


def check(test: Path, **settings: Any) -> None:
    """As before an evaluation by a server."""
    server = {"engine": "server", "server": {"urls": ["http://localhost:1/v1"]}}
    config = {"run": {"dir": "run"}, "model": {"path": "m"}, "data": {"test": str(test)}}
    check_inputs(Config.model_validate({**config, "evaluate": {**server, **settings}}), ["evaluate"])


def of(folder: Path, benchmark: str, **fields: Any) -> Path:
    """A file of two samples, the second of a benchmark."""
    given = {"id": "1", "question": "?", "kind": "text", "answer": "one", **fields}
    meta = {"benchmark": benchmark, **given.pop("meta", {})}
    write_records(folder / "samples.jsonl", [SOUND, Sample.model_validate({**given, "meta": meta})])
    return folder / "samples.jsonl"


@pytest.mark.parametrize(
    ("benchmark", "fields", "lacking"),
    [
        ("TextVQA", {"answers": ["one"]}, "VQA accuracy needs the answers of several people, got 1"),
        ("MathVista", {}, r"the official metric of its benchmark needs meta\.answer_type"),
        ("MathVista", {"meta": {"answer_type": "float"}}, "the answer must be a number for answer_type=float"),
        (
            "MathVista",
            {"kind": "number", "answer": "1", "meta": {"answer_type": "float", "precision": "two"}},
            r"meta\.precision must be a number, got 'two'",
        ),
        ("HallusionBench", {"kind": "yes_no", "answer": "yes"}, r"needs meta\.set_id"),
        ("POPE", {}, "a label must be yes or no, got 'one'"),
        ("MMBench", {"meta": {"index": "first"}}, r"meta\.index must be a number, got 'first'"),
        ("", {"kind": "number", "answer": "blue"}, "answer must be a number for kind=number, got 'blue'"),
    ],
)
def test_a_sample_that_could_not_be_judged_is_told_with_its_file(
    tmp_path: Path, benchmark: str, fields: dict[str, Any], lacking: str
) -> None:
    with pytest.raises(SclvlmError, match=rf"samples\.jsonl: sample '1' could not be judged: .*{lacking}.*Mend the"):
        check(of(tmp_path, benchmark, **fields))


def test_what_is_asked_for_pairs_need_no_official_metric(tmp_path: Path) -> None:
    server = {"engine": "server", "server": {"urls": ["http://localhost:1/v1"]}}
    data = {"samples": str(of(tmp_path, "TextVQA"))}
    config = {"run": {"dir": "run"}, "model": {"path": "m"}, "data": data, "infer": server}
    check_inputs(Config.model_validate(config), ["infer"])


def test_of_a_suite_the_file_and_the_id_in_it_are_told(tmp_path: Path) -> None:
    path = of(tmp_path, "TextVQA")
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"benchmarks": {"read": {"samples": str(path)}}}))
    with pytest.raises(SclvlmError, match=r"^.*/samples\.jsonl: sample '1' could"):
        check(suite)


def test_what_is_not_asked_need_not_be_judged(tmp_path: Path) -> None:
    check(of(tmp_path, "TextVQA"), limit=1)


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_no_published_layout_lacks_what_its_metric_needs(case: Case, tmp_path: Path) -> None:
    for sample in samples_of(case.name, case.write, tmp_path):
        check_judged(sample)
