"""A model's shape without its weights: enough to render what it would read."""

from __future__ import annotations

import torch
from transformers import AutoConfig

from sclvlm.errors import SclvlmError
from sclvlm.models import Policy, autos, check_model_path, first_line
from sclvlm.records import ModelRef


def load_outline(path: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Policy:
    """The policy at `path` with no weights in memory: it can't compute. Raises as `load_policy` does."""
    check_model_path(path)
    source = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(path, **source)
        auto_model, auto_processor = autos(config)
        processor = auto_processor.from_pretrained(path, **source)
        with torch.device("meta"):
            model = auto_model.from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:  # as for load_policy
        raise SclvlmError(f"model.path {path!r}: cannot load: {first_line(error)}") from error
    return Policy(model, processor, ModelRef(path=path, revision=revision))
