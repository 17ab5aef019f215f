"""What every part of the config is, and the parts that belong to one way of training alone."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

LOSS_NAMES = (
    "dpo",
    "robust",
    "ipo",
    "ipo_sum",
    "hinge",
    "exo",
    "hybrid_dpo",
    "hypo",
    "apo_zero",
    "apo_down",
    "sppo",
    "nca",
    "kto",
    "orpo",
    "simpo",
    "cpo",
    "sft",
)


def _named(loss: str) -> str:
    if loss not in LOSS_NAMES and ":" not in loss:
        near = get_close_matches(loss, LOSS_NAMES, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"must be one of {', '.join(LOSS_NAMES)}, or your own as module:function, got {loss!r}.{meant}"
        )
    return loss


LossName = Annotated[str, AfterValidator(_named)]


class Section(BaseModel):
    """A part of the config: unknown keys are errors, wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class OnlineSection(Section):
    """How the policy answers the prompts of a training step itself: at temperature 1, of all tokens."""

    samples: int = Field(default=2, ge=1)
    """Completions a prompt and step (hypo). From 2 on each one's baseline is the mean of the others. None are drawn for
    held-out records, which are measured by their pairs alone."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest such completion in tokens; a longer one is cut, and then scored without an end. They come on top of
    what max_length and tokens_per_batch allow."""
