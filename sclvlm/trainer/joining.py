"""Processes that one launcher has started become those of one run, each with a device of its own."""

from __future__ import annotations

import os
from pathlib import Path

import torch.distributed as dist
from accelerate import PartialState

from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.launch import count
from sclvlm.models import resolve_device
from sclvlm.processes import meet


def join(device: str) -> None:
    """Meet the other processes of the run, if there are any. device: that of the config.

    Raises ConfigError for a launcher's setting under which a process would not hold the model as it was loaded.
    """
    if count() == 1:
        return
    if _set("ACCELERATE_USE_FSDP") and _set("FSDP_CPU_RAM_EFFICIENT_LOADING"):
        raise ConfigError(
            "fsdp_cpu_ram_efficient_loading: true leaves all processes but one without weights, and each one scores "
            "its share of the reference before the model is sharded. Set it to false."
        )
    if _set("ACCELERATE_USE_FSDP") and os.environ.get("FSDP_VERSION") != "2":
        raise ConfigError(
            f"fsdp_version: expected 2, got {os.environ.get('FSDP_VERSION', '1')}. FSDP1 can't shard adapters beside "
            "weights that don't train. Set it to 2."
        )
    PartialState(cpu=resolve_device(device).type == "cpu")
    meet()


def part() -> None:
    """Take leave of the others, at the end of a run that ended well."""
    if dist.is_initialized():
        dist.destroy_process_group()


def check_checkpoint(checkpoint: str | None) -> None:
    """Raise SclvlmError where `checkpoint` was written by another number of processes: batches would be others."""
    if checkpoint is None:
        return
    before = len(list(Path(checkpoint).glob("rng_state_*.pth"))) or 1
    if before != count():
        raise SclvlmError(
            f"{checkpoint}: written by {before} processes, now there are {count()}, and steps would be made of other "
            f"records. Start {before}, or make the stage anew with --redo train."
        )


def _set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true")
