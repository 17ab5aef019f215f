"""Episodes in place of replies: a policy that acts plays a batch of starts side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sclvlm.agents.trajectories import TrajectoryProcessor, told
from sclvlm.agents.world import Cell
from sclvlm.engines import Opening, Reply
from sclvlm.engines.sampling import RowSampler, check_finite
from sclvlm.engines.seeds import row_seed
from sclvlm.errors import SclvlmError
from sclvlm.models import Policy
from sclvlm.records import Message


@dataclass
class _Game:
    """One episode as it is played."""

    start: int
    agent: Cell
    actions: list[int] = field(default_factory=list)
    logp: float = 0.0


@dataclass(frozen=True)
class WorldEngine:
    """Plays episodes with a loaded policy; max_new_tokens is the most actions, if the world allows as many."""

    policy: Policy
    seed: int
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        """An episode from the start that each opening names; see `engines.Engine`.

        Raises SclvlmError for follow-ups: what was played is not reconsidered.
        """
        if follow_ups:
            raise SclvlmError("a policy that acts plays an episode once: set infer.turns and evaluate.turns to 1.")
        processor = self._processor
        starts = [processor.start([opening.message]) for opening in openings]
        games = [_Game(start, processor.world.layout(start).agent) for start in starts]
        self._play(games, [row_seed(self.seed, opening.id, opening.draw, 0) for opening in openings])
        return [[self._reply(game)] for game in games]

    @property
    def _processor(self) -> TrajectoryProcessor:
        processor: TrajectoryProcessor = self.policy.processor
        return processor

    @torch.inference_mode()
    def _play(self, games: list[_Game], seeds: list[int]) -> None:
        """To the end of each game. A game that has ended stays in the batch, and nothing more happens in it."""
        steps = min(self.max_new_tokens, self._processor.world.steps)
        sampler = RowSampler(seeds, steps=steps, temperature=self.temperature, top_p=self.top_p)
        model, device = self.policy.model, self.policy.device
        seen: list[Tensor] = []
        taken = torch.zeros((len(games), steps), dtype=torch.long, device=device)
        for step in range(steps):
            running = [self._processor.world.reached(game.agent) is None for game in games]
            if not any(running):
                return
            seen.append(model.see(self._frames(games).to(device)))
            logits = model.decide(torch.cat(seen, 1), taken[:, : step + 1], logits_to_keep=1)[:, 0]
            taken[:, step], logps = sampler.pick(logits.float(), step)
            for place, (action, logp) in enumerate(zip(taken[:, step].tolist(), logps.tolist(), strict=True)):
                if running[place]:
                    self._act(games[place], action, logp)

    def _frames(self, games: list[_Game]) -> Tensor:
        """What each sees now: (games, 1, pixels, pixels, 3)."""
        frames = [torch.from_numpy(self._processor.world.show(game.start, [game.agent])) for game in games]
        return torch.stack(frames)

    def _act(self, game: _Game, action: int, logp: float) -> None:
        game.agent = self._processor.world.move(game.start, game.agent, action)
        game.actions.append(action)
        game.logp += logp

    def _reply(self, game: _Game) -> Reply:
        check_finite(game.logp, self.policy.model.dtype)
        reached = self._processor.world.reached(game.agent)
        text = told(game.actions, reached)
        return Reply(text, len(game.actions), "length" if reached is None else "stop", game.logp)
