"""The other side of the comparisons: TRL's DPOTrainer on the same model directory, pairs, adapters and loss."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig
from transformers import TrainerCallback

from sclvlm.config import LoraSection
from sclvlm.models import Policy, load_policy
from sclvlm.parts import PROJECTOR, VISION

# Dropout off: TRL switches every dropout off by default, that of the adapters too, and both sides shall compute
# the same.
LORA = LoraSection(dropout=0.0)
BETA = 0.1

# Where this departs from TRL 1.16's defaults, and why. Reports go nowhere and nothing is saved on both sides.
TRL_SETTINGS: dict[str, Any] = {
    "gradient_checkpointing": False,  # default True: every forward twice, to save memory that is not short here
    "bf16": False,  # default True: mixed precision, whereas both sides shall compute in the weights' own type
    "max_length": None,  # default 1024: truncates, and so cuts prompts whose images are longer
    "loss_type": ["sigmoid"],  # the default, DPO
    "beta": BETA,
    "remove_unused_columns": True,  # the default
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
    "dataloader_pin_memory": False,
}
# Left at its default: padding_free (1.16 ignores it), dataloader_num_workers 0 (as ours), disable_dropout True.
# precompute_ref_log_probs is on where 1.16 allows it, which is without images.


class PeerMissingError(SystemExit):
    """TRL isn't installed. Ends a script with its message and exit code 1."""


def version() -> str:
    """TRL's version. Raises PeerMissingError when it isn't installed."""
    try:
        import trl
    except ImportError as error:
        raise PeerMissingError("trl isn't installed. Install the bench extra: pip install -e '.[bench]'") from error
    return str(trl.__version__)


def load(model: Path) -> Policy:
    """The model directory in float32 on the CPU, with the attention that transformers picks."""
    return load_policy(str(model), dtype="float32", device="cpu")


def trl_trainer(
    policy: Policy, pairs: Path, folder: Path, *, callbacks: Sequence[TrainerCallback] = (), **arguments: Any
) -> Any:
    """A DPOTrainer that puts fresh adapters on `policy`, with TRL_SETTINGS overlaid by `arguments`.

    folder: takes its output and what `datasets` caches; a new one starts from empty caches.
    """
    version()
    with quiet():
        from trl import DPOConfig, DPOTrainer

        records = dataset(pairs, folder / "cache")
        precompute = "images" not in records.column_names
        settings = {**TRL_SETTINGS, "precompute_ref_log_probs": precompute, **arguments}
        return DPOTrainer(
            model=policy.model,
            args=DPOConfig(output_dir=str(folder / "trl"), **settings),
            train_dataset=records,
            processing_class=policy.processor,
            peft_config=lora_config(policy.model),
            callbacks=list(callbacks),
        )


def trl_train(trainer: Any) -> None:
    """Train, without the warnings that TRL causes in transformers."""
    with quiet():
        trainer.train()


def dataset(pairs: Path, cache: Path) -> Any:
    """The pairs file as a TRL user opens it: images decoded by `datasets` when they are asked for."""
    from datasets import Image, List, load_dataset

    with contextlib.chdir(pairs.parent):  # image paths are relative to the file
        records = load_dataset("json", data_files=str(pairs.resolve()), split="train", cache_dir=str(cache))
    records = records.remove_columns([name for name in ("id", "source", "meta") if name in records.column_names])
    if not records[0]["images"]:
        return records.remove_columns(["images"])  # TRL takes the mere column for vision data
    folder = pairs.resolve().parent
    absolute = [[str(folder / name) for name in names] for names in records["images"]]
    return records.remove_columns(["images"]).add_column("images", absolute).cast_column("images", List(Image()))


def lora_config(model: Any) -> LoraConfig:
    """The adapters that `sclvlm.tuning.tune` makes of LORA: the same linear layers of the language model."""
    return LoraConfig(
        r=LORA.rank, lora_alpha=LORA.alpha, lora_dropout=LORA.dropout, target_modules=adapted_layers(model)
    )


def adapted_layers(model: Any) -> list[str]:
    """Names of the linear layers that get an adapter."""
    ending = re.compile(rf"(^|\.)({'|'.join(LORA.targets)})$")
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and ending.search(name)
        and not VISION.search(name)
        and not PROJECTOR.search(name)
    ]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """TRL and peft ask transformers for names that were changed, and `datasets` draws bars: no news here."""
    import datasets

    datasets.disable_progress_bars()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(sys.stderr),
        patch.dict(os.environ, TQDM_DISABLE="1"),
    ):
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
