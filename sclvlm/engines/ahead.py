"""What a batch needs before the model can begin, made in a thread while the batch before it is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class _Begun(NamedTuple, Generic[K, V]):
    key: K
    made: Future[V]
    thread: ThreadPoolExecutor


class Ahead(Generic[K, V]):
    """Makes what `make` returns for a key: always in a thread, and for one key at most before it is asked for.

    Nothing is made at the same time as anything else, and no thread outlives what it makes.
    """

    def __init__(self, make: Callable[[K], V]) -> None:
        self.expected: K | None = None
        self._make = make
        self._begun: _Begun[K, V] | None = None

    def begin(self, key: K | None) -> None:
        """Start on `key`, without one on what is expected, if anything is. What else was begun is given up."""
        if key is None:
            key, self.expected = self.expected, None
        if key is not None and (self._begun is None or self._begun.key != key):
            self.drop()
            thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
            self._begun = _Begun(key, thread.submit(self._make, key), thread)

    def take(self, key: K) -> V:
        """What is made for `key`, or what its making raises; waits for it."""
        self.begin(key)
        assert self._begun is not None
        made = self._begun.made
        self.drop()
        return made.result()

    def drop(self) -> None:
        """Give up what was begun, once its thread has ended."""
        if self._begun is not None:
            self._begun.thread.shutdown()
            self._begun = None
