"""What training leaves on disk: whole models, and the tensors that a run which was killed goes on from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from sclvlm.models import computing_dtype

LEARNED = "learned.safetensors"


def adapter_holds_all(model: Any) -> bool:
    """Whether all that trains in `model` is written by peft when it writes the adapter."""
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return isinstance(model, PeftModel) and all(".lora_" in name or ".modules_to_save." in name for name in trained)


def save_learned(model: Any, folder: Path) -> None:
    """Write what trains in `model` to `folder`, bit by bit: models rename and round tensors when they are saved."""
    tensors = {
        name: parameter.detach().contiguous() for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / LEARNED)


@torch.no_grad()
def load_learned(model: Any, folder: Path) -> None:
    """Read back what `save_learned` wrote of the same model."""
    parameters = dict(model.named_parameters())
    for name, tensor in load_file(folder / LEARNED).items():
        parameters[name].copy_(tensor)


def write_model(model: Any, processor: Any, out: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write `model`, its adapters folded in, as an ordinary model directory `out`; `model` is used up.

    dtype: of the weights written; by default the one that the model computes in. Folding is done in float32.
    """
    dtype = dtype or computing_dtype(model)
    whole = model.float()
    if isinstance(whole, PeftModel):
        whole = whole.merge_and_unload()
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed here
    whole.to(dtype).save_pretrained(partial)
    processor.save_pretrained(partial)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)
