"""Several servers of the same model: each request goes to the emptiest, and one that is gone is left alone a while.

Gone is also who lets several requests in a row wait in vain. After its rest one conversation alone asks it, until it
answers, so that the others don't wait for it again.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from sclvlm.engines.requests import PassingError

SHORTEST, LONGEST = 0.5, 30.0  # seconds between two attempts, and of rest after a lost connection
SILENT = 3  # requests in a row that were not answered in time, after which a server hangs: one may be a hard question


@dataclass(eq=False)
class Endpoint:
    """One server. `wakes` is when it may be asked again, on the event loop's clock."""

    url: str
    in_flight: int = 0
    losses: int = 0
    late: int = 0
    wakes: float = 0.0

    @property
    def tried(self) -> bool:
        """Whether it was gone, and somebody finds out if it is back."""
        return self.losses > 0 and self.in_flight > 0

    def answered(self) -> None:
        """Take note that it is well."""
        self.losses = self.late = 0

    def failed(self, failure: PassingError) -> None:
        """Take note of a failure: it rests for as long as it asked, and longer with each loss in a row.

        A loss is a lost connection, and a reply too late after others. What was in flight together is lost together,
        and counts once.
        """
        now = anyio.current_time()
        rest = failure.wait
        self.late += failure.late
        if (failure.lost or self.late >= SILENT) and self.wakes <= now:
            rest = max(rest, longer(self.losses))
            self.losses += 1
        self.wakes = max(self.wakes, now + rest)


class Fleet:
    """The endpoints of a run."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.endpoints = [Endpoint(url) for url in urls]

    @asynccontextmanager
    async def taken(self, before: Endpoint | None, avoided: Endpoint | None) -> AsyncIterator[Endpoint]:
        """The endpoint to ask, counted as in flight within, once it may be asked.

        before: who has the conversation's beginning in its cache. avoided: who has just failed it.
        """
        endpoint = self._best(before, avoided)
        endpoint.in_flight += 1
        try:
            await anyio.sleep(max(endpoint.wakes - anyio.current_time(), 0.0))
            yield endpoint
        finally:
            endpoint.in_flight -= 1

    def _best(self, before: Endpoint | None, avoided: Endpoint | None) -> Endpoint:
        ready = [each for each in self.endpoints if each.wakes <= anyio.current_time() and not each.tried]
        if not ready:
            return min(self.endpoints, key=lambda each: (each.tried, each.wakes))
        if before in ready and before is not avoided:
            return ready[ready.index(before)]
        return min(ready, key=lambda each: (each is avoided, each.in_flight))


def longer(attempts: int) -> float:
    """Seconds to wait after so many attempts before: doubling from `SHORTEST` to `LONGEST`."""
    return min(SHORTEST * 2.0 ** min(attempts, 30), LONGEST)


def pause(attempts: int) -> float:
    """The same with jitter, half of it to all, so that who failed together doesn't come back together."""
    return longer(attempts) * random.uniform(0.5, 1.0)
