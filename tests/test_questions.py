"""Which questions are still to be asked, by however many processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from sclvlm import asking, pipeline
from sclvlm.config import Config, load_config
from sclvlm.engines import Opening, Reply
from sclvlm.errors import SclvlmError
from sclvlm.questions import questions_of
from sclvlm.records import Message, ModelRef, Trace
from sclvlm.self_correction import journal
from sclvlm.storage import read_records, write_records
from tests.test_pipeline import NUMBER, sample, trace
from tests.test_self_correction import Stub

Load = Callable[..., Config]


@pytest.fixture(name="load")
def loader(tmp_path: Path) -> Load:
    """A config that asks a model, with overrides."""
    write_records(tmp_path / "samples.jsonl", [sample(number) for number in range(NUMBER)])
    config = {"run": {"dir": str(tmp_path / "run")}, "model": {"path": "m"}, "infer": {}}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**config, "data": {"samples": str(tmp_path / "samples.jsonl")}}))
    return lambda *overrides: load_config(path, list(overrides))


def test_a_model_is_not_loaded_when_every_question_is_answered(load: Load) -> None:
    questions = questions_of(load("model.path=nowhere/at/all"))["infer"]
    write_records(questions.traces, [trace(number, "A", "A") for number in range(NUMBER)])
    pipeline._ask(questions)


@pytest.mark.parametrize(
    ("torn", "draws"), [('{"id": "q', 1), ("", 2)], ids=["the last line is torn", "a second draw is wanted"]
)
def test_a_question_without_its_answer_is_seen(load: Load, torn: str, draws: int) -> None:
    questions = questions_of(load(f"infer.draws={draws}", f"infer.limit={3 - draws}"))["infer"]
    write_records(questions.traces, [trace(0, "A", "A")])
    with questions.traces.open("a") as file:
        file.write(torn)
    assert not pipeline._is_all(pipeline._found(questions), questions)


def test_parts_that_not_all_machines_see_are_told(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = questions_of(load())["infer"]
    write_records(questions.traces.with_name("traces.part-0.jsonl"), [trace(0, "A", "A")])
    monkeypatch.setattr(pipeline, "count", lambda: 2)
    monkeypatch.setattr(pipeline, "_all_processes", lambda _: nullcontext())
    monkeypatch.setattr(pipeline, "answer", lambda *_: None)
    with pytest.raises(SclvlmError, match=r"answers of other processes are missing\. Put run\.dir where all machines"):
        pipeline._ask(questions)
    assert [each.id for each in read_records(questions.traces, Trace)] == ["q0"]


def test_a_torn_line_of_another_process_is_mended_before_it_appends_again(load: Load) -> None:
    questions = questions_of(load())["infer"]
    part = questions.traces.with_name("traces.part-1.jsonl")
    write_records(part, [trace(1, "A", "A")])
    whole = part.read_bytes()
    part.write_bytes(whole + b'{"id": "q3')
    assert not pipeline._is_all(pipeline._found(questions), questions)
    assert part.read_bytes() == whole


class Failing(Stub):
    """Can't answer the first two samples."""

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        if any(opening.id in ("q0", "q1") for opening in openings):
            raise SclvlmError("broken")
        return super().converse(openings, follow_ups)


@pytest.fixture(name="second")
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """This is the second of two processes; what it did, "met" where it waited for the other one."""
    told, total = list[str](), itertools.count(1)
    monkeypatch.setattr(asking, "count", lambda: 2)
    monkeypatch.setattr(asking, "index", lambda: 1)
    monkeypatch.setattr("sclvlm.processes.wait", lambda: told.append("met"))
    monkeypatch.setattr("sclvlm.processes.counted", lambda *_: next(total))
    return told


def test_what_another_process_fails_of_while_this_one_loads_its_model_counts_once(
    load: Load, second: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = questions_of(load("infer.max_failed_share=0.34"))["infer"]  # two of six

    def slow(*_: object) -> tuple[Stub, ModelRef]:
        monkeypatch.setattr(asking, "index", lambda: 0)
        monkeypatch.setitem(asking.ENGINES, "hf", lambda *_: (Failing(), ModelRef(path="m")))
        asking.answer(questions)
        monkeypatch.setattr(asking, "index", lambda: 1)
        return Failing(), ModelRef(path="m")

    monkeypatch.setitem(asking.ENGINES, "hf", slow)
    asking.answer(questions)
    assert len(journal.answered(questions.traces).failed) == 2


def test_nobody_begins_before_all_processes_have_read_what_is_there(
    load: Load, second: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    questions, read = questions_of(load())["infer"], journal.answered
    monkeypatch.setattr(asking, "answered", lambda path: second.append("read") or read(path))
    monkeypatch.setitem(asking.ENGINES, "hf", lambda *_: second.append("load") or (Stub(), ModelRef(path="m")))
    asking.answer(questions)
    assert second == ["read", "met", "load", "met"]


@pytest.fixture(name="reads")
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that traces are read from, as they are read."""
    names: list[str] = []
    read = journal.read_placed
    monkeypatch.setattr(journal, "read_placed", lambda path, kind: names.append(path.name) or read(path, kind))
    return names


def test_traces_are_read_once_before_asking_and_once_after(
    load: Load, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(asking.ENGINES, "hf", lambda *_: (Stub(), ModelRef(path="m")))
    facts = pipeline.infer(pipeline.Job.of(load(), "infer"))
    assert reads == ["traces.jsonl", "traces.jsonl"]
    assert (facts["count"], facts["failed"]) == (NUMBER, 0)


def test_traces_that_are_all_there_are_read_once(load: Load, reads: list[str]) -> None:
    questions = questions_of(load())["infer"]
    write_records(questions.traces, [trace(number, "A", "A") for number in range(NUMBER)])
    assert pipeline.infer(pipeline.Job.of(load(), "infer"))["count"] == NUMBER
    assert reads == ["traces.jsonl"]


def test_traces_that_came_in_another_order_are_brought_into_that_of_the_samples_without_asking(load: Load) -> None:
    questions = questions_of(load("model.path=nowhere/at/all"))["infer"]
    write_records(questions.traces, [trace(number, "A", "A") for number in (3, 0, 5, 1, 4, 2)])
    assert len(pipeline._ask(questions)) == NUMBER
    assert [each.id for each in read_records(questions.traces, Trace)] == [f"q{n}" for n in range(NUMBER)]


def test_parts_that_hold_all_answers_are_merged_without_asking(load: Load) -> None:
    questions = questions_of(load("model.path=nowhere/at/all"))["infer"]
    write_records(questions.traces.with_name("traces.part-1.jsonl"), [trace(n, "A", "A") for n in range(NUMBER)])
    assert len(pipeline._ask(questions)) == NUMBER
    assert [file.name for file in questions.traces.parent.iterdir()] == ["traces.jsonl"]
