"""What a step measures on the policy's own completions."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from sclvlm.losses import sampled_kl


class Sampled(NamedTuple):
    """Log-probabilities in nats of k completions that the policy said to each of P prompts; all (P, k)."""

    sums: Tensor  # of the policy, with gradients
    ref_sums: Tensor
    num_tokens: Tensor
    cut: Tensor  # bool, whether the length limit ended it

    def first(self, count: int) -> Sampled:
        """Those of the first `count` prompts."""
        return Sampled(*(each[:count] for each in self))

    def figures(self) -> dict[str, Tensor]:
        """By name the mean of each prompt, (P,): KL(policy || reference) in nats a sequence, lengths, shares cut."""
        return {
            "kl": sampled_kl(self.sums, self.ref_sums),
            "lengths/sampled": self.num_tokens.float().mean(1),
            "cut/sampled": self.cut.float().mean(1),
        }
