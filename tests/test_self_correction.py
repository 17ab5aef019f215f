from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sclvlm.engines import Engine, Opening, Reply
from sclvlm.errors import SclvlmError
from sclvlm.prompts import INITIAL, REVIEW, load_prompt, review_message
from sclvlm.records import AnswerKind, Message, ModelRef, Sample, Trace, message_text
from sclvlm.self_correction import Origin, collect_traces
from sclvlm.self_correction.conversing import Dialogue
from sclvlm.storage import read_records

ORIGIN = Origin(model=ModelRef(path="stub"), sampling={"temperature": 0.0}, seed=3)


class Stub:
    """Answers with the turn, the id and the draw; fails where an id says so."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.asked: list[list[str]] = []
        self.dies_after = dies_after

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked.append([opening.id for opening in openings])
        for opening in openings:
            if "bad" in opening.id:
                raise SclvlmError(f"{opening.id}.png: no such image. Put it there.")
        return [
            [Reply(f"{turn} {opening.id} {opening.draw}", 3, "stop", -1.5) for turn in range(1 + len(follow_ups))]
            for opening in openings
        ]


def samples(*ids: str) -> list[Sample]:
    return [Sample(id=each, question=f"What is {each}?", kind=AnswerKind.TEXT, answer="x") for each in ids]


def ask(wanted: Sequence[Sample], path: Path, engine: Engine, **changes: Any) -> None:
    turns, review = changes.pop("turns", 2), changes.pop("review", REVIEW["again"])
    settings = {"draws": 1, "batch_size": 2, "max_failed_share": 0.0, "what": "test", **changes}
    dialogue = Dialogue(INITIAL["direct"], review, turns)
    collect_traces(wanted, path, engine=engine, dialogue=dialogue, origin=ORIGIN, **settings)


def collect(wanted: Sequence[Sample], path: Path, engine: Engine, **changes: Any) -> list[Trace]:
    ask(wanted, path, engine, **changes)
    return list(read_records(path, Trace))


def test_traces_come_in_the_order_of_the_samples(tmp_path: Path) -> None:
    traces = collect(samples("c", "a", "b"), tmp_path / "t.jsonl", Stub())
    assert [trace.id for trace in traces] == ["c", "a", "b"]


def test_a_trace_holds_both_turns_and_their_prompts(tmp_path: Path) -> None:
    [trace] = collect(samples("a"), tmp_path / "t.jsonl", Stub())
    assert [(turn.role, turn.response) for turn in trace.turns] == [("initial", "0 a 0"), ("refined", "1 a 0")]
    assert "What is a?" in message_text(trace.turns[0].prompt[0])
    assert message_text(trace.turns[1].prompt[0]) == REVIEW["again"].text


def test_a_trace_tells_where_it_comes_from(tmp_path: Path) -> None:
    [trace] = collect(samples("a"), tmp_path / "t.jsonl", Stub())
    assert (trace.model, trace.sampling, trace.seed) == (*ORIGIN[:2], 3)
    assert trace.prompts == {"initial": "direct@1", "refine": "again@1"}
    assert (trace.turns[0].num_tokens, trace.turns[0].finish_reason, trace.turns[0].logp) == (3, "stop", -1.5)


@pytest.mark.parametrize("turns", [1, 3])
def test_there_may_be_one_turn_or_three(turns: int, tmp_path: Path) -> None:
    [trace] = collect(samples("a"), tmp_path / "t.jsonl", Stub(), turns=turns)
    assert [turn.role for turn in trace.turns] == ["initial", "refined", "refined"][:turns]
    assert [turn.response for turn in trace.turns] == ["0 a 0", "1 a 0", "2 a 0"][:turns]


def test_every_sample_is_drawn_as_often_as_asked(tmp_path: Path) -> None:
    traces = collect(samples("a", "b"), tmp_path / "t.jsonl", Stub(), draws=3)
    assert [trace.key for trace in traces] == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]


def test_batches_are_as_large_as_asked(tmp_path: Path) -> None:
    engine = Stub()
    collect(samples("a", "b", "c"), tmp_path / "t.jsonl", engine)
    assert engine.asked == [["a", "b"], ["c"]]


@pytest.mark.parametrize("tear", [1, 20, 0])
def test_a_killed_run_loses_and_doubles_nothing(tear: int, tmp_path: Path) -> None:
    path, wanted = tmp_path / "t.jsonl", samples("a", "b", "c", "d", "e")
    whole = collect(wanted, tmp_path / "whole.jsonl", Stub())
    with pytest.raises(KeyboardInterrupt):
        collect(wanted, path, Stub(dies_after=2))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - tear])
    assert collect(wanted, path, Stub()) == whole


def test_a_finished_run_asks_nothing_again(tmp_path: Path) -> None:
    engine = Stub()
    first = collect(samples("a", "b"), tmp_path / "t.jsonl", Stub())
    assert collect(samples("a", "b"), tmp_path / "t.jsonl", engine) == first
    assert engine.asked == []


def test_more_draws_are_added_to_those_there_are(tmp_path: Path) -> None:
    collect(samples("a", "b"), tmp_path / "t.jsonl", Stub())
    traces = collect(samples("a", "b"), tmp_path / "t.jsonl", Stub(), draws=2)
    assert [trace.key for trace in traces] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_a_bad_sample_is_found_and_kept_with_its_reason(tmp_path: Path) -> None:
    wanted = samples("a", "bad", "c", "d")
    traces = collect(wanted, tmp_path / "t.jsonl", Stub(), batch_size=4, max_failed_share=0.25)
    assert [(trace.id, trace.failed) for trace in traces] == [("a", False), ("bad", True), ("c", False), ("d", False)]
    assert traces[1].meta["error"] == "bad.png: no such image. Put it there."
    assert (traces[1].turns[0].response, traces[1].turns[0].finish_reason) == ("", "error")


def test_too_many_bad_samples_name_one_its_reason_and_the_remedy(tmp_path: Path) -> None:
    wanted = samples("a", "bad1", "c", "bad2")
    expected = r"sample 'bad2': bad2\.png: no such image.*2 of 4 failed, at most 25\.0% may\. .*raise max_failed_share"
    with pytest.raises(SclvlmError, match=expected):
        collect(wanted, tmp_path / "t.jsonl", Stub(), max_failed_share=0.25)


def test_what_was_answered_before_too_many_failed_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with pytest.raises(SclvlmError):
        collect(samples("a", "b", "c", "bad"), path, Stub())
    assert [trace.id for trace in read_records(path, Trace)] == ["a", "b", "c"]


def test_failures_of_the_run_before_count(tmp_path: Path) -> None:
    path, wanted = tmp_path / "t.jsonl", samples("bad1", "b", "bad2", "d")
    with pytest.raises(SclvlmError):
        collect(wanted, path, Stub(), max_failed_share=0.25)
    with pytest.raises(SclvlmError, match="2 of 4 failed"):
        collect(wanted, path, Stub(), max_failed_share=0.25)


def test_a_higher_limit_lets_a_stopped_run_go_on(tmp_path: Path) -> None:
    path, wanted = tmp_path / "t.jsonl", samples("bad1", "b", "bad2", "d")
    with pytest.raises(SclvlmError):
        collect(wanted, path, Stub(), max_failed_share=0.25)
    traces = collect(wanted, path, Stub(), max_failed_share=0.5)
    assert [trace.id for trace in traces] == ["bad1", "b", "bad2", "d"]


def test_a_failing_sample_is_searched_for_by_halves(tmp_path: Path) -> None:
    engine = Stub()
    collect(samples("a", "b", "c", "d", "bad"), tmp_path / "t.jsonl", engine, batch_size=8, max_failed_share=1.0)
    assert engine.asked == [
        ["a", "b", "c", "d", "bad"],
        ["a", "b"],
        ["c", "d", "bad"],
        ["c"],
        ["d", "bad"],
        ["d"],
        ["bad"],
    ]


class Failing(Stub):
    """Fails on `bad` in a way of its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        if any(opening.id == "bad" for opening in openings):
            raise self.error
        return super().converse(openings, follow_ups)


def test_an_engines_own_error_is_kept_with_its_type(tmp_path: Path) -> None:
    engine = Failing(ValueError("aspect ratio must be below 200, got 300\nmore"))
    traces = collect(samples("a", "bad"), tmp_path / "t.jsonl", engine, max_failed_share=0.5)
    assert [trace.failed for trace in traces] == [False, True]
    assert traces[1].meta["error"] == "ValueError: aspect ratio must be below 200, got 300"


def test_a_device_that_fails_is_not_blamed_on_a_sample(tmp_path: Path) -> None:
    engine = Failing(RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(SclvlmError, match="the device fails: CUDA error"):
        collect(samples("a", "bad"), tmp_path / "t.jsonl", engine, max_failed_share=1.0)


class Guessing(Stub):
    """Says what its guesses for each sample say, one a turn, and notes the reviews it heard."""

    opened = ""

    def __init__(self, **guesses: str) -> None:
        super().__init__()
        self.guesses, self.heard = guesses, dict[str, list[str]]()

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        said = super().converse(openings, follow_ups)
        self.heard |= {opening.id: [message_text(each) for each in follow_ups] for opening in openings}
        return [
            [
                Reply(f"## {guess} ##" if guess != "?" else "", 3, "stop", None, self.opened)
                for guess in self.guesses[opening.id][: len(turns)]
            ]
            for opening, turns in zip(openings, said, strict=True)
        ]


ORACLE = load_prompt("review", "oracle")
RIGHT, WRONG = (message_text(review_message(ORACLE, wrong=wrong)) for wrong in (False, True))


def test_the_oracle_says_that_an_answer_is_wrong_only_where_it_is(tmp_path: Path) -> None:
    engine = Guessing(a="xx", b="yx", c="?x", d="yy")
    traces = collect(samples("a", "b", "c", "d"), tmp_path / "t.jsonl", engine, review=ORACLE, batch_size=4)
    assert engine.heard == {"a": [RIGHT], "b": [WRONG], "c": [RIGHT], "d": [WRONG]}
    assert [message_text(trace.turns[1].prompt[0]) for trace in traces] == [RIGHT, WRONG, RIGHT, WRONG]
    assert [trace.turns[1].response for trace in traces] == ["## x ##", "## x ##", "## x ##", "## y ##"]
    assert "wrong" in WRONG
    assert "wrong" not in RIGHT


def test_the_oracle_judges_each_answer_before_a_review(tmp_path: Path) -> None:
    engine = Guessing(a="yxy", b="yyx", c="xyy")
    collect(samples("a", "b", "c"), tmp_path / "t.jsonl", engine, review=ORACLE, turns=3, batch_size=3)
    assert engine.heard == {"a": [WRONG, RIGHT], "b": [WRONG, WRONG], "c": [RIGHT, WRONG]}


def test_the_oracle_calls_no_thought_wrong_that_the_template_opened_and_that_did_not_end(tmp_path: Path) -> None:
    engine = Guessing(a="yx")
    engine.opened = "<think>"
    [trace] = collect(samples("a"), tmp_path / "t.jsonl", engine, review=ORACLE)
    assert engine.heard == {"a": [RIGHT]}
    assert [turn.opened for turn in trace.turns] == ["<think>", "<think>"]


def test_without_a_review_the_oracle_says_nothing(tmp_path: Path) -> None:
    engine = Guessing(a="y")
    [trace] = collect(samples("a"), tmp_path / "t.jsonl", engine, review=ORACLE, turns=1)
    assert (len(trace.turns), engine.asked) == (1, [["a"]])


class Fickle(Guessing):
    """Answers otherwise when asked again."""

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        said = super().converse(openings, follow_ups)
        self.guesses = {name: guesses[::-1] for name, guesses in self.guesses.items()}
        return said


def test_the_oracle_needs_an_engine_that_answers_the_same_twice(tmp_path: Path) -> None:
    with pytest.raises(SclvlmError, match=r"sample 'a' was answered otherwise when it was asked again"):
        collect(samples("a"), tmp_path / "t.jsonl", Fickle(a="xy"), review=ORACLE)


def test_a_marker_of_ones_own_is_told_in_the_trace(tmp_path: Path) -> None:
    dialogue = Dialogue(load_prompt("initial", "direct", "<a> </a>"), REVIEW["again"], 1)
    settings: dict[str, Any] = {"draws": 1, "batch_size": 1, "max_failed_share": 0.0, "what": "test"}
    path = tmp_path / "t.jsonl"
    collect_traces(samples("a"), path, engine=Stub(), dialogue=dialogue, origin=ORIGIN, **settings)
    [trace] = read_records(path, Trace)
    assert trace.prompts["marker"] == "<a> </a>"
    assert "between <a> and </a>." in message_text(trace.turns[0].prompt[0])
