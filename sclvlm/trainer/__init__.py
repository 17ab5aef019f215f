"""The preference trainer: transformers' Trainer with a loss over prompts and their completions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from sclvlm.collation import Logps, PromptBatch, logps
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.launch import count
from sclvlm.losses import accuracy, kl_estimate, rewards
from sclvlm.models import scoring
from sclvlm.models.saving import LEARNED, adapter_holds_all, load_learned, save_learned
from sclvlm.objective import Objective
from sclvlm.rollouts import Rollouts, undisturbed
from sclvlm.trainer.batching import LengthGroupedSampler, TokenBatchSampler
from sclvlm.trainer.sampled import Sampled
from sclvlm.trainer.sharing import SharedTrainer, without_company
from sclvlm.trainer.tally import Tally

OF_TRAINING = ("loss", "train_loss")  # one of them stands in what the Trainer logs of training


class PreferenceTrainer(SharedTrainer):
    """Trains on PromptBatches.

    The loss is the objective's mean over the pairs of a step, however the step is cut into micro-batches. The
    reference's log-probabilities come with a batch, or are those of `reference_model`, or without one those of the
    same model with its adapters switched off.
    lengths: of the training records' longest rows, in tokens; batches are made of records of about the same length.
    labels: whether each training record is a desirable completion, where they are told; batches mix both.
    batches: made beforehand, in place of those of args' size. surplus_weight: see `collation.logps`.
    rollouts: what lets the policy answer a step's prompts itself, for objectives that look at such samples.
    company: see `SharedTrainer`.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        objective: Objective,
        lengths: Sequence[int],
        labels: Sequence[bool] | None = None,
        batches: TokenBatchSampler | None = None,
        surplus_weight: float = 1.0,
        reference_model: Any | None = None,
        rollouts: Rollouts | None = None,
        company: Any | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.objective, self.lengths, self.surplus_weight = objective, lengths, surplus_weight
        self.labels, self.batches, self.reference_model = labels, batches, reference_model
        self.rollouts = rollouts
        if rollouts and self.is_sharded:
            raise ConfigError(
                "train.loss: hypo lets the policy speak within a step, which sharded weights can't do yet. "
                "Launch with configs/accelerate/ddp.yaml, or set train.loss to dpo."
            )
        self.company = company
        self._tally = Tally()

    def compute_loss(
        self,
        model: Any,
        inputs: PromptBatch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective of one micro-batch: the weighted sum over its pairs, by the number of pairs of the step."""
        sampled = self._sampled(model, inputs) if self.rollouts and self.model.training else None
        # A second look at all scores, of the chosen side alone, is not worth a training step's time.
        policy = logps(model, inputs, surplus_weight=self.surplus_weight, exact=not self.model.training)
        reference = self._reference(model, inputs) if self.objective.needs_reference else None  # (P, N)
        inputs, policy, reference, aside = without_company(inputs, policy, reference)
        sampled = sampled and sampled.first(len(inputs["ids"]))
        desirable, mismatched = inputs.get("desirable"), inputs.get("mismatched", False)
        losses = self.objective(
            policy.sums,
            reference,
            policy.num_tokens,
            desirable=desirable,
            mismatched=mismatched,
            sampled=sampled and sampled.sums,
            ref_sampled=sampled and sampled.ref_sums,
        )  # (P,)
        losses = losses * inputs.get("weights", 1.0)
        _check_finite(losses, inputs)
        self._measure(losses, policy, reference, desirable, mismatched)
        for name, values in sampled.figures().items() if sampled else ():
            self._tally.add(name, values.tolist())
        loss = losses.sum() / (num_items_in_batch or max(len(losses), 1)) + aside
        return (loss, {"losses": losses}) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: PromptBatch, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        """The loss on a batch of held-out records."""
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """The means over all held-out records, of the loss too, wherever batches are cut and processes share them.

        What was measured in training since its last log stays apart, and training draws the random numbers that it
        would draw without an evaluation.
        """
        training, self._tally = self._tally, Tally()
        try:
            with torch.random.fork_rng(devices=[]):  # a loader draws one each time it is gone through
                output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
            found = Tally.together(gather_object([self._tally])).means()
        finally:
            self._tally = training
        output.metrics.update({f"{metric_key_prefix}_{name}": mean for name, mean in found.items()})
        return output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means of what training measured since its last log."""
        means = {}
        if not logs.keys().isdisjoint(OF_TRAINING):
            tally = Tally.together(gather_object([self._tally]))
            means = {name: mean for name, mean in tally.means().items() if name != "loss"}
            self._tally.clear()
        super().log({**logs, **means}, start_time)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Not one step more where training goes on from a checkpoint at which it had already ended."""
        kept = self.state.stateful_callbacks["TrainerControl"]["args"]
        if kept["should_training_stop"]:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def floating_point_ops(self, inputs: PromptBatch) -> int:
        """Not estimated: the parent's rule of thumb is wrong for images and adapters."""
        return 0

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * count()
        return LengthGroupedSampler(self.lengths, step, seed=self.args.seed, labels=self.labels)

    def _sampled(self, model: Any, batch: PromptBatch) -> Sampled:
        """What the policy, as it stands, answers the batch's prompts itself; its log-probabilities carry gradients."""
        assert self.rollouts is not None
        said = self.rollouts(batch["asked"], batch["ids"], self.state.global_step)
        with undisturbed(self.model):
            policy = logps(model, said.batch)
        return Sampled(policy.sums, self._reference(model, said.batch, surplus_weight=1.0), policy.num_tokens, said.cut)

    def _reference(self, model: Any, batch: PromptBatch, *, surplus_weight: float | None = None) -> Tensor:
        if "ref_logps" in batch:
            return batch["ref_logps"]
        weight = self.surplus_weight if surplus_weight is None else surplus_weight
        if self.reference_model is not None:
            with scoring(self.reference_model):
                return logps(self.reference_model, batch, surplus_weight=weight).sums
        unwrapped = self.accelerator.unwrap_model(model)
        with scoring(unwrapped), unwrapped.disable_adapter():
            return logps(model, batch, surplus_weight=weight).sums

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if state_dict is not None or adapter_holds_all(self.model):
            super()._save(output_dir, state_dict)
        elif self.args.should_save:
            save_learned(self.model, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if (Path(resume_from_checkpoint) / LEARNED).is_file():
            load_learned(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        best = Path(self.state.best_model_checkpoint)
        if (best / LEARNED).is_file():
            load_learned(self.model, best)
        else:
            super()._load_best_model()

    def _measure(
        self, losses: Tensor, policy: Logps, reference: Tensor | None, desirable: Tensor | None, mismatched: bool
    ) -> None:
        means = {"loss": losses}
        if mismatched and reference is not None:
            means["kl"] = kl_estimate(policy.sums[:, -1:], reference[:, -1:]).expand(len(losses))
        own = policy.sums.shape[1] - mismatched
        reference = None if reference is None else reference[:, :own]
        for side, place, which in _sides(own, desirable):
            sums, count = policy.sums[which, place], policy.num_tokens[which, place]
            means |= {f"logps/{side}": sums, f"lengths/{side}": count}
            if side == "chosen":
                means["nll"] = -sums / count
            if side == "chosen" and policy.exact is not None:
                means["exact"] = policy.exact[which, place].float()
            if reference is not None:
                means[f"rewards/{side}"] = rewards(sums, reference[which, place], beta=self.objective.beta)
        if reference is not None and own == 2:
            reward = rewards(policy.sums[:, :own], reference, beta=self.objective.beta)
            means |= {
                "rewards/margins": reward[:, 0] - reward[:, 1],
                "rewards/accuracies": accuracy(reward),
                "reference/negative_margins": (reference[:, 0] < reference[:, 1]).float(),
            }
        for name, values in means.items():
            self._tally.add(name, values.detach().tolist())


def _sides(count: int, desirable: Tensor | None) -> list[tuple[str, int, Any]]:
    """Name, column and rows of what is chosen, and of what is rejected."""
    if desirable is None:
        return [(side, place, slice(None)) for place, side in enumerate(("chosen", "rejected")[:count])]
    return [("chosen", 0, desirable[:, 0]), ("rejected", 0, ~desirable[:, 0])]


def _check_finite(losses: Tensor, batch: PromptBatch) -> None:
    bad = (~losses.detach().isfinite()).nonzero()[:, 0].tolist()
    if bad:
        ids = ", ".join(batch["ids"][index] for index in bad[:5])
        raise SclvlmError(
            f"the loss is not finite for {len(bad)} of {len(losses)} records (ids: {ids}). "
            "Lower train.args.learning_rate, or look at these records."
        )
