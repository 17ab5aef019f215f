"""The audit of a run: what its config trains on, held against what it tests on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sclvlm import auditing
from sclvlm.auditing import audit_kept, audit_run
from sclvlm.config import Config
from sclvlm.prompts import initial_message, load_prompt
from sclvlm.records import PreferencePair, Sample, text_message
from sclvlm.storage import write_json, write_records


def question(number: int) -> Sample:
    return Sample.model_validate(
        {"id": f"q{number}", "question": f"Which of {number}?", "kind": "choice", "choices": ("x", "y"), "answer": "A"}
    )


def pair(number: int, marker: str = "##") -> PreferencePair:
    """About a question as it is put to the model, its answer asked for between `marker`s."""
    chosen, rejected = ([text_message("assistant", f"{marker} {each} {marker}")] for each in "AB")
    prompt = [initial_message(load_prompt("initial", "reasoned", marker), question(number))]
    return PreferencePair(id=f"p{number}", prompt=prompt, chosen=chosen, rejected=rejected, source="i->c")


@pytest.fixture(name="training")
def training_file(tmp_path: Path) -> Path:
    """Pairs about questions 0 and 1; the test asks 1 and 2."""
    write_records(tmp_path / "pairs.jsonl", [pair(0), pair(1)])
    write_records(tmp_path / "test.jsonl", [question(1), question(2)])
    return tmp_path / "pairs.jsonl"


def config(folder: Path, test: str = "test.jsonl", **evaluate: Any) -> Config:
    data = {"pairs": str(folder / "pairs.jsonl"), "test": str(folder / test)}
    return Config.model_validate(
        {"run": {"dir": str(folder / "run")}, "model": {"path": "m"}, "data": data, "train": {}, "evaluate": evaluate}
    )


def labelled(folder: Path) -> Config:
    """A run that makes its pairs of samples."""
    made = config(folder).model_dump()
    made["data"] |= {"samples": str(folder / "samples.jsonl"), "pairs": None}
    return Config.model_validate(made | {"infer": {}, "label": {}})


def test_a_test_question_that_is_trained_on_is_counted(training: Path, tmp_path: Path) -> None:
    found = audit_run(config(tmp_path), training).overlap
    assert found is not None
    assert (found.questions, found.same_question, found.same_question_and_picture) == (2, 1, 1)


def test_it_is_known_by_the_words_of_the_evaluations_own_marker(training: Path, tmp_path: Path) -> None:
    write_records(training, [pair(1, marker="<a> </a>")])
    asked = audit_run(config(tmp_path, marker="<a> </a>"), training).overlap
    otherwise = audit_run(config(tmp_path), training).overlap
    assert asked is not None
    assert otherwise is not None
    assert (asked.same_question, otherwise.same_question) == (1, 0)


def test_without_test_questions_nothing_is_compared(training: Path, tmp_path: Path) -> None:
    alone = config(tmp_path).model_copy(update={"data": config(tmp_path).data.model_copy(update={"test": None})})
    assert audit_run(alone, training).overlap is None


def test_an_audit_of_the_same_files_is_kept_and_another_made_anew(
    training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = audit_run(config(tmp_path), training)
    write_json(tmp_path / "audit.json", made.model_dump(mode="json"))
    monkeypatch.setattr(auditing, "audit_run", lambda *_: pytest.fail("made anew"))
    assert audit_kept(config(tmp_path), training, tmp_path / "audit.json") == made
    write_records(training, [pair(0)])
    with pytest.raises(pytest.fail.Exception, match="made anew"):
        audit_kept(config(tmp_path), training, tmp_path / "audit.json")


def same_question(config: Config, training: Path) -> int:
    """Test questions that are trained on, by the audit kept beside the training file."""
    kept = training.with_name("audit.json")
    audit = audit_kept(config, training, kept)
    write_json(kept, audit.model_dump(mode="json"))
    assert audit.overlap is not None
    return audit.overlap.same_question


def test_an_audit_of_a_suite_is_made_anew_when_a_file_of_it_changes(training: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "suite.yaml", {"benchmarks": {"X": {"samples": str(tmp_path / "test.jsonl")}}})
    before = same_question(config(tmp_path, "suite.yaml"), training)
    write_records(tmp_path / "test.jsonl", [question(0), question(1)])
    assert (before, same_question(config(tmp_path, "suite.yaml"), training)) == (1, 2)


def test_an_audit_is_made_anew_when_the_question_is_put_in_other_words(training: Path, tmp_path: Path) -> None:
    before = same_question(config(tmp_path), training)
    assert (before, same_question(config(tmp_path, marker="<a> </a>"), training)) == (1, 0)


def test_an_audit_is_made_anew_when_the_samples_behind_the_pairs_change(training: Path, tmp_path: Path) -> None:
    found = []
    for asked in (1, 7):
        sample = question(asked).model_copy(update={"id": "p1"})
        write_records(tmp_path / "samples.jsonl", [sample])
        found.append(same_question(labelled(tmp_path), training))
    assert found == [1, 0]


def test_a_suite_with_a_missing_file_ends_no_audit(training: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "suite.yaml", {"benchmarks": {"X": {"samples": str(tmp_path / "none.jsonl")}}})
    assert audit_run(config(tmp_path, "suite.yaml"), training).overlap is None
