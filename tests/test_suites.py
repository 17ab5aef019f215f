"""Several benchmarks as one run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sclvlm.config import Config
from sclvlm.errors import ConfigError
from sclvlm.fingerprints import stage_inputs
from sclvlm.metrics.official import OFFICIAL, benchmark_key
from sclvlm.preflight import read_samples
from sclvlm.records import Sample
from sclvlm.reporting.schema import SliceKind
from sclvlm.storage import write_records
from sclvlm.suites import load_suite
from tests.test_reporting import CORRECT, INCORRECT, report_of, trace

SUITES = sorted((Path(__file__).parents[1] / "benchmarks" / "suites").glob("*.yaml"))


def sample(name: str, **fields: object) -> Sample:
    return Sample.model_validate({"id": name, "question": "?", "kind": "yes_no", "answer": "yes", **fields})


def suite(folder: Path, text: str = "", **files: list[Sample]) -> str:
    """A suite file of these benchmarks, or of `text`."""
    for name, samples in files.items():
        write_records(folder / f"{name}.jsonl", samples)
    entries = {name: {"samples": str(folder / f"{name}.jsonl")} for name in files}
    path = folder / "suite.yaml"
    path.write_text(text or yaml.safe_dump({"benchmarks": entries}, sort_keys=False), encoding="utf-8")
    return str(path)


def test_samples_of_a_suite_stand_under_its_names_in_its_order(tmp_path: Path) -> None:
    path = suite(tmp_path, b=[sample("1"), sample("2")], a=[sample("1")])
    assert [each.id for each in read_samples(path)] == ["b/1", "b/2", "a/1"]


def test_groups_of_different_benchmarks_do_not_meet(tmp_path: Path) -> None:
    path = suite(tmp_path, a=[sample("1", group="7")], b=[sample("1", group="7"), sample("2")])
    assert [each.group for each in read_samples(path)] == ["a/7", "b/7", ""]


def test_the_entry_says_which_metric_judges(tmp_path: Path) -> None:
    suite(tmp_path, a=[sample("1", meta={"benchmark": "AI2D"})])
    file = tmp_path / "a.jsonl"
    text = f"benchmarks: {{a: {{samples: {file}, metric: POPE}}, POPE: {{samples: {file}}}}}"
    found = [(each.meta["suite"], each.meta["benchmark"]) for each in read_samples(suite(tmp_path, text))]
    assert found == [("a", "POPE"), ("POPE", "POPE")]


def test_an_entry_of_its_own_name_is_judged_as_its_samples_say(tmp_path: Path) -> None:
    path = suite(tmp_path, hard=[sample("1", meta={"benchmark": "POPE"}), sample("2")])
    assert [each.meta["benchmark"] for each in read_samples(path)] == ["POPE", "hard"]


def test_an_unknown_metric_is_told_with_those_there_are(tmp_path: Path) -> None:
    path = suite(tmp_path, "benchmarks: {a: {samples: x, metric: MMBnch}}")
    with pytest.raises(ConfigError, match=r"benchmarks\.a\.metric: expected one of ai2d, .*, vqav2, got 'MMBnch'"):
        load_suite(Path(path))


def test_names_that_differ_in_case_and_marks_alone_are_told(tmp_path: Path) -> None:
    path = suite(tmp_path, "benchmarks: {MM-Bench: {samples: x}, b: {samples: x}, mmbench: {samples: x}}")
    with pytest.raises(ConfigError, match=r"'MM-Bench' and 'mmbench' are one name .*: give one another name"):
        load_suite(Path(path))


def test_each_benchmark_has_its_own_limit(tmp_path: Path) -> None:
    suite(tmp_path, a=[sample("1"), sample("2")], b=[sample("1"), sample("2")])
    text = f"benchmarks: {{a: {{samples: {tmp_path / 'a.jsonl'}, limit: 1}}, b: {{samples: {tmp_path / 'b.jsonl'}}}}}"
    assert [each.id for each in read_samples(suite(tmp_path, text))] == ["a/1", "b/1", "b/2"]


def test_a_missing_file_is_named_with_its_benchmark_and_the_remedy(tmp_path: Path) -> None:
    path = suite(tmp_path, "benchmarks: {MMStar: {samples: no.jsonl}}")
    with pytest.raises(
        ConfigError, match=r"suite\.yaml: MMStar: no\.jsonl does not exist\. Make it .* or take MMStar out"
    ):
        list(read_samples(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("benchmarks: {}", "benchmarks"),
        ("benchmarks: {a: {samples: x, limits: 3}}", "benchmarks.a.limits"),
        ("benchmarks: {a: {limit: 3}}", "benchmarks.a.samples"),
        ("[1]", "Expected benchmarks"),
        ("{", "not valid YAML"),
    ],
)
def test_a_suite_that_is_none_is_an_error_that_names_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"suite\.yaml") as caught:
        load_suite(Path(suite(tmp_path, text)))
    assert said in str(caught.value)


def test_what_changes_in_a_file_of_a_suite_makes_its_results_stale(tmp_path: Path) -> None:
    config = Config.model_validate(
        {
            "run": {"dir": str(tmp_path)},
            "model": {"path": "m"},
            "data": {"test": suite(tmp_path, a=[sample("1")])},
            "evaluate": {},
        }
    )
    before = stage_inputs(config, "evaluate")["data.test"]
    suite(tmp_path, a=[sample("2")])
    assert stage_inputs(config, "evaluate")["data.test"] != before


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_benchmark_of_a_published_suite_has_an_official_metric(path: Path) -> None:
    names = {benchmark_key(entry.metric or name) for name, entry in load_suite(path).benchmarks.items()}
    assert names <= set(OFFICIAL)


def test_the_suite_of_the_paper_has_its_eight_benchmarks() -> None:
    assert len(load_suite(SUITES[1]).benchmarks) == 8
    assert [path.stem for path in SUITES] == ["quick", "scl"]


def test_the_report_of_a_suite_has_a_slice_for_each_benchmark_and_category() -> None:
    names = {f"{suite}/{i}": (suite, "color" if i % 2 else "shape") for suite in ("X", "Y") for i in range(4)}
    samples = {name: sample(name, category=kind, meta={"suite": suite}) for name, (suite, kind) in names.items()}
    before = [trace(name, INCORRECT) for name in names]
    after = [trace(name, CORRECT if name.startswith("X") else INCORRECT) for name in names]
    report = report_of(samples=samples, before=before, after=after)
    found = {part.name: (part.kind, part.first.n, part.first.difference) for part in report.slices}
    assert found == {
        "all": (SliceKind.ALL, 8, 0.5),
        "X": (SliceKind.BENCHMARK, 4, 1.0),
        "Y": (SliceKind.BENCHMARK, 4, 0.0),
        "X: color": (SliceKind.CATEGORY, 2, 1.0),
        "X: shape": (SliceKind.CATEGORY, 2, 1.0),
        "Y: color": (SliceKind.CATEGORY, 2, 0.0),
        "Y: shape": (SliceKind.CATEGORY, 2, 0.0),
    }


def test_benchmarks_are_judged_by_holms_p_value() -> None:
    names = [f"{suite}/{i}" for suite in ("X", "Y", "Z") for i in range(6)]
    samples = {name: sample(name, meta={"suite": name[0]}) for name in names}
    before = [trace(name, INCORRECT) for name in names]
    after = [trace(name, CORRECT if name[0] == "X" else INCORRECT) for name in names]
    report = report_of(samples=samples, before=before, after=after)
    part = next(part for part in report.slices if part.name == "X")
    # McNemar 6 against 0: 2 / 2**6 = 0.031; one of three benchmarks: three times that.
    assert (part.first.p_value, part.holm_first) == (2 / 2**6, 3 * 2 / 2**6)
