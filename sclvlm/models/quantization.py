"""The language model in 8 or 4 bits: LLM.int8 (arXiv 2208.07339), and the NF4 of QLoRA (arXiv 2305.14314)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch
from transformers import BitsAndBytesConfig

from sclvlm.errors import ConfigError
from sclvlm.parts import PROJECTOR_NAMES, VISION_NAMES

Quantization = Literal["none", "8bit", "4bit"]
# Patterns of names. Only adapters train on quantized weights, so the parts that may train whole are left as they are.
LEFT = ("lm_head", rf"(.*\.)?({VISION_NAMES})", rf"(.*\.)?({PROJECTOR_NAMES})")


def check_quantization(kind: Quantization, device: torch.device) -> None:
    """Raise ConfigError unless weights can be held in `kind` on `device`."""
    if kind == "none":
        return
    if device.type != "cuda":
        raise ConfigError(
            f"model.quantization: {kind} needs a CUDA device, the model goes to {device}. "
            "Set model.quantization to none, or model.device to cuda."
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"model.quantization: {kind} needs the package bitsandbytes, which is not installed. "
            "Run `pip install sclvlm[qlora]`, or set it to none."
        )


def quantized(kind: Quantization, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What makes `from_pretrained` hold the language model in `kind` on `device`, and compute in `dtype`.

    4bit is NF4, its constants quantized again. Image encoder, projector and output layer stay in `dtype`.
    """
    if kind == "none":
        return {}
    bits: dict[str, dict[str, Any]] = {
        "8bit": {"load_in_8bit": True},
        "4bit": {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": dtype,
        },
    }
    config = BitsAndBytesConfig(**bits[kind], llm_int8_skip_modules=list(LEFT))
    return {"quantization_config": config, "device_map": {"": device}}  # quantized on its way to the device
