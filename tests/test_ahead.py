"""The next batch is prepared while one is computed: no more than that one, and nothing is said otherwise for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sclvlm.engines import hf
from sclvlm.engines.ahead import Ahead
from sclvlm.engines.hf import HFEngine
from sclvlm.errors import SclvlmError
from sclvlm.models import Policy
from sclvlm.records import AnswerKind, Sample, Trace
from tests.test_self_correction import ask, collect

QUESTIONS = ["What is it?", "a", "Which colour has the shape in the picture?", "Hm", "Where does it stand?", "Sure?"]


def asked(pictures: Sequence[str], count: int = 12) -> list[Sample]:
    """Ragged questions, two in a row about the same picture."""
    return [
        Sample(id=f"q{n}", question=QUESTIONS[n % 6], images=(pictures[n // 2 % 4],), kind=AnswerKind.TEXT, answer="x")
        for n in range(count)
    ]


def engine(policy: Policy, **settings: Any) -> HFEngine:
    return HFEngine(policy, **{"seed": 0, "max_new_tokens": 6, **settings})


def threads() -> list[threading.Thread]:
    """Those that prepare something."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


class Alone(Ahead[Any, Any]):
    """Prepares what is asked for when it is asked for."""

    def begin(self, key: Any) -> None:
        """Nothing."""

    def take(self, key: Any) -> Any:
        return self._make(key)


def test_what_was_begun_is_made_once() -> None:
    made: list[str] = []
    ahead = Ahead[str, int](lambda key: made.append(key) or len(made))  # type: ignore[func-returns-value]
    ahead.begin("a")
    ahead.begin("a")
    assert ahead.take("a") == 1
    assert made == ["a"]


def test_another_key_than_the_one_begun_is_made_when_that_one_has_ended() -> None:
    order: list[str] = []
    free = threading.Event()

    def make(key: str) -> str:
        order.append(f"{key} begins")
        free.wait(5)
        order.append(f"{key} ends")
        return key

    ahead = Ahead(make)
    ahead.begin("a")
    threading.Timer(0.1, free.set).start()
    assert ahead.take("b") == "b"
    assert order == ["a begins", "a ends", "b begins", "b ends"]


def test_what_is_expected_is_begun_once_and_behind_all_else() -> None:
    made: list[str] = []
    ahead = Ahead[str, None](made.append)
    ahead.expected = "c"
    ahead.begin("b")
    ahead.take("b")
    ahead.begin(None)
    ahead.take("c")
    ahead.begin(None)
    assert made == ["b", "c"]
    assert threads() == []


def test_an_error_of_making_is_raised_where_it_is_taken() -> None:
    ahead = Ahead[str, int](int)
    ahead.begin("x")
    with pytest.raises(ValueError, match="invalid literal"):
        ahead.take("x")
    assert threads() == []


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("continue_cache", [True, False])
@pytest.mark.parametrize("family", ["fast_vlm", "qwen"])
def test_replies_are_to_the_bit_what_they_are_with_nothing_prepared(
    family: str,
    continue_cache: bool,
    temperature: float,
    tmp_path: Path,
    tiny_policy: Callable[[str], Policy],
    pictures: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"temperature": temperature, "continue_cache": continue_cache, "tokens_per_batch": 300}

    def traces(name: str) -> list[Trace]:
        return collect(asked(pictures), tmp_path / name, engine(tiny_policy(family), **settings), batch_size=5)

    ahead = traces("ahead.jsonl")
    monkeypatch.setattr(hf, "Ahead", Alone)
    assert traces("alone.jsonl") == ahead


@pytest.mark.parametrize("tokens", [None, 200], ids=["windows are batches", "batches in windows"])
def test_while_a_batch_is_computed_the_next_one_is_prepared_and_no_other(
    tokens: int | None,
    tmp_path: Path,
    tiny_policy: Callable[[str], Policy],
    pictures: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared: list[tuple[int, ...]] = []
    seen: list[int] = []
    ready, together = HFEngine._ready, HFEngine._together

    def preparing(self: HFEngine, some: hf.Asked) -> hf.Ready:
        made = ready(self, some)
        prepared.append(made.batch)
        return made

    def computing(self: HFEngine, *some: Any) -> Any:
        for thread in threads():
            thread.join(0.2)  # it ends, or it would prepare one batch after the other
        seen.append(len(prepared))
        return together(self, *some)

    monkeypatch.setattr(HFEngine, "_ready", preparing)
    monkeypatch.setattr(HFEngine, "_together", computing)
    speaker = engine(tiny_policy("qwen"), tokens_per_batch=tokens)
    ask(asked(pictures), tmp_path / "t.jsonl", speaker, batch_size=4)
    batches = len(seen)
    assert batches == 3 if tokens is None else batches > 3
    assert seen == [*range(2, batches + 1), batches]


@pytest.mark.parametrize("tokens", [None, 200])
def test_a_broken_picture_is_kept_with_its_reason_and_nobody_elses(
    tokens: int | None, tmp_path: Path, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    broken = tmp_path / "cut.png"
    broken.write_bytes(Path(pictures[0]).read_bytes()[:120])
    good = asked(pictures)
    wanted = [*good[:6], good[6].model_copy(update={"images": (str(broken),)}), *good[7:]]
    speaker = engine(tiny_policy("qwen"), tokens_per_batch=tokens)
    found = collect(wanted, tmp_path / "t.jsonl", speaker, batch_size=4, max_failed_share=0.5)
    whole = collect(good, tmp_path / "whole.jsonl", speaker, batch_size=4)
    assert [trace.id for trace in found if trace.failed] == ["q6"]
    assert "cut.png: expected a readable image, got a broken one" in found[6].meta["error"]
    said = [[turn.response for turn in trace.turns] for trace in found]
    assert said[:6] + said[7:] == [[turn.response for turn in trace.turns] for trace in [*whole[:6], *whole[7:]]]
    assert threads() == []


@pytest.mark.parametrize(
    ("error", "told"), [(RuntimeError("CUDA error: gone"), SclvlmError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_what_ends_the_run_ends_the_thread(
    error: BaseException,
    told: type[BaseException],
    tmp_path: Path,
    tiny_policy: Callable[[str], Policy],
    pictures: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []

    def fail(*_: Any) -> None:
        begun.append(len(threads()))
        raise error

    free, ready = threading.Event(), HFEngine._ready

    def preparing(self: HFEngine, some: hf.Asked) -> hf.Ready:
        if some.openings[0].id != "q0":
            free.wait(0.2)  # still at it when the model fails
        return ready(self, some)

    monkeypatch.setattr(HFEngine, "_ready", preparing)
    monkeypatch.setattr(HFEngine, "_together", fail)
    with pytest.raises(told):
        ask(asked(pictures), tmp_path / "t.jsonl", engine(tiny_policy("qwen")), batch_size=4)
    assert begun == [1]
    assert threads() == []


def test_the_thread_has_a_processor_of_its_own(tiny_policy: Callable[[str], Policy]) -> None:
    speaker = engine(tiny_policy("qwen"))
    assert speaker._reader.policy.model is speaker.policy.model
    assert speaker._reader.policy.tokenizer is not speaker.policy.tokenizer
