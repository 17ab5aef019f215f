"""Which answers `sclvlm report RUN OTHER ...` compares, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from sclvlm.records import GradedTrace, Sample
from sclvlm.storage import read_records, write_records
from tests.comparing import compared, error, invoke, report
from tests.synthetic_run import write_runs


@pytest.fixture(name="runs")
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs on the same twelve questions, in the folder one is in."""
    monkeypatch.chdir(tmp_path)
    return write_runs(tmp_path, ("demo", "beta", "gamma"), 12)


def change(file: Path, record: type[Any], name: str, **fields: Any) -> None:
    """Give the record called `name` other fields; without any, take it out."""
    kept = [each for each in read_records(file, record) if fields or each.id != name]
    write_records(file, [each.model_copy(update=fields) if each.id == name else each for each in kept])


def without(run: Path, *ids: str) -> None:
    """Take questions out of a run's answers."""
    for name in ids:
        change(run / "evaluate" / "after" / "graded.jsonl", GradedTrace, name)


def own_questions(run: Path) -> Path:
    """Give a run a samples file of its own; returns it."""
    file = run.parents[1] / "data" / "own.jsonl"
    write_records(file, read_records(run.parents[1] / "data" / "test.jsonl", Sample))
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config["data"]["test"] = "data/own.jsonl"
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


# which questions


def test_runs_on_different_questions_are_an_error_that_names_some_and_the_remedy(runs: Path) -> None:
    without(runs / "demo", "test-0003")
    without(runs / "beta", "test-0000", "test-0001")
    assert error("runs/demo", "runs/beta", code=1) == (
        "error: demo and beta were asked different questions: only demo 2 (test-0000, test-0001); "
        "only beta 1 (test-0003). To compare them on the questions that both were asked: --shared."
    )


def test_shared_compares_what_all_were_asked_and_says_how_many(runs: Path) -> None:
    without(runs / "demo", "test-0003")
    without(runs / "beta", "test-0000", "test-0001")
    compared("runs/demo", "runs/beta", "--shared")
    assert report().main.first.n == 12 - 3
    assert "Compared are the 9 questions that all were asked, of those answered: 11 by demo, 10 by beta." in (
        report().notes
    )


def test_shared_needs_a_question_that_is_shared(runs: Path) -> None:
    without(runs / "demo", *(f"test-{number:04d}" for number in range(6)))
    without(runs / "beta", *(f"test-{number:04d}" for number in range(6, 12)))
    assert "demo and beta share no question" in error("runs/demo", "runs/beta", "--shared", code=1)


@pytest.mark.parametrize(
    ("field", "value"), [("question", "what else?"), ("choices", ("a", "b", "c", "d")), ("answers", ("more",))]
)
@pytest.mark.parametrize("shared", [[], ["--shared"]])
def test_an_id_that_stands_for_two_questions_is_an_error(
    runs: Path, field: str, value: object, shared: list[str]
) -> None:
    change(own_questions(runs / "beta"), Sample, "test-0002", **{field: value})
    said = error("runs/demo", "runs/beta", *shared, code=1)
    assert f"question 'test-0002' is not the same in both runs: its {field} is" in said


def test_the_same_questions_in_another_file_are_the_same(runs: Path) -> None:
    own_questions(runs / "beta")
    compared("runs/demo", "runs/beta")
    assert report().main.first.n == 12


def test_a_question_that_the_samples_lack_is_an_error_that_names_the_file(runs: Path) -> None:
    change(own_questions(runs / "beta"), Sample, "test-0002")
    said = error("runs/demo", "runs/beta", code=1)
    assert "own.jsonl: lacks questions that runs/beta/evaluate/after/graded.jsonl answers: 1 (test-0002)" in said


def test_training_questions_that_are_gone_are_not_missed(runs: Path) -> None:
    shutil.copy(runs / "beta/evaluate/after/graded.jsonl", runs / "beta/label/graded.jsonl")
    assert not Path("data/samples.jsonl").exists()
    compared("runs/demo", "runs/beta")
    assert report().main.first.n == 12


def test_a_run_that_was_not_evaluated_says_what_to_do(runs: Path) -> None:
    shutil.rmtree(runs / "beta/evaluate")
    said = error("runs/demo", "runs/beta", code=1)
    assert said.startswith("error: runs/beta: no answers to test questions there yet")
    assert said.endswith("Run `sclvlm evaluate CONFIG` first.")


# what cannot be compared


@pytest.mark.parametrize("options", [[], ["--shared"], ["--noise", "runs/beta"]])
def test_a_single_run_is_an_error_with_both_remedies(runs: Path, options: list[str]) -> None:
    said = error("runs/demo", *options, code=2)
    assert said.startswith("error: runs/demo: a comparison needs two runs.")
    assert "`sclvlm report RUN OTHER_RUN`" in said
    assert "`sclvlm report CONFIG`" in said


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("runs/nowhere", "runs/nowhere: does not exist."),
        ("data", "data: no run directory (no config.yaml), and not in one."),
        ("runs/demo/train", "runs/demo/train: holds no answers that the config of runs/demo knows. There are: "),
        ("runs/demo/evaluate/after", "runs/demo/evaluate/after: the same answers as those of runs/demo."),
    ],
)
def test_what_is_no_second_run_is_an_error_that_says_why(runs: Path, named: str, words: str) -> None:
    assert words in error("runs/demo", named, code=2)


def test_answers_that_were_not_graded_are_an_error(runs: Path) -> None:
    folder = runs / "beta/evaluate/after"
    (folder / "graded.jsonl").rename(folder / "traces.jsonl")
    assert "traces.jsonl: not graded yet." in error("runs/demo", "runs/beta", code=2)


def test_settings_that_would_have_made_other_runs_are_an_error(runs: Path) -> None:
    assert "override 'train.beta=0.2'" in error("runs/demo", "runs/beta", "train.beta=0.2", code=2)


@pytest.mark.parametrize(("setting", "words"), [("report.galery=3", "galery"), ("report.gallery=many", "gallery")])
def test_a_wrong_setting_of_the_report_is_named(runs: Path, setting: str, words: str) -> None:
    assert error("runs/demo", "runs/beta", setting, code=2).startswith(f"error: report.{words}: ")


def test_a_comparison_has_nothing_to_redo(runs: Path) -> None:
    result = invoke("runs/demo", "runs/beta", "--redo")
    assert (result.exit_code, "made anew every time" in result.stderr) == (2, True)
