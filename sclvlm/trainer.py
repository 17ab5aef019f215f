"""The preference trainer: transformers' Trainer with a loss over prompts and their completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import Trainer

from sclvlm.collation import Logps, PromptBatch, cut, logps
from sclvlm.errors import SclvlmError
from sclvlm.losses import accuracy, rewards
from sclvlm.models import scoring
from sclvlm.objective import Objective
from sclvlm.tally import Tally

OF_TRAINING = ("loss", "train_loss")  # one of them stands in what the Trainer logs of training


class LengthGroupedSampler(torch.utils.data.Sampler[int]):
    """Every index once an epoch, shuffled, so that neighbours have about the same length.

    Shuffled indices are cut into runs of `group` batches; each run is sorted by length and its batches are
    shuffled again. A batch that is not full comes last: it would shift the borders of all behind it.
    The order depends on (seed, epoch) alone, so a resumed epoch is the one that was left.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int, group: int = 50) -> None:
        self.lengths, self.batch_size, self.seed, self.group, self.epoch = lengths, batch_size, seed, group, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        for run in cut(order, self.group * self.batch_size):
            batches = list(cut(sorted(run, key=self.lengths.__getitem__), self.batch_size))
            full = len(run) // self.batch_size
            for position in torch.randperm(full, generator=generator).tolist():
                yield from batches[position]
            for rest in batches[full:]:
                yield from rest


class PreferenceTrainer(Trainer):  # type: ignore[misc]
    """Trains on PromptBatches.

    The loss is the objective's mean over the pairs of a step, however the step is cut into micro-batches. The
    reference's log-probabilities come with a batch, or are those of the same model with its adapters switched off.
    lengths: of the training records' longest rows, in tokens; batches are made of records of about the same length.
    surplus_weight: see `collation.logps`.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self, *args: Any, objective: Objective, lengths: Sequence[int], surplus_weight: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.objective, self.lengths, self.surplus_weight = objective, lengths, surplus_weight
        self._tally = Tally()

    def compute_loss(
        self,
        model: Any,
        inputs: PromptBatch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective of one micro-batch: the weighted sum over its pairs, by the number of pairs of the step."""
        # A second look at all scores, of the chosen side alone, is not worth a training step's time.
        policy = logps(model, inputs, surplus_weight=self.surplus_weight, exact=not self.model.training)
        reference = self._reference(model, inputs) if self.objective.needs_reference else None  # (P, N)
        losses = self.objective(policy.sums, reference, policy.num_tokens) * inputs.get("weights", 1.0)  # (P,)
        _check_finite(losses, inputs)
        self._measure(losses, policy, reference)
        loss = losses.sum() / (num_items_in_batch or len(losses))
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
            means = {name: mean for name, mean in self._tally.means().items() if name != "loss"}
            self._tally.clear()
        super().log({**logs, **means}, start_time)

    def floating_point_ops(self, inputs: PromptBatch) -> int:
        """Not estimated: the parent's rule of thumb is wrong for images and adapters."""
        return 0

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(self.lengths, step, seed=self.args.seed)

    def _get_num_items_in_batch(self, batch_samples: list[PromptBatch], device: torch.device) -> int:
        return sum(len(batch["ids"]) for batch in batch_samples)

    def _reference(self, model: Any, batch: PromptBatch) -> Tensor:
        if "ref_logps" in batch:
            return batch["ref_logps"]
        unwrapped = self.accelerator.unwrap_model(model)
        with scoring(unwrapped), unwrapped.disable_adapter():
            return logps(model, batch, surplus_weight=self.surplus_weight).sums

    def _measure(self, losses: Tensor, policy: Logps, reference: Tensor | None) -> None:
        means = {"loss": losses, "nll": -policy.sums[:, 0] / policy.num_tokens[:, 0]}
        if policy.exact is not None:
            means["exact"] = policy.exact[:, 0].float()
        for place, side in enumerate(("chosen", "rejected")[: policy.sums.shape[1]]):
            means |= {f"logps/{side}": policy.sums[:, place], f"lengths/{side}": policy.num_tokens[:, place]}
        if reference is not None:
            reward = rewards(policy.sums, reference, beta=self.objective.beta)
            means |= {
                "rewards/chosen": reward[:, 0],
                "rewards/rejected": reward[:, 1],
                "rewards/margins": reward[:, 0] - reward[:, 1],
                "rewards/accuracies": accuracy(reward),
                "reference/negative_margins": (reference[:, 0] < reference[:, 1]).float(),
            }
        for name, values in means.items():
            self._tally.add(name, values.detach().tolist())


def _check_finite(losses: Tensor, batch: PromptBatch) -> None:
    bad = (~losses.detach().isfinite()).nonzero()[:, 0].tolist()
    if bad:
        ids = ", ".join(batch["ids"][index] for index in bad[:5])
        raise SclvlmError(
            f"the loss is not finite for {len(bad)} of {len(losses)} records (ids: {ids}). "
            "Lower train.args.learning_rate, or look at these records."
        )
