"""How processes share the work of one Trainer, so that they make the steps that one process would make alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from accelerate import PartialState
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from transformers import Trainer

from sclvlm.collation import Logps, PromptBatch, cut
from sclvlm.features import PIXELS, picture_weights
from sclvlm.launch import count, index
from sclvlm.processes import gathered, wait

Collate = Callable[[Sequence[Any]], PromptBatch]


class _Batches(Protocol):
    def __iter__(self) -> Iterator[list[int]]: ...
    def __len__(self) -> int: ...


class ProcessBatches(torch.utils.data.Sampler[list[int]]):
    """What one process gets of batches that are made for all; nothing where they don't go round.

    whole: each process gets every count-th batch as it is; else each batch is cut into as many runs of neighbours,
    of one length where that is possible. Either way the k-th batches of all processes together are those of one
    process that makes as large steps, and no record is taken twice to fill an epoch up.
    """

    def __init__(self, batches: _Batches, *, count: int, index: int, whole: bool = False) -> None:
        self.batches, self.count, self.index, self.whole = batches, count, index, whole
        self.sampler = self  # where accelerate looks for set_epoch when a resumed epoch is wrapped

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        if told := getattr(getattr(self.batches, "sampler", None), "set_epoch", None):
            told(epoch)

    def __len__(self) -> int:
        return -(-len(self.batches) // self.count) if self.whole else len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        if self.whole:
            for batches in cut(list(self.batches), self.count):
                yield batches[self.index] if self.index < len(batches) else []
        else:
            for batch in self.batches:
                yield batch[len(batch) * self.index // self.count : len(batch) * (self.index + 1) // self.count]


def accompanied(collate: Collate, company: Any, pictured: bool, examples: Sequence[Any]) -> PromptBatch:
    """The batch of `examples`, with `company` behind them where without it there would be none, or no picture.

    pictured: whether processes wait for one another in the image encoder. Company is computed and counts nothing.
    """
    batch = collate(examples) if examples else None
    if batch is not None and not (pictured and not _has_pictures(batch)):
        return batch
    return {**collate([*examples, company]), "company": 1}


def _has_pictures(batch: PromptBatch) -> bool:
    return any(name.startswith(PIXELS) for name in batch["inputs"])


def without_company(
    batch: PromptBatch, policy: Logps, reference: Tensor | None
) -> tuple[PromptBatch, Logps, Tensor | None, Tensor | float]:
    """The same of the records that count; and zero, with whose gradient the others' parts of the model take part."""
    if not batch.get("company"):
        return batch, policy, reference, 0.0
    own = slice(len(batch["ids"]) - batch["company"])
    kept: Any = {name: batch[name][own] for name in ("ids", "weights", "desirable") if name in batch}
    exact = None if policy.exact is None else policy.exact[own]
    mine = Logps(policy.sums[own], policy.num_tokens[own], exact)
    return {**batch, **kept}, mine, None if reference is None else reference[own], 0.0 * policy.sums[own.stop :].sum()


def layers_of(model: Any) -> list[str]:
    """The classes of the layers of `model` that are sharded each by itself, as its make names them."""
    there = {type(module).__name__ for module in model.modules()}
    return sorted(there & set(getattr(model, "_no_split_modules", None) or ()))


class SharedTrainer(Trainer):  # type: ignore[misc]
    """The Trainer, each of whose steps is one process's step however many processes share it.

    company: an example that is computed with others and counts nothing, one with a picture if there is any.
    """

    company: Any = None
    batches: Any = None  # made beforehand, in place of those of args' size

    def create_accelerator_and_postprocess(self) -> None:
        """The parent's; with FSDP also on a CPU, where accelerate would leave it out without a word."""
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        asked = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
        if asked and state.distributed_type is DistributedType.MULTI_CPU:
            plugin = FullyShardedDataParallelPlugin()
            if state.mixed_precision != "no":
                plugin.set_mixed_precision(state.mixed_precision)
            state.fsdp_plugin = plugin
            state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
            self.is_fsdp_enabled = True
        if self.is_fsdp_enabled and state.fsdp_plugin.transformer_cls_names_to_wrap is None:
            # Families list layers of every tower they could have, and accelerate wants to find all of them.
            state.fsdp_plugin.transformer_cls_names_to_wrap = layers_of(self.model)

    @property
    def is_sharded(self) -> bool:
        """Whether no process holds all weights once training has begun."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def whole_weights(self) -> dict[str, Tensor] | None:
        """All weights on the main process, where they are sharded; None where it has them anyway."""
        return self.accelerator.get_state_dict(self.model_wrapped) if self.is_sharded else None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The parent's, but where batches are made beforehand, and among processes: the parent takes records twice."""
        if self.batches is None and count() == 1:
            loader: DataLoader[Any] = super().get_train_dataloader()
            return loader
        if self.batches is not None:
            return self._loader(self.train_dataset, self.batches, whole=True)
        records = BatchSampler(
            self._get_train_sampler(), self._train_batch_size * count(), self.args.dataloader_drop_last
        )
        return self._loader(self.train_dataset, records)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """The parent's, but among processes: the parent takes records twice."""
        if count() == 1:
            loader: DataLoader[Any] = super().get_eval_dataloader(eval_dataset)
            return loader
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        return self._loader(
            dataset, BatchSampler(SequentialSampler(dataset), self.args.eval_batch_size * count(), drop_last=False)
        )

    def _loader(self, dataset: Any, batches: Any, *, whole: bool = False) -> DataLoader[Any]:
        args = self.args
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=ProcessBatches(batches, count=count(), index=index(), whole=whole)
            if count() > 1
            else batches,
            collate_fn=self._accompanied() if count() > 1 else self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
        )
        # Not by accelerator.prepare, which would share out what is shared out already.
        prepared: DataLoader[Any] = prepare_data_loader(
            loader,
            self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=self.accelerator.device_placement,
            non_blocking=self.accelerator.non_blocking,
        )
        return prepared

    def _accompanied(self) -> Collate:
        company = self.train_dataset[0] if self.company is None else self.company
        trained = any(tensor.requires_grad for tensor in picture_weights(self.model).values())
        pictured = (self.is_sharded or trained) and _has_pictures(self.data_collator([company]))
        return partial(accompanied, self.data_collator, company, pictured)

    def _get_num_items_in_batch(self, batch_samples: list[PromptBatch], device: torch.device) -> float:
        """Records of the step a process: gradients and logged losses are means over the processes."""
        own = sum(len(batch["ids"]) - batch.get("company", 0) for batch in batch_samples)
        return own if count() == 1 else sum(gathered(own)) / count()

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        wait()  # the main process writes the state file next, which tells that the checkpoint is whole
