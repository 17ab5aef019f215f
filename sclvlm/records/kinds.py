"""Which kind of records a training file holds, told by the fields of its first line."""

from __future__ import annotations

import json
from pathlib import Path

from sclvlm.records import Demonstration, PreferencePair, UnpairedCompletion

Kind = type[PreferencePair] | type[Demonstration] | type[UnpairedCompletion]


def kind_of(path: Path) -> Kind:
    """Completions with a label, completions alone, or else pairs: also for what can't be read, whose reader tells."""
    if not path.is_file():
        return PreferencePair
    with path.open("rb") as lines:
        line = next((each for each in lines if each.strip()), b"")
    try:
        first = json.loads(line)
    except ValueError:
        return PreferencePair
    if not isinstance(first, dict) or "completion" not in first:
        return PreferencePair
    return UnpairedCompletion if isinstance(first.get("label"), bool) else Demonstration
