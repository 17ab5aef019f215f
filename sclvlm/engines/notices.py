"""What a user is told about a model, once and not with every batch."""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)

_SAID: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def say_once(model: Any, text: str) -> None:
    """Log `text` as a warning, if that was not done for `model` before."""
    said = _SAID.setdefault(model, set())
    if text not in said:
        said.add(text)
        log.warning(text)
