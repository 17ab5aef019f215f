"""How much a model can read at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sclvlm.errors import SclvlmError


def context_of(config: Any) -> int | None:
    """The most tokens a model of this config was made for, prompt and answer together; None where it doesn't say."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit else None


def check_fits(config: Any, lengths: Iterable[int]) -> None:
    """Raise SclvlmError for a prompt that leaves no room for an answer; lengths: tokens, pictures included.

    Models compute on beyond what they were made for, and write nonsense.
    """
    limit, longest = context_of(config), max(lengths)
    if limit is not None and longest >= limit:
        raise SclvlmError(
            f"the prompt has {longest} tokens, pictures included, and the model reads {limit} at most, its answer "
            "included. Shorten the question, or give it fewer or smaller pictures."
        )
