"""The OpenAI chat API: what is sent, what comes back, and what each way of failing means."""

from __future__ import annotations

import email.utils
import logging
import math
import time
from collections.abc import Sequence
from contextlib import aclosing
from functools import cache
from typing import Any, Literal

import anyio
import httpx2
from pydantic import BaseModel, Field, ValidationError

from sclvlm.engines import Reply
from sclvlm.errors import RunError, SclvlmError
from sclvlm.records import Message, message_text
from sclvlm.storage import describe

log = logging.getLogger(__name__)

TRIED_AGAIN = {408, 425, 429}  # and what is at fault on the server's side, from 500 on
OVERLOADED = {429, 502, 503, 504}  # answers of a server, or of what stands before it, that takes no requests now
NOT_FOR_US = {401, 403, 404, 405}  # the same for every request
LONGEST_WAIT = 600.0  # seconds a server may ask for
LARGEST = 16 * 2**20  # bytes of an answer that are read
BYTES_A_TOKEN = 4  # of text, where the server counts no tokens: near what English takes
SECRET = 8  # characters of the shortest key that is kept out of replies
QUOTED = 300  # characters of an answer that an error shows


class ServerError(RunError):
    """No server answers, or none would answer any request of this run."""


class PassingError(Exception):
    """A request failed as the next one may not.

    wait: seconds the server asked to be left alone. lost: there was no connection, or it broke. late: nothing was
    heard for as long as we wait. busy: the server said that it takes no requests now.
    """

    def __init__(
        self, reason: str, *, wait: float = 0.0, lost: bool = False, late: bool = False, busy: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait, self.lost, self.late, self.busy = wait, lost, late, busy


class _Said(BaseModel):
    content: str | None = None  # nothing is said where a server keeps thoughts apart and they filled the reply


class _Token(BaseModel):
    logprob: float


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Choice(BaseModel):
    message: _Said
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    completion_tokens: int = Field(ge=0, lt=2**31)


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


def wire_message(message: Message, pictures: Sequence[str] = ()) -> Message:
    """`message` as the API takes it, the URLs `pictures` in place of its image placeholders, in order."""
    if not pictures:
        return {"role": message["role"], "content": message_text(message)}
    urls = iter(pictures)
    parts = [_picture(next(urls)) if part["type"] == "image" else part for part in message["content"]]
    return {"role": message["role"], "content": parts}


def _picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


async def complete(client: httpx2.AsyncClient, url: str, body: dict[str, Any], timeout: float) -> Reply:
    """The reply of the server at `url` to the request `body`, within `timeout` seconds.

    Raises PassingError for what is worth another attempt, ServerError for what every request would meet, and
    SclvlmError with the server's own message for what it has against this one.
    """
    try:
        with anyio.fail_after(timeout):
            response = await _asked(client, f"{url}/chat/completions", body)
    except TimeoutError:
        raise PassingError(f"{url}: no reply within {timeout:g} seconds.", late=True) from None
    except httpx2.RequestError as error:
        raise PassingError(f"{url}: {_reason(error)}.", lost=isinstance(error, httpx2.TransportError)) from None
    return read_reply(response, url)


async def _asked(client: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> httpx2.Response:
    content = bytearray()
    async with client.stream("POST", url, json=body) as response, aclosing(response.aiter_bytes()) as parts:
        async for part in parts:
            content += part
            if len(content) > LARGEST:
                break
    return _read(response, content)


def _read(response: httpx2.Response, content: bytearray) -> httpx2.Response:
    """`response` with the `content` that was read of it, which is decoded."""
    headers = {name: value for name, value in response.headers.items() if name != "content-encoding"}
    return httpx2.Response(response.status_code, headers=headers, content=bytes(content), request=response.request)


def read_reply(response: httpx2.Response, url: str) -> Reply:
    """The reply in `response`; raises as `complete` does."""
    status = response.status_code
    if status in TRIED_AGAIN or status >= 500:
        raise PassingError(f"{url}: {told(response)}", wait=_asked_wait(response), busy=status in OVERLOADED)
    if status in NOT_FOR_US or 300 <= status < 400:
        raise ServerError(f"{url}: {told(response)} {_remedy(status)}")
    if status >= 400:
        raise SclvlmError(f"{url}: {told(response)}")
    if len(response.content) > LARGEST:
        raise SclvlmError(f"{url}: the answer has more than {LARGEST / 2**20:g} MiB. Lower max_new_tokens.")
    try:
        completion = _Completion.model_validate_json(response.content)
    except ValidationError as error:
        found = describe(error, lambda value: _without_key(repr(value), response))
        raise PassingError(f"{url}: not a chat completion: {found}.") from None
    if completion.choices[0].finish_reason == "content_filter":
        raise SclvlmError(f"{url}: the server's content filter withheld the answer.")
    return _reply(completion, response)


def _reply(completion: _Completion, response: httpx2.Response) -> Reply:
    choice = completion.choices[0]
    text = _without_secret(choice.message.content or "", response)
    tokens = choice.logprobs.content if choice.logprobs else None
    logp = sum(token.logprob for token in tokens) if tokens else math.nan
    finish: Literal["stop", "length"] = "length" if choice.finish_reason == "length" else "stop"
    count = completion.usage.completion_tokens if completion.usage else len(tokens or ()) or _estimated(text)
    return Reply(text, count, finish, logp if math.isfinite(logp) else None)


def _estimated(text: str) -> int:
    """Tokens of a reply that nobody has counted."""
    _say_estimated()
    return -(-len(text.encode()) // BYTES_A_TOKEN)


@cache
def _say_estimated() -> None:
    log.warning(
        "the server counts no tokens (usage): num_tokens is the length of the reply in bytes by %d. "
        "server.extra: {logprobs: true} has it list them, if it knows that.",
        BYTES_A_TOKEN,
    )


def served(url: str, headers: dict[str, str], timeout: float) -> list[str]:
    """The names of the models that the server at `url` lists; none where it keeps no list.

    Raises ServerError when it does not answer, or not us.
    """
    try:
        response = _listed(f"{url}/models", headers, timeout)
    except httpx2.RequestError as error:
        raise ServerError(f"{url}: {_reason(error)}.") from None
    if response.status_code in (404, 405):
        return []
    if response.status_code != 200:
        raise ServerError(f"{url}: {told(response)} {_remedy(response.status_code)}".strip())
    try:
        return [_without_secret(model.id, response) for model in _Models.model_validate_json(response.content).data]
    except ValidationError:
        raise ServerError(f"{url}: what stands there is no OpenAI-compatible server: {told(response)}") from None


def _listed(url: str, headers: dict[str, str], timeout: float) -> httpx2.Response:
    content = bytearray()
    with httpx2.stream("GET", url, headers=headers, timeout=timeout) as response:
        for part in response.iter_bytes():
            content += part
            if len(content) > LARGEST:
                break
    return _read(response, content)


def told(response: httpx2.Response) -> str:
    """Status and message of an answer, as an error quotes it; should a server repeat the API key, without it."""
    message = " ".join(_without_key(_message(response), response).split())
    short = message if len(message) <= QUOTED else f"{message[:QUOTED]}..."
    return f"the server said {response.status_code}: {short or response.reason_phrase or 'nothing more'}."


def _message(response: httpx2.Response) -> str:
    """The message inside the forms that errors have: OpenAI's, FastAPI's, or any text."""
    try:
        data = response.json()
        for key in ("error", "message", "detail"):
            if isinstance(data, dict) and key in data:
                data = data[key]
        text = str(data).rstrip(".")
    except (ValueError, RecursionError):
        text = response.text
    return text.encode(errors="replace").decode()  # JSON may name half of a character, which no file can hold


def _without_key(text: str, response: httpx2.Response) -> str:
    key = _key(response)
    return text.replace(key, "***") if key else text


def _without_secret(text: str, response: httpx2.Response) -> str:
    """`text` without the key, but where the key is a word that an answer may hold by chance, such as EMPTY."""
    key = _key(response)
    return text if len(key) < SECRET or key.isalpha() else text.replace(key, "***")


def _key(response: httpx2.Response) -> str:
    return response.request.headers.get("Authorization", "").removeprefix("Bearer ")


def _asked_wait(response: httpx2.Response) -> float:
    """Seconds that the Retry-After header asks for, given as a number or a date; 0 without one."""
    asked = response.headers.get("Retry-After", "")
    try:
        seconds = float(asked)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(asked).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return min(max(0.0, seconds), LONGEST_WAIT)  # in this order 0 for what is no number, too


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Put a key it takes into the environment variable that server.api_key_env names."
    return "Name its API in server.urls (http://host:port/v1) and a model it serves in server.model."


def _reason(error: httpx2.RequestError) -> str:
    return ": ".join(filter(None, [type(error).__name__, str(error).rstrip(".")]))
