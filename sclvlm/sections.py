"""What every part of the config is, and the parts that belong to one way of training alone."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

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


KEY_VARIABLE = "OPENAI_API_KEY"


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):  # and what it is then is not shown
        raise ValueError(
            f"must be the name of an environment variable that holds the key, such as {KEY_VARIABLE}, and not the key"
        )
    return name


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


class ServerSection(Section):
    """The servers of engine: server, and how they are asked."""

    urls: list[str] = Field(default_factory=list)
    """Where OpenAI-compatible servers of the same model answer, such as http://node1:8000/v1; each request goes to the
    emptiest one."""
    model: str | None = None
    """The name they serve the model by; by default the only one that they list. model.path is what train starts from,
    and nothing else then."""
    trained: str | None = None
    """The name they serve what train has made by (an adapter, say): evaluate asks it after training."""
    concurrency: int = Field(default=32, ge=1)
    """Conversations that each process of the run has in flight at once, over all servers."""
    timeout: float = Field(default=600.0, gt=0.0)
    """Seconds to wait for one reply."""
    retries: int = Field(default=8, ge=0)
    """Further attempts where a server is overloaded, fails or is gone, with growing pauses between them."""
    api_key_env: Annotated[str, AfterValidator(_variable)] = KEY_VARIABLE
    """The environment variable that holds the API key, if they ask for one. The key itself is written nowhere."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request, as the servers know them, such as top_k or chat_template_kwargs."""


class NamedModel(Section):
    """One more model, or one more way of asking, that evaluate measures: what is not said is as for the run's own."""

    of: Literal["before", "after"] = "before"
    """Which of the run's models it is where it names no other: the one before training, or what train makes."""
    path: str | None = None
    """Another transformers model directory or hub id, without the adapter of the run's model."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    adapter: str | None = None
    """A directory of a peft adapter on it."""
    served: str | None = None
    """The name the servers of evaluate.server serve it by; engine: server needs it for another path or adapter."""
    initial: str | None = None
    """Prompt of the first turn, such as direct."""
    review: str | None = None
    """Prompt of the further turns."""
    marker: str | None = None
    """What the final answer is asked to stand between."""
    turns: int | None = Field(default=None, ge=1)
    """Answers a conversation."""
    draws: int | None = Field(default=None, ge=1)
    """Conversations a question."""
    temperature: float | None = Field(default=None, ge=0.0)
    """0 is greedy decoding."""
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    """Sample from the most likely tokens that hold this share of probability."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Longest answer in tokens."""

    @model_validator(mode="after")
    def _is_one_model(self) -> Self:
        if self.of == "after" and (self.path or self.revision or self.adapter):
            raise ValueError("of: after is what train makes: remove path, revision and adapter, or of")
        return self


TAKEN = frozenset(
    ("before", "after", "stage", "table", "headline", "stage.json", "facts.json", "suite.json", "suite.md")
)


def _folders(models: dict[str, NamedModel]) -> dict[str, NamedModel]:
    for name in models:
        if name in TAKEN or not re.fullmatch(r"\w[\w.+-]*", name):
            raise ValueError(
                f"a model's name is that of its folder: letters, digits and _ . + - and none of "
                f"{', '.join(sorted(TAKEN))}, got {name!r}"
            )
    return models


NamedModels = Annotated[dict[str, NamedModel], AfterValidator(_folders)]
