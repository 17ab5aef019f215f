"""How one answer of a server is read, and which server is asked next."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx2
import pytest

from sclvlm.engines import Reply, requests
from sclvlm.engines import fleet as fleets
from sclvlm.engines.requests import PassingError, read_reply
from sclvlm.errors import SclvlmError
from tests.faulty import FAULTS


def response(status: int, text: str, headers: dict[str, str] | None = None, key: str = "") -> httpx2.Response:
    request = httpx2.Request("POST", "http://host/v1", headers={"Authorization": f"Bearer {key}"} if key else {})
    return httpx2.Response(status, text=text, headers=headers, request=request)


KEY = "sk-0123456789-secret"
USAGE = '"usage": {"completion_tokens": 2}'
LOGPROBS = '"logprobs": {"content": [{"logprob": -0.5}, {"logprob": -1.0}]}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"choices": [{"message": {"content": "a"}, "finish_reason": "length"}], USAGE}', ("a", 2, "length", None)),
        ('{"choices": [{"message": {"content": null}, "finish_reason": "length"}], USAGE}', ("", 2, "length", None)),
        ('{"choices": [{"message": {}, "finish_reason": "tool_calls"}], USAGE}', ("", 2, "stop", None)),
        (
            '{"choices": [{"message": {"content": "a"}, "finish_reason": "stop", LOGPROBS}], USAGE}',
            ("a", 2, "stop", -1.5),
        ),
        *(
            (
                '{"choices": [{"message": {"content": "a"}, "finish_reason": "stop", LOGPROBS}], USAGE}'.replace(
                    "LOGPROBS", LOGPROBS.replace("-0.5", number)
                ),
                ("a", 2, "stop", None),
            )
            for number in ("NaN", "-Infinity", "-1e999")
        ),
    ],
)
def test_a_completion_is_read_to_a_reply(text: str, expected: tuple[Any, ...]) -> None:
    said = text.replace("USAGE", USAGE).replace("LOGPROBS", LOGPROBS)
    assert read_reply(response(200, said), "http://host/v1") == Reply(*expected)


@pytest.mark.parametrize(
    ("said", "logprobs", "tokens"),
    [("a", LOGPROBS, 2), ("x" * 9, '"logprobs": null', 3), ("\u00e4" * 4, '"logprobs": null', 2), ("", LOGPROBS, 2)],
)
def test_tokens_that_a_server_does_not_count_are_those_it_lists_or_a_quarter_of_the_bytes(
    said: str, logprobs: str, tokens: int
) -> None:
    whole = f'{{"choices": [{{"message": {{"content": "{said}"}}, "finish_reason": "stop", {logprobs}}}]}}'
    assert read_reply(response(200, whole), "http://host/v1").num_tokens == tokens


def test_that_tokens_are_estimated_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    requests._say_estimated.cache_clear()
    for _ in range(2):
        read_reply(response(200, '{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}'), "http://h")
    assert [record.message[:31] for record in caplog.records] == ["the server counts no tokens (us"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(FAULTS["filtered"][1], "content filter withheld"), (" " * (requests.LARGEST + 1), "more than 16 MiB")],
    ids=["filtered", "too long"],
)
def test_an_answer_that_is_withheld_or_too_long_is_that_questions_failure(text: str, expected: str) -> None:
    with pytest.raises(SclvlmError, match=expected):
        read_reply(response(200, text), "http://host/v1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "[]",
        '{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 9e99}}',
        '{"error": "busy"}',
    ],
)
def test_what_is_no_whole_completion_is_asked_for_again(text: str) -> None:
    with pytest.raises(PassingError, match=r"^http://host/v1: not a chat completion: "):
        read_reply(response(200, text), "http://host/v1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"error": {"message": "too long."}}', "the server said 400: too long."),
        ('{"object": "error", "message": "too long"}', "the server said 400: too long."),
        ('{"detail": [{"msg": "x"}]}', "the server said 400: [{'msg': 'x'}]."),
        ("too\nlong", "the server said 400: too long."),
        ("", "the server said 400: Bad Request."),
        ("x" * 999, f"the server said 400: {'x' * 300}...."),
        ('{"error": {"message": "half \\ud800 a letter"}}', "the server said 400: half ? a letter."),
        ("[" * 200_000, f"the server said 400: {'[' * 300}...."),
        ("1" * 5000, f"the server said 400: {'1' * 300}...."),
    ],
)
def test_an_error_quotes_the_servers_message_whatever_form_it_has(text: str, expected: str) -> None:
    with pytest.raises(SclvlmError) as error:
        read_reply(response(400, text), "http://host/v1")
    assert str(error.value) == f"http://host/v1: {expected}"


@pytest.mark.parametrize("before", range(50, 90, 5))
def test_no_part_of_the_key_stands_in_what_an_error_quotes(before: int) -> None:
    said = {"choices": "x" * before + KEY, "usage": {"completion_tokens": 1}}
    with pytest.raises(PassingError) as error:
        read_reply(response(200, json.dumps(said), key=KEY), "http://host/v1")
    assert KEY[:4] not in str(error.value)


@pytest.mark.parametrize(
    ("key", "said", "expected"),
    [
        (KEY, f"your header: Bearer {KEY}", "your header: Bearer ***"),
        ("EMPTY", "the box is EMPTY", "the box is EMPTY"),
        ("required", "none is required", "none is required"),
        ("1234567", "1234567 stars", "1234567 stars"),
    ],
)
def test_a_reply_that_repeats_the_key_is_kept_without_it_unless_the_key_is_a_word(
    key: str, said: str, expected: str
) -> None:
    choice = {"message": {"content": said}, "finish_reason": "stop"}
    whole = json.dumps({"choices": [choice], "usage": {"completion_tokens": 1}})
    assert read_reply(response(200, whole, key=key), "http://host/v1").text == expected


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 01 Jan 99999999999 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 +2300", 0.0),
        ("soon", 0.0),
        ("nan", 0.0),
        ("1e9", 600.0),
    ],
)
def test_what_is_asked_may_be_seconds_or_a_date(header: str, seconds: float) -> None:
    with pytest.raises(PassingError) as error:
        read_reply(response(429, "", {"Retry-After": header}), "http://host/v1")
    assert error.value.wait == seconds


def test_pauses_double_and_no_two_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "SHORTEST", 1.0)
    monkeypatch.setattr(fleets, "LONGEST", 5.0)
    assert [fleets.longer(attempt) for attempt in (0, 1, 2, 3, 4000)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    drawn = {fleets.pause(1) for _ in range(100)}
    assert len(drawn) > 90
    assert 1.0 <= min(drawn) < max(drawn) <= 2.0


def chosen(fleet: fleets.Fleet, before: fleets.Endpoint | None = None, avoided: fleets.Endpoint | None = None) -> str:
    async def take() -> str:
        async with fleet.taken(before, avoided) as endpoint:
            return endpoint.url

    return anyio.run(take)


def test_a_conversation_stays_with_the_server_that_has_heard_its_beginning_unless_it_failed() -> None:
    fleet = fleets.Fleet(["a", "b"])
    heard = fleet.endpoints[1]
    heard.in_flight = 3
    assert [chosen(fleet), chosen(fleet, before=heard), chosen(fleet, before=heard, avoided=heard)] == ["a", "b", "a"]


def test_who_sleeps_is_not_asked_while_another_one_is_awake() -> None:
    fleet = fleets.Fleet(["a", "b"])
    fleet.endpoints[0].wakes, fleet.endpoints[1].in_flight = float("inf"), 9
    assert chosen(fleet, before=fleet.endpoints[0]) == "b"


def test_a_server_rests_twice_as_long_after_each_loss_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "SHORTEST", 100.0)
    monkeypatch.setattr(fleets, "LONGEST", 1000.0)
    endpoint, rests = fleets.Endpoint("a"), list[float]()

    async def lose(together: int) -> None:
        endpoint.wakes = 0.0
        for _ in range(together):
            endpoint.failed(PassingError("gone", lost=True))
        rests.append(round(endpoint.wakes - anyio.current_time()))

    for together in (3, 1, 1):
        anyio.run(lose, together)
    endpoint.answered()
    anyio.run(lose, 1)
    assert rests == [100, 200, 400, 100]


def test_who_is_late_again_and_again_hangs_and_rests() -> None:
    async def late(*answers: bool) -> bool:
        endpoint = fleets.Endpoint("a")
        for answer in answers:
            if answer:
                endpoint.answered()
            else:
                endpoint.failed(PassingError("late", late=True))
        return endpoint.wakes > anyio.current_time()

    hangs = [False] * fleets.SILENT
    assert anyio.run(late, *hangs)
    assert not anyio.run(late, *hangs[1:])
    assert not anyio.run(late, *hangs[1:], True, *hangs[1:])


def test_who_was_gone_is_tried_by_one_conversation_until_it_answers() -> None:
    fleet = fleets.Fleet(["a", "b"])
    gone, busy = fleet.endpoints
    gone.losses, busy.in_flight = 1, 9
    assert chosen(fleet) == "a"
    gone.in_flight = 1
    assert chosen(fleet) == "b"
    gone.answered()
    assert chosen(fleet) == "a"
