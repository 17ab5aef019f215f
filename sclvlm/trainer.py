"""The preference trainer: transformers' Trainer with a loss over prompts and their completions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from sclvlm.collation import Logps, PromptBatch, cut, logps
from sclvlm.errors import SclvlmError
from sclvlm.losses import accuracy, rewards
from sclvlm.models import scoring
from sclvlm.objective import Objective
from sclvlm.saving import LEARNED, adapter_holds_all, load_learned, save_learned


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
    reference's log-probabilities come with a batch, or are those of `reference_model`, or without one those of the
    same model with its adapters switched off.
    lengths: of the training records' longest rows, in tokens; batches are made of records of about the same length.
    surplus_weight: see `collation.logps`.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        objective: Objective,
        lengths: Sequence[int],
        surplus_weight: float = 1.0,
        reference_model: Any | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.objective, self.lengths, self.surplus_weight = objective, lengths, surplus_weight
        self.reference_model = reference_model
        self._metrics: dict[str, list[float]] = defaultdict(list)

    def compute_loss(
        self,
        model: Any,
        inputs: PromptBatch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective of one micro-batch: the sum over its pairs divided by the pairs of the whole step."""
        policy = logps(model, inputs, surplus_weight=self.surplus_weight)
        reference = self._reference(model, inputs) if self.objective.needs_reference else None  # (P, N)
        losses = self.objective(policy.sums, reference, policy.num_tokens)  # (P,)
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

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means of what was measured since the last log."""
        prefix = "eval_" if any(key.startswith("eval_") for key in logs) else ""
        means = {f"{prefix}{name}": sum(values) / len(values) for name, values in self._metrics.items()}
        self._metrics.clear()
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
        if self.reference_model is not None:
            with scoring(self.reference_model):
                return logps(self.reference_model, batch, surplus_weight=self.surplus_weight).sums
        unwrapped = self.accelerator.unwrap_model(model)
        with scoring(unwrapped), unwrapped.disable_adapter():
            return logps(model, batch, surplus_weight=self.surplus_weight).sums

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

    def _measure(self, losses: Tensor, policy: Logps, reference: Tensor | None) -> None:
        means = {"nll": -policy.sums[:, 0] / policy.num_tokens[:, 0]}
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
            self._metrics[name].extend(values.detach().tolist())


def _check_finite(losses: Tensor, batch: PromptBatch) -> None:
    bad = (~losses.detach().isfinite()).nonzero()[:, 0].tolist()
    if bad:
        ids = ", ".join(batch["ids"][index] for index in bad[:5])
        raise SclvlmError(
            f"the loss is not finite for {len(bad)} of {len(losses)} records (ids: {ids}). "
            "Lower train.args.learning_rate, or look at these records."
        )
