"""The server engine against a server that fails in every way one can: nothing is lost, doubled or out of order."""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sclvlm.engines import Opening, Reply, requests
from sclvlm.engines import fleet as fleets
from sclvlm.engines.requests import ServerError
from sclvlm.engines.seeds import row_seed
from sclvlm.engines.server import KNOWN, ServerEngine, connected
from sclvlm.errors import SclvlmError
from sclvlm.prompts import INITIAL, REVIEW, load_prompt
from sclvlm.records import AnswerKind, ModelRef, Sample, Trace, text_message
from sclvlm.self_correction import Dialogue, Origin, collect_traces
from sclvlm.self_correction.journal import answered, merge
from sclvlm.storage import read_records
from tests.faulty import FAULTS, PASSING, SLOW, Faulty

AGAIN = [text_message("user", "again?")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses in milliseconds, and no proxy between here and loopback."""
    monkeypatch.setattr(fleets, "SHORTEST", 0.01)
    monkeypatch.setattr(fleets, "LONGEST", 0.1)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def engine(*servers: Faulty, **settings: Any) -> ServerEngine:
    pace = {"concurrency": 4, "timeout": 60.0, "retries": 6, "seed": 3, "max_new_tokens": 9, "key": None}
    return connected([server.url for server in servers], None, **{**pace, **settings})


def openings(number: int) -> list[Opening]:
    return [Opening(f"q{index}", 0, text_message("user", f"q{index}"), ()) for index in range(number)]


def said(number: int, turns: int = 2) -> list[list[str]]:
    """What a server in order says to `openings`."""
    return [[f"echo {turn} q{index}" for turn in range(turns)] for index in range(number)]


def texts(conversations: Sequence[Sequence[Reply]]) -> list[list[str]]:
    return [[reply.text for reply in replies] for replies in conversations]


def some_faults(seed: int) -> Any:
    """Up to three faults before each reply, of all kinds that pass, the same in each run."""

    def fault(question: str, turn: int, attempt: int) -> str:
        chance = random.Random(f"{seed} {question} {turn}")
        return "" if attempt >= chance.randrange(4) else chance.choices(PASSING, k=3)[attempt]

    return fault


def test_each_turn_hears_what_was_said_before() -> None:
    with Faulty() as server:
        [replies] = engine(server).converse(openings(1), [*AGAIN, text_message("user", "sure?")])
    assert [reply.text for reply in replies] == ["echo 0 q0", "echo 1 q0", "echo 2 q0"]
    assert [(message["role"], message["content"]) for message in server.bodies[-1]["messages"]] == [
        ("user", "q0"),
        ("assistant", "echo 0 q0"),
        ("user", "again?"),
        ("assistant", "echo 1 q0"),
        ("user", "sure?"),
    ]


def test_a_reply_tells_its_tokens_and_why_it_ended() -> None:
    with Faulty() as server:
        [[reply]] = engine(server).converse(openings(1), [])
    assert reply == Reply("echo 0 q0", 3, "stop", None)


@pytest.mark.parametrize("kind", PASSING)
def test_after_a_fault_that_passes_the_reply_is_what_it_would_have_been(kind: str) -> None:
    with Faulty(lambda question, turn, attempt: kind if (question, attempt) == ("q1", 0) else "") as server:
        patience = SLOW * 0.8 if kind == "slow" else 60.0
        assert texts(engine(server, timeout=patience).converse(openings(3), AGAIN)) == said(3)
    assert Counter(server.questions())["q1"] >= 4


def test_faults_of_all_kinds_at_once_lose_double_and_turn_round_nothing(tmp_path: Path) -> None:
    wanted, path = samples(15), tmp_path / "t.jsonl"
    with Faulty(some_faults(1)) as server, Faulty(some_faults(2)) as other:
        traces = collect(wanted, path, engine(server, other, concurrency=8, timeout=SLOW * 0.8, retries=20), draws=2)
    assert [trace.key for trace in traces] == [(sample.id, draw) for sample in wanted for draw in range(2)]
    assert [[turn.response for turn in trace.turns] for trace in traces] == [
        [f"echo {turn} what is {trace.id}?" for turn in range(2)] for trace in traces
    ]
    assert len(server.bodies) + len(other.bodies) > 15 * 2 * 2  # there were faults


@pytest.mark.parametrize("concurrency", [1, 5])
def test_there_are_never_more_requests_at_once_than_asked_for_and_no_fewer(concurrency: int) -> None:
    together = threading.Barrier(concurrency)

    def fault(question: str, turn: int, attempt: int) -> str:
        assert int(question[1:]) >= concurrency or turn > 0 or together.wait(60) >= 0
        time.sleep(0.1)  # long enough for one too many to be seen beside the others
        return ""

    with Faulty(fault) as server:
        engine(server, concurrency=concurrency).converse(openings(12), AGAIN)
    assert server.most == concurrency


def test_a_slow_conversation_holds_up_no_other() -> None:
    others = threading.Event()

    def fault(question: str, turn: int, attempt: int) -> str:
        if question == "q0":
            assert others.wait(60)
        elif question == "q19":
            others.set()
        return ""

    with Faulty(fault) as server:
        speaker = engine(server, concurrency=2)
        assert texts(speaker.converse(openings(20), [])) == said(20, turns=1)


def test_no_more_questions_are_taken_than_are_needed_ahead() -> None:
    taken: list[str] = []

    def counted() -> Any:
        for opening in openings(30):
            taken.append(opening.id)
            yield opening

    with Faulty() as server, closing(engine(server, concurrency=2).stream(counted(), [])) as stream:
        for number, _ in enumerate(stream, start=1):
            assert len(taken) <= number + KNOWN * 2


def test_what_is_answered_comes_before_what_is_not() -> None:
    last = threading.Event()

    def fault(question: str, turn: int, attempt: int) -> str:
        assert question != "q0" or last.wait(60)
        return ""

    with Faulty(fault) as server, closing(engine(server).stream(openings(3), [])) as stream:
        assert sorted(next(stream).opening.id for _ in range(2)) == ["q1", "q2"]
        last.set()
        assert [answered.opening.id for answered in stream] == ["q0"]


def test_what_is_answered_is_on_disk_while_a_question_before_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"

    def fault(question: str, turn: int, attempt: int) -> str:
        deadline = time.monotonic() + 60
        while "q0?" in question and len(answered(path)) < 19:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return ""

    with Faulty(fault) as server:
        assert [trace.id for trace in collect(samples(20), path, engine(server, concurrency=2))] == [
            f"q{n}" for n in range(20)
        ]


def test_who_stops_listening_does_not_wait_for_the_server() -> None:
    release = threading.Event()
    with Faulty(lambda question, *_: str(release.wait(90) and "") if question != "q0" else "") as server:
        stream = engine(server).stream(openings(3), [])
        next(stream)
        started = time.monotonic()
        stream.close()
        release.set()
    assert time.monotonic() - started < 30


def test_a_request_that_is_our_fault_is_made_once_and_told_in_the_servers_words(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with Faulty(lambda question, *_: "400" if "q1" in question else "") as server:
        traces = collect(samples(3), path, engine(server), max_failed_share=0.5)
    assert [trace.failed for trace in traces] == [False, True, False]
    assert "the prompt is too long: 9000 tokens, at most 8192" in traces[1].meta["error"]
    assert sum("q1" in question for question in server.questions()) == 1


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("packed", [False, True])
def test_of_an_answer_that_is_too_long_no_more_is_read_than_an_answer_may_have(
    status: int, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "LARGEST", 2**20)
    content, read = b"x" * 2**24, list[int]()
    sent = (gzip.compress(content), {"Content-Encoding": "gzip"}) if packed else (content, {})
    monkeypatch.setitem(FAULTS, "long", (status, *sent))
    whole = requests._read
    monkeypatch.setattr(requests, "_read", lambda said, found: read.append(len(found)) or whole(said, found))
    with Faulty(lambda question, *_: "long" if question == "q1" else "") as server:
        found = {each.opening.id: each.replies for each in engine(server, retries=0).stream(openings(3), [])}
    assert {name for name, replies in found.items() if isinstance(replies, SclvlmError)} == {"q1"}
    assert 2**20 < max(read) <= 2**20 + 2**20  # what is unpacked comes in pieces of at most 1 MiB


def test_a_conversation_that_no_attempt_mends_fails_alone() -> None:
    with Faulty(lambda question, *_: "500" if question == "q1" else "") as server:
        found = {each.opening.id: each.replies for each in engine(server, retries=2).stream(openings(3), [])}
    assert {name for name, replies in found.items() if isinstance(replies, SclvlmError)} == {"q1"}
    assert "out of order" in str(found["q1"])
    assert server.questions().count("q1") == 1 + 2


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("401", r"the server said 401: .*server\.api_key_env"),
        ("404", r"The model does not exist\. .*server\.model"),
        ("moved", r"the server said 307: .*server\.urls"),
        ("429", r"too many\. So ended the last of 2 attempts\. .*server\.concurrency"),
        ("503", r"no upstream\. So ended"),
    ],
)
def test_what_every_request_would_meet_ends_the_run_and_is_no_samples_failure(
    fault: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.jsonl"
    with Faulty(lambda question, *_: fault if "q2" in question else "") as server, pytest.raises(ServerError) as error:
        collect(samples(4), path, engine(server, retries=1, concurrency=1), max_failed_share=1.0)
    error.match(expected)
    assert [trace.id for trace in read_records(path, Trace)] == ["q0", "q1"]


def test_a_review_that_knows_the_answer_ends_with_the_run_too_and_blames_no_sample(tmp_path: Path) -> None:
    path, review = tmp_path / "t.jsonl", load_prompt("review", "oracle")
    with Faulty(lambda question, *_: "401" if "q2" in question else "") as server, pytest.raises(ServerError):
        collect(samples(4), path, engine(server), review=review, max_failed_share=1.0)
    assert [(trace.id, trace.failed) for trace in read_records(path, Trace)] == [("q0", False), ("q1", False)]


def test_a_run_whose_server_goes_away_goes_on_when_it_is_back(tmp_path: Path) -> None:
    path, wanted = tmp_path / "t.jsonl", samples(9)

    def dies(question: str, turn: int, attempt: int) -> str:
        if "q5" not in question:
            return ""
        server.stop()
        return "drop"

    with Faulty() as server:
        whole = collect(wanted, tmp_path / "whole.jsonl", engine(server))
    with Faulty(dies) as server, pytest.raises(ServerError, match="goes on where it stopped"):
        collect(wanted, path, engine(server, retries=2, concurrency=1), max_failed_share=1.0)
    assert list(read_records(path, Trace)) == whole[:5]
    with Faulty() as server:
        assert collect(wanted, path, engine(server)) == whole
    assert len(server.bodies) == 2 * 4  # those that were left


def test_a_server_is_left_alone_for_as_long_as_it_asks() -> None:
    with Faulty(lambda question, turn, attempt: "429" if attempt < 2 else "") as server:
        engine(server).converse(openings(1), [])
    asked = float(FAULTS["429"][2]["Retry-After"])
    assert all(later - earlier >= asked for earlier, later in pairwise(server.times))


def test_the_emptiest_server_is_asked() -> None:
    together = threading.Barrier(8)

    def fault(question: str, turn: int, attempt: int) -> str:
        assert int(question[1:]) >= 8 or together.wait(60) >= 0
        return ""

    with Faulty(fault) as server, Faulty(fault) as other:
        engine(server, other, concurrency=8).converse(openings(20), [])
    assert (server.most, other.most) == (4, 4)


def test_a_server_that_is_gone_is_asked_now_and_then_and_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "SHORTEST", 1.0)
    monkeypatch.setattr(fleets, "LONGEST", 60.0)
    with Faulty() as server, Faulty(lambda *_: "drop") as other:
        assert texts(engine(server, other).converse(openings(40), [])) == said(40, turns=1)
    assert 1 <= len(other.bodies) < 20  # at most 4 at once, after each of the few rests


def test_a_server_that_hangs_is_tried_by_one_conversation_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "SHORTEST", 0.3)
    patience, release = 1.0, threading.Event()

    def works(*_: object) -> str:
        time.sleep(0.1)
        return ""

    with Faulty(works) as server, Faulty(lambda *_: str(release.wait(90) and "")) as other:
        speaker = engine(server, other, concurrency=8, timeout=patience)
        assert texts(speaker.converse(openings(150), [])) == said(150, turns=1)
        release.set()
    later = [each for each in other.times if each > other.times[0] + patience]
    assert 1 <= len(other.times) - len(later) <= 4  # half of those in flight
    assert all(two - one > patience for one, two in pairwise(later))


def test_a_server_that_comes_up_later_is_asked_then() -> None:
    with Faulty() as late:
        pass
    with Faulty() as server:
        speaker = connected([server.url, late.url], None, seed=0, max_new_tokens=9, key=None)
        assert speaker.urls == (server.url, late.url)
        assert texts(speaker.converse(openings(20), [])) == said(20, turns=1)


def test_greedy_decoding_sends_no_seed_and_sampling_one_for_each_reply() -> None:
    with Faulty() as server:
        speaker = engine(server, temperature=0.7, top_p=0.9)
        asked = [opening for base in openings(2) for opening in (base, Opening(base.id, 1, base.message, ()))]
        speaker.converse(asked, AGAIN)
        engine(server).converse(openings(1), [])
    *sampled, greedy = server.bodies
    found = {(body["messages"][0]["content"], len(body["messages"]) // 2, body["seed"]) for body in sampled}
    # 31 of its 63 bits: llama.cpp takes no more.
    seeds = {
        (f"q{i}", turn, row_seed(3, f"q{i}", draw, turn) >> 32)
        for i in range(2)
        for draw in range(2)
        for turn in (0, 1)
    }
    assert found == seeds
    assert len({seed for *_, seed in seeds}) == 8
    assert {key: greedy.get(key) for key in ("seed", "temperature", "top_p", "max_tokens", "model")} == {
        "seed": None,
        "temperature": 0.0,
        "top_p": 1.0,
        "max_tokens": 9,
        "model": "echo",
    }
    assert (sampled[0]["temperature"], sampled[0]["top_p"]) == (0.7, 0.9)


def test_further_fields_go_with_each_request() -> None:
    with Faulty() as server:
        engine(server, extra={"top_k": 1, "max_tokens": 5}).converse(openings(1), AGAIN)
    assert [(body["top_k"], body["max_tokens"]) for body in server.bodies] == [(1, 5), (1, 5)]


def samples(number: int) -> list[Sample]:
    return [
        Sample(id=f"q{index}", question=f"what is q{index}?", kind=AnswerKind.TEXT, answer="x")
        for index in range(number)
    ]


def collect(wanted: Sequence[Sample], path: Path, speaker: ServerEngine, **changes: Any) -> list[Trace]:
    settings: dict[str, Any] = {"draws": 1, "batch_size": 2, "max_failed_share": 0.0, "what": "test", **changes}
    origin = Origin(ModelRef(path=speaker.model), {}, 3)
    dialogue = Dialogue(INITIAL["bare"], settings.pop("review", REVIEW["again"]), 2)
    collect_traces(wanted, path, engine=speaker, dialogue=dialogue, origin=origin, **settings)
    merge(path, wanted, settings["draws"])
    return list(read_records(path, Trace))
