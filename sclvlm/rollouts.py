"""Completions that the policy says itself in training, laid out to be scored like those of the records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sclvlm.collation import Asked, Collator, PromptBatch, Record, assembled, moved
from sclvlm.collators import Collates
from sclvlm.engines.hf import write
from sclvlm.engines.sampling import RowSampler
from sclvlm.engines.seeds import row_seed
from sclvlm.errors import ConfigError
from sclvlm.models import placeholders, scoring
from sclvlm.rendering import Encoded, pad
from sclvlm.sections import OnlineSection


class Said(NamedTuple):
    """A batch of P prompts with the k completions that the policy gave each, and which ran into the length limit."""

    batch: PromptBatch
    cut: Tensor  # (P, k) bool


@dataclass(frozen=True)
class Rollouts:
    """Draws `samples` completions (k) of each prompt from the collator's policy as it is at that moment.

    Adapters on, dropout off, temperature 1, all tokens in the draw: the distribution whose log-probabilities are then
    differentiated (`undisturbed`). The random numbers of a completion derive from the seed, its record, the step and
    its place alone: batch mates and processes don't change it, a resumed run draws what the uninterrupted one would,
    and no one else's generator moves. A completion of `max_new_tokens` that has not ended is cut, and scored as far as
    it goes: what is estimated from it is about sequences up to that length. It is also cut behind a token that stands
    for a picture, should the policy say one: a model can't be shown what it means by that.
    """

    collator: Collator
    samples: int
    max_new_tokens: int
    seed: int

    def asked(self, records: Sequence[Record]) -> Asked:
        """The prompts of `records`; may be made by a worker."""
        once = self.collator.encoded(records)
        repeated = self.collator.encoded([record for record in records for _ in range(self.samples)])
        return Asked(ids=once.ids, types=once.types, images=once.images, repeated=repeated.images)

    def __call__(self, asked: Asked, ids: Sequence[str], step: int) -> Said:
        """What the policy says to `asked`, which is on its device; ids: of the records."""
        said = self.draw(asked, ids, step)
        stops = self.collator.renderer.policy.stop_ids
        cut = [[tokens[-1] not in stops for tokens in siblings] for siblings in said]
        return Said(self.laid_out(asked, ids, said), torch.tensor(cut))

    def draw(self, asked: Asked, ids: Sequence[str], step: int) -> list[list[list[int]]]:
        """Token ids of k completions for each of the P prompts, each with the token that ended it if one did."""
        policy = self.collator.renderer.policy
        seeds = [row_seed(self.seed, name, draw, step) for name in ids for draw in range(self.samples)]
        sampler = RowSampler(seeds, steps=self.max_new_tokens, temperature=1.0, top_p=1.0)
        rows = self._repeated(asked)
        types = {name: pad(each, 0, left=True)[0].to(policy.device) for name, each in rows.types.items()}
        with scoring(policy.model):
            inputs = {**rows.images, **types}
            written = write(
                policy,
                rows.ids,
                inputs,
                sampler,
                max_new_tokens=self.max_new_tokens,
                also_ends=placeholders(policy.model),
            )
        torch.clear_autocast_cache()  # weights cast here, without gradients, must not serve the pass that has them
        tokens = [each.tokens for each in written]
        return [tokens[start : start + self.samples] for start in range(0, len(tokens), self.samples)]

    def laid_out(self, asked: Asked, ids: Sequence[str], said: list[list[list[int]]]) -> PromptBatch:
        """`said`, k lists of token ids a prompt, to be scored, in the collator's layout."""
        policy = self.collator.renderer.policy
        shared = self.collator.layout == "shared" and self.samples > 1
        rows = Encoded(asked["ids"], asked["images"], asked["types"]) if shared else self._repeated(asked)
        # Rows are laid out on the CPU; pictures lie on the device already and stay there.
        here: dict[str, Any] = moved(rows.images, torch.device("cpu"))
        batch = assembled(policy, rows._replace(images=here), said, list(ids), shared=shared)
        behind = batch["inputs"]["input_ids"][:, -len(batch["predicting"]) :]
        # A completion ends there, so nothing is predicted from what the model sees in its place.
        behind[torch.isin(behind, torch.tensor(placeholders(policy.model)))] = policy.pad_id
        found: PromptBatch = moved(batch, policy.device)
        return found

    def _repeated(self, asked: Asked) -> Encoded:
        """Each prompt k times."""
        k = self.samples
        return Encoded(
            [ids for ids in asked["ids"] for _ in range(k)],
            asked["repeated"],
            {name: [row for row in rows for _ in range(k)] for name, rows in asked["types"].items()},
        )


def rollouts_of(collator: Collates, settings: OnlineSection, seed: int) -> Rollouts:
    """Those that `settings` ask for.

    Raises ConfigError for a policy that acts, since a world answers it and not its prompt.
    """
    if not isinstance(collator, Collator):
        raise ConfigError(
            "train.loss: hypo lets the policy answer prompts while it trains, which one that acts in a world can't. "
            "Set train.loss to dpo, or name a model that talks."
        )
    return Rollouts(collator, **settings.model_dump(), seed=seed)


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """No dropout inside, and gradients as outside: what is scored is what was drawn from.

    Activations are kept there under gradient checkpointing too, which rests outside training mode.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
