"""Generation by servers that speak the OpenAI chat API: vLLM, SGLang, llama.cpp, `transformers serve`.

No weights and no torch here. `concurrency` conversations are in flight over the whole stream of questions: none waits
for another. Each fails by itself; only what every request would meet ends the run.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import anyio
import httpx2
from anyio.from_thread import start_blocking_portal

from sclvlm.engines import Answered, Opening, Reply
from sclvlm.engines.addresses import CONNECT, any_answers, base_url, reached
from sclvlm.engines.fleet import Endpoint, Fleet, pause
from sclvlm.engines.requests import PassingError, ServerError, complete, wire_message
from sclvlm.engines.seeds import row_seed
from sclvlm.errors import RunError, SclvlmError
from sclvlm.pictures import check_placeholders, data_url
from sclvlm.records import Message

KNOWN = 2  # conversations known, per conversation in flight: when one is finished, the next begins at once
IDLE = 2.0  # seconds an unused connection is kept: less than what servers keep it


@dataclass(frozen=True)
class ServerEngine:
    """Answers conversations through `urls`, which all serve `model`.

    timeout: seconds of one reply. retries: attempts after the first. extra: further fields of each request.
    """

    urls: tuple[str, ...]
    model: str
    seed: int
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    concurrency: int = 32
    timeout: float = 600.0
    retries: int = 8
    extra: dict[str, Any] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        """Replies to each opening and each follow-up; see `engines.Engine`. Raises what one of them failed of."""
        with closing(self.stream(openings, follow_ups)) as stream:
            found = {(each.opening.id, each.opening.draw): _good(each) for each in stream}
        return [found[opening.id, opening.draw] for opening in openings]

    def stream(self, openings: Iterable[Opening], follow_ups: Sequence[Message]) -> Generator[Answered]:
        """The same one by one, each as soon as it is there.

        `openings` are taken as they are needed. Raises ServerError when no server answers.
        """
        known, finished = 0, SimpleQueue[Future[Answered]]()
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(_Desk(self)) as desk:
            for opening in openings:
                portal.start_task_soon(desk.answer, opening, follow_ups).add_done_callback(finished.put)
                known += 1
                while known >= KNOWN * self.concurrency or not finished.empty():
                    yield finished.get().result()
                    known -= 1
            for _ in range(known):
                yield finished.get().result()

    def body(self, messages: list[Message], seed: int) -> dict[str, Any]:
        """The request for the reply to `messages`. The seed, sent where it matters, is cut to what all servers take."""
        body: dict[str, Any] = {"model": self.model, "messages": messages, "max_tokens": self.max_new_tokens}
        body |= {"temperature": self.temperature, "top_p": self.top_p}
        return body | ({"seed": seed >> 32} if self.temperature > 0 else {}) | self.extra

    @property
    def headers(self) -> dict[str, str]:
        """What goes with each request."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


class _Desk:
    """The connections of one stream."""

    def __init__(self, engine: ServerEngine) -> None:
        self.engine, self.fleet = engine, Fleet(engine.urls)
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=IDLE)
        timeout = httpx2.Timeout(None, connect=CONNECT)  # of the whole reply: `complete`
        self.client = httpx2.AsyncClient(headers=engine.headers, limits=limits, timeout=timeout)

    async def __aenter__(self) -> Self:
        self.slots = anyio.Semaphore(self.engine.concurrency)
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def answer(self, opening: Opening, follow_ups: Sequence[Message]) -> Answered:
        """One conversation, or what it failed of; raises ServerError for what all would fail of."""
        async with self.slots:
            try:
                return Answered(opening, await _Conversation(self, opening).replies(follow_ups))
            except RunError:
                raise
            except SclvlmError as error:
                return Answered(opening, error)


class _Conversation:
    """One conversation. It stays with an endpoint that answers, which has its beginning in the cache."""

    def __init__(self, desk: _Desk, opening: Opening) -> None:
        self.desk, self.engine, self.opening = desk, desk.engine, opening
        self.endpoint: Endpoint | None = None
        self.failed: Endpoint | None = None

    async def replies(self, follow_ups: Sequence[Message]) -> list[Reply]:
        """One to the opening, one to each follow-up in turn."""
        opening, replies = self.opening, list[Reply]()
        said = [await anyio.to_thread.run_sync(_wire_opening, opening)]
        for turn in range(1 + len(follow_ups)):
            seed = row_seed(self.engine.seed, opening.id, opening.draw, turn)
            replies.append(await self._reply(self.engine.body(said, seed)))
            said.append({"role": "assistant", "content": replies[-1].text})
            said.extend(map(wire_message, follow_ups[turn : turn + 1]))
        return replies

    async def _reply(self, body: dict[str, Any]) -> Reply:
        for attempt in itertools.count():
            try:
                return await self._attempt(body)
            except PassingError as failure:
                if attempt == self.engine.retries:
                    raise await self._given_up(failure) from None
            await anyio.sleep(pause(attempt))
        raise AssertionError("counting has no end")

    async def _attempt(self, body: dict[str, Any]) -> Reply:
        async with self.desk.fleet.taken(self.endpoint, self.failed) as endpoint:
            try:
                reply = await complete(self.desk.client, endpoint.url, body, self.engine.timeout)
            except PassingError as failure:
                endpoint.failed(failure)
                self.failed = endpoint
                raise
            endpoint.answered()
            self.endpoint = endpoint
            return reply

    async def _given_up(self, failure: PassingError) -> SclvlmError:
        """This conversation's own failure where a server is well otherwise, else the end of the run."""
        said = f"{failure} So ended the last of {self.engine.retries + 1} attempts."
        if not failure.busy and await anyio.to_thread.run_sync(any_answers, self.engine.urls, self.engine.headers):
            return SclvlmError(said)
        return ServerError(
            f"{said} Start the servers of server.urls again, or ask less of them (server.concurrency), and run the "
            "same command: it goes on where it stopped."
        )


def _wire_opening(opening: Opening) -> Message:
    check_placeholders(opening.images, [opening.message])
    return wire_message(opening.message, [data_url(Path(image)) for image in opening.images])


def _good(answered: Answered) -> list[Reply]:
    if isinstance(answered.replies, SclvlmError):
        raise answered.replies
    return answered.replies


def connected(urls: Sequence[str], model: str | None, *, key: str | None, **settings: Any) -> ServerEngine:
    """An engine over those of `urls` that serve `model`, by default the only model that they list.

    settings: the other fields of ServerEngine. Raises ServerError when no server answers, ConfigError when the model
    must be named.
    """
    engine = ServerEngine(tuple(map(base_url, urls)), model or "", key=key, **settings)
    found = reached(engine.urls, engine.headers, model)
    return replace(engine, urls=found.urls, model=found.model)
