"""Messages to episodes and back: what a processor is to a language model, for a policy that acts.

A prompt says `start 17`. A completion lists the actions, and behind them what the world says of the outcome, between
the marks that answers are read from: `north north west ## left exit ##`. The outcome is not the policy's to say; it
counts in no log-probability.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from sclvlm.agents.world import ACTIONS, EXITS, Episode, World
from sclvlm.errors import SclvlmError
from sclvlm.records import Message, message_text
from sclvlm.storage import write_json

FILE = "world.json"
START = re.compile(r"\bstart (\d+)\b")
OUTCOME = re.compile(r"\s*##.*?##\s*$")


@dataclass(frozen=True)
class TrajectoryProcessor:
    """Reads the episodes of one world out of messages."""

    world: World

    @classmethod
    def from_pretrained(cls, folder: str, **_: Any) -> Self:
        """The one that stands beside a policy's weights. Raises SclvlmError where the file tells no world."""
        path = Path(folder) / FILE
        try:
            return cls(World(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, TypeError, ValueError) as error:
            raise SclvlmError(f"{path}: expected the world that the policy acts in: {error}.") from None

    def save_pretrained(self, folder: Path) -> None:
        """Write the world into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, asdict(self.world))

    def start(self, prompt: Sequence[Message]) -> int:
        """The start that the last message of `prompt` names. Raises SclvlmError when it names none."""
        text = message_text(prompt[-1])
        if (found := START.search(text)) is None:
            raise SclvlmError(f"a prompt of an agent names its start, such as 'start 17', got {text!r}.")
        return int(found[1])

    def actions(self, completion: Sequence[Message]) -> list[int]:
        """Indices of the actions in `completion`. Raises SclvlmError for what is none."""
        words = OUTCOME.sub("", " ".join(map(message_text, completion))).split()
        if unknown := [word for word in words if word not in ACTIONS]:
            raise SclvlmError(f"an agent's completion lists actions ({', '.join(ACTIONS)}), got {unknown[0]!r}.")
        if not words:
            raise SclvlmError("an agent's completion lists at least one action, got none.")
        return [ACTIONS.index(word) for word in words]

    def episode(self, prompt: Sequence[Message], actions: Sequence[int]) -> Episode:
        """What is seen from the start in `prompt` along `actions`. Raises SclvlmError where they don't fit."""
        start = self.start(prompt)
        try:
            return self.world.replay(start, actions)
        except ValueError as error:
            raise SclvlmError(f"start {start}: {error}. Was it played in another world?") from None


def told(actions: Sequence[int], reached: int | None) -> str:
    """An episode as a completion's text."""
    outcome = [] if reached is None else [f"## {EXITS[reached]} ##"]
    return " ".join([*(ACTIONS[action] for action in actions), *outcome])
