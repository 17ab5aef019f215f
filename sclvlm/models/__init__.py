"""Load a policy: weights, processor, adapters; vision-language and text-only models alike."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from sclvlm.agents.policy import AgentConfig
from sclvlm.agents.trajectories import TrajectoryProcessor
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.launch import count, local_index
from sclvlm.models.quantization import Quantization, check_quantization, quantized
from sclvlm.records import ModelRef

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Policy:
    """A model with what turns messages into its inputs. `processor` is a tokenizer for text-only models."""

    model: Any
    processor: Any
    ref: ModelRef

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, alone or inside the processor."""
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def acts(self) -> bool:
        """Whether it plays in a world in place of talking; `processor` reads episodes then."""
        return isinstance(self.processor, TrajectoryProcessor)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Token ids that end a reply, the model's own first."""
        stop = self.model.generation_config.eos_token_id
        stop = self.tokenizer.eos_token_id if stop is None else stop
        return (stop,) if isinstance(stop, int) else tuple(stop)

    @property
    def pad_id(self) -> int:
        """The id that fills a row; always masked, so any id will do where a tokenizer has none."""
        pad = self.tokenizer.pad_token_id
        return self.stop_ids[0] if pad is None else int(pad)


def load_policy(
    path: str,
    *,
    revision: str | None = None,
    adapter: str | None = None,
    dtype: str = "auto",
    quantization: Quantization = "none",
    device: str = "auto",
    attention: str = "auto",
    trust_remote_code: bool = False,
) -> Policy:
    """The model at `path` (a directory or a hub id) on `device`, with the adapter in the directory `adapter`.

    dtype "auto" is bfloat16 where the hardware multiplies it natively, else float32. quantization: of the language
    model's weights. Only safetensors are read. Raises ConfigError when `path` or `adapter` names nothing or the
    quantization is not to be had, SclvlmError when what is there can't load.
    """
    where = resolve_device(device)
    check_model_path(path)
    check_quantization(quantization, where)
    number_type = resolve_dtype(dtype, where)
    source = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        auto_model, auto_processor = autos(AutoConfig.from_pretrained(path, **source))
        processor = auto_processor.from_pretrained(path, **source)
        model = auto_model.from_pretrained(
            path,
            dtype=number_type,
            attn_implementation=None if attention == "auto" else attention,
            use_safetensors=True,
            **quantized(quantization, number_type, where),
            **source,
        )
    except Exception as error:  # a torn file raises whatever the reader of its format does, also a bare Exception
        raise SclvlmError(f"model.path {path!r}: cannot load: {first_line(error)}") from error
    if adapter is not None:
        model = with_adapter(model, adapter)
    if quantization == "none":  # bitsandbytes has put it there, and refuses to move
        model = model.to(where)
    return Policy(model.eval(), processor, ModelRef(path=path, revision=revision, adapter=adapter))


def autos(config: Any) -> tuple[Any, Any]:
    """What loads a model of this config, and its processor."""
    if isinstance(config, AgentConfig):
        return AutoModelForCausalLM, TrajectoryProcessor
    sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return (AutoModelForImageTextToText, AutoProcessor) if sees else (AutoModelForCausalLM, AutoTokenizer)


def check_model_path(path: str) -> None:
    """Raise ConfigError unless `path` is a model directory or could be a hub id."""
    folder = Path(path)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ConfigError(
            f"model.path {path!r}: the directory has no config.json. Name a transformers model directory."
        )
    if not folder.is_dir() and not _may_be_hub_id(path):
        raise ConfigError(
            f"model.path {path!r}: no such directory. Name a transformers model directory or a hub id (owner/name)."
        )


def _may_be_hub_id(path: str) -> bool:
    # `runs/x` looks like owner/name too: what begins with a folder that exists here is meant as a path.
    owner, slash, _ = path.partition("/")
    return HUB_ID.fullmatch(path) is not None and owner not in (".", "..") and not (slash and Path(owner).is_dir())


def with_adapter(model: Any, adapter: str, *, trainable: bool = False) -> Any:
    """`model` wrapped in the adapter in the directory `adapter`.

    Raises ConfigError when there is none, SclvlmError when it does not fit the model.
    """
    if not (Path(adapter) / "adapter_config.json").is_file():
        raise ConfigError(f"model.adapter {adapter!r}: no adapter_config.json there. Name a directory peft wrote.")
    try:
        with peft_warnings_hidden():
            return PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
    except Exception as error:  # as above
        raise SclvlmError(
            f"model.adapter {adapter!r}: cannot load: {first_line(error)} Was it trained on this model?"
        ) from error


def first_line(error: Exception) -> str:
    """What an error says first; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def peft_warnings_hidden() -> Iterator[None]:
    """peft asks transformers for an attribute that was renamed; nothing a user could act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def resolve_device(device: str) -> torch.device:
    """`auto` is the accelerator if there is one, else the CPU. Each process of a machine has an accelerator of its own.

    Raises ConfigError for one that several processes would share.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    found = accelerator if device == "auto" else torch.device(device)
    if count() == 1 or found.type == "cpu":
        return found
    if found.index is not None:
        raise ConfigError(f"model.device {device!r}: {count()} processes can't share one. Set it to auto.")
    return torch.device(found.type, local_index())


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where `device` multiplies it natively (Ampere and later, CPUs with AMX), else float32."""
    if dtype != "auto":
        resolved: torch.dtype = getattr(torch, dtype)
        return resolved
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = device.type == "cpu" and torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def computing_dtype(model: Any) -> torch.dtype:
    """The number type that the model was loaded in and computes in; what trains is float32 beside it (`tuning`)."""
    dtype: torch.dtype = getattr(unwrapped(model), "computing_dtype", model.dtype)
    return dtype


def unwrapped(model: Any) -> Any:
    """The transformers model inside the wrappers of peft and of parallel training; adapters stay in place."""
    while isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner
    return model.get_base_model() if isinstance(model, PeftModel) else model


def accepts(model: Any, argument: str) -> bool:
    """Whether the model's forward declares `argument`."""
    return argument in inspect.signature(unwrapped(model).forward).parameters


def counts_positions(model: Any) -> bool:
    """Whether a token's position is the number of tokens before it, and may be passed as `position_ids`.

    Not for models that give pictures positions of their own (mrope), which they derive from the pictures' sizes.
    """
    return accepts(model, "position_ids") and rope_index(model) is None


def rope_index(model: Any) -> Callable[..., tuple[torch.Tensor, torch.Tensor]] | None:
    """The method by which a model with mrope places tokens and pictures; None for models without."""
    methods = (getattr(module, "get_rope_index", None) for module in unwrapped(model).modules())
    return next(filter(None, methods), None)


def has_cross_attention(model: Any) -> bool:
    """Whether tokens attend to an encoder, or look at pictures that stand beside the row in place of inside it."""
    config = unwrapped(model).config
    names = ("cross_attention_layers", "cross_layer_interval")
    return bool(config.is_encoder_decoder or any(getattr(config.get_text_config(), name, None) for name in names))


def placeholders(model: Any) -> list[int]:
    """Ids that stand for pictures, films or sounds in a prompt, and that `model` takes for such wherever they are."""
    names = [f"{kind}_token_{key}" for kind in ("image", "video", "audio") for key in ("id", "index")]
    found = {getattr(unwrapped(model).config, name, None) for name in names}
    return sorted(each for each in found if each is not None)


@contextmanager
def scoring(model: Any) -> Iterator[None]:
    """No gradients and no dropout inside, and the number types that training computes in."""
    training, dtype = model.training, computing_dtype(model)
    reduced = dtype is not torch.float32
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, dtype if reduced else None, enabled=reduced):
            yield
    finally:
        model.train(training)


UNFIT = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a model raises at inputs of a form that it was not made for."""


def rounding(model: Any) -> float:
    """Nats a token that two orders of adding up may differ by in the model's number type."""
    return 1e-3 if computing_dtype(model) is torch.float32 else 0.1
