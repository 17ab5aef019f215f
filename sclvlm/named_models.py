"""The further models of an evaluation: what of the run's own model and questions holds for each of them."""

from __future__ import annotations

from typing import Any

from sclvlm.config import AskSection, ModelSection
from sclvlm.sections import NamedModel

SPOKEN = {"initial", "review", "marker", "turns", "draws", "temperature", "top_p", "max_new_tokens"}


def model_named(entry: NamedModel, own: ModelSection) -> ModelSection:
    """Where to load it. own: the run's model that it is said to be of, whose adapter goes with another path."""
    if entry.path is None:
        return own.model_copy(update=entry.model_dump(include={"revision", "adapter"}, exclude_none=True))
    return own.model_copy(update=entry.model_dump(include={"path", "revision", "adapter"}))


def asked_of(entry: NamedModel, ask: AskSection) -> AskSection:
    """How it is asked: as the others, but for what its entry says."""
    said: dict[str, Any] = entry.model_dump(include=SPOKEN, exclude_none=True)
    if entry.served is not None:
        said["server"] = ask.server.model_copy(update={"model": entry.served})
    return ask.model_copy(update=said)
