"""What a step minimises: a preference loss with its settings, an anchor, and the weight of each pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from torch import Tensor

from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.losses import (
    NEEDS_KL,
    NEEDS_SAMPLES,
    hyperparameters,
    kl_estimate,
    loss_called,
    needs_reference,
    sft,
    wpo_weights,
)


@dataclass(frozen=True)
class Objective:
    """wpo's weight of the pair * (loss_weight * loss + nll_weight * NLL(chosen)).

    loss: a name in LOSSES, or your own as module:function; options: its own hyperparameters, the others keep their
    defaults. SCL's DPO with an anchor (arXiv 2410.04055) and RPO (arXiv 2404.19733) are `dpo` with an nll_weight. wpo:
    weigh pairs by how likely the policy is to say them (arXiv 2406.11827).
    """

    loss: str = "dpo"
    beta: float = 0.1
    options: Mapping[str, float] = field(default_factory=dict)
    loss_weight: float = 1.0
    nll_weight: float = 0.0
    wpo: bool = False

    def __post_init__(self) -> None:
        known = hyperparameters(self.loss)
        if unknown := sorted(self.options.keys() - known.keys()):
            near = get_close_matches(unknown[0], known, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"train.loss_options.{unknown[0]}: the loss {self.loss} has no such option. "
                f"It has {', '.join(known) or 'none'}.{meant}"
            )

    @property
    def needs_reference(self) -> bool:
        """Whether the reference's log-probabilities are read."""
        return needs_reference(self.loss)

    @property
    def needs_samples(self) -> bool:
        """Whether the policy is to say completions of its own in training."""
        return self.loss in NEEDS_SAMPLES

    def __call__(
        self,
        logps: Tensor,
        ref_logps: Tensor | None,
        num_tokens: Tensor,
        *,
        desirable: Tensor | None = None,
        mismatched: bool = False,
        sampled: Tensor | None = None,
        ref_sampled: Tensor | None = None,
    ) -> Tensor:
        """The objective of each prompt; log-probabilities and token counts (P, N), result (P,).

        desirable: bool (P, N) for kto, by default the first completion alone; what is undesirable has no anchor.
        mismatched: the last completion is another prompt's. It is what kto estimates its divergence from, and no more.
        sampled, ref_sampled: log-probabilities (P, k) of the policy's own completions, where they were drawn.
        Raises SclvlmError when one completion is all there is to estimate it from.
        """
        measured: dict[str, Tensor | None] = {}
        if self.needs_samples:
            measured = {"sampled": sampled, "ref_sampled": ref_sampled}
        if self.loss in NEEDS_KL and ref_logps is not None:
            measured["kl"] = _estimated(logps, ref_logps, mismatched=mismatched)
            if desirable is not None:
                measured["desirable"] = desirable
        if mismatched:
            logps, num_tokens = logps[:, :-1], num_tokens[:, :-1]
            ref_logps = None if ref_logps is None else ref_logps[:, :-1]
        loss = loss_called(self.loss)(logps, ref_logps, num_tokens, beta=self.beta, **self.options, **measured)
        total = self.loss_weight * loss
        if self.nll_weight:
            anchor = sft(logps, ref_logps, num_tokens, beta=self.beta)
            total = total + self.nll_weight * (anchor if desirable is None else anchor * desirable[:, 0])
        return total * wpo_weights(logps, num_tokens) if self.wpo else total


def _estimated(logps: Tensor, ref_logps: Tensor, *, mismatched: bool) -> Tensor:
    if mismatched:
        return kl_estimate(logps[:, -1:], ref_logps[:, -1:])
    if logps.numel() == 1:
        raise SclvlmError(
            "kto: a batch of one completion can't tell the divergence from the reference, since the completion's own "
            "reward would be taken for it. Give it larger batches, or completions of other prompts."
        )
    return kl_estimate(logps, ref_logps)
