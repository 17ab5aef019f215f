"""Where the time of a training goes, seen from outside: the same watch for any subclass of transformers' Trainer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from accelerate import Accelerator
from transformers import TrainerCallback

from sclvlm.parts import VISION

SHARES = ("setup", "data", "tower", "reference", "policy", "optimizer", "other")
"""setup: before the first step, without loading. data: waiting for a batch. tower: image encoder, forward, wherever
it runs. reference: model forward without gradients. policy: forward with gradients, and backward. other: losses
(the output embedding too where the trainer applies it outside of the model), clipping, metrics, logs."""


class Stopwatch(TrainerCallback):
    """Seconds by what they were spent on, each second counted once, and the times at which epochs ended.

    Loading the model is left out: it is the same on both sides and no matter of the number of pairs.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.epochs: list[float] = []  # seconds from the start to the end of each epoch
        self._clock, self._stack, self._hooked = clock, ["setup"], set[int]()
        self._since = clock()

    @property
    def elapsed(self) -> float:
        """Seconds so far, without loading."""
        self._book()
        return sum(seconds for name, seconds in self.seconds.items() if name != "load")

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Seconds in here count as `name`, not as what is around."""
        self._enter(name)
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def backward_watched(self) -> Iterator[None]:
        """Backward passes in here count as policy."""
        original = Accelerator.backward

        def backward(accelerator: Accelerator, *args: Any, **kwargs: Any) -> None:
            with self.inside("policy"):
                original(accelerator, *args, **kwargs)

        with patch.object(Accelerator, "backward", backward):
            yield

    def counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its seconds counted as `name`."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.inside(name):
                return function(*args, **kwargs)

        return counted

    def loading(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """`load`, its seconds left out and the tower of the policy it returns watched."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.inside("load"):
                policy = load(*args, **kwargs)
            self.watch_tower(policy.model)
            return policy

        return watched

    def watch_tower(self, model: Any) -> None:
        """Count the forward passes of the image encoder inside `model`."""
        for name, module in model.named_modules():
            if VISION.search(name) and not VISION.search(name.rpartition(".")[0]):
                self._hook(module, lambda: "tower")

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.watch_tower(model)
        self._hook(model, lambda: "policy" if torch.is_grad_enabled() else "reference")
        self._base("data")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._base("other")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._enter("optimizer")

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._leave()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._base("data")

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.epochs.append(self.elapsed)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._base("after")

    def _hook(self, module: torch.nn.Module, name: Callable[[], str]) -> None:
        if id(module) not in self._hooked:
            self._hooked.add(id(module))
            module.register_forward_pre_hook(lambda *_: self._enter(name()))
            module.register_forward_hook(lambda *_: self._leave(), always_call=True)

    def _base(self, name: str) -> None:
        self._book()
        self._stack[0] = name

    def _enter(self, name: str) -> None:
        self._book()
        self._stack.append(name)

    def _leave(self) -> None:
        self._book()
        self._stack.pop()

    def _book(self) -> None:
        now = self._clock()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """What each of SHARES has of all seconds that are in SHARES; they add up to 1."""
    total = sum(seconds.get(name, 0.0) for name in SHARES)
    return {name: seconds.get(name, 0.0) / total for name in SHARES}
