"""docs/config.md lists every setting; `python -m tests.test_docs` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from sclvlm.config import Config, Section

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
HEAD = """# Settings

<!-- Written by `python -m tests.test_docs` from sclvlm/config.py. -->

One YAML file describes one run. Every key can be given on the command line too: `section.key=value`. A stage runs
when its section is there; a bare `label:` takes the defaults, and `label=null` on the command line leaves it out.
"""


def section_of(annotation: Any) -> type[Section] | None:
    """The Section class in an annotation, optional or not."""
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, Section)), None)


def keys(model: type[Section], prefix: str = "") -> dict[str, Any]:
    """Dotted key to field, of every setting below `model`."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        inner = section_of(field.annotation)
        named = "NAME." if str(field.annotation).startswith("dict[") else ""
        found |= keys(inner, f"{prefix}{name}.{named}") if inner else {f"{prefix}{name}": field}
    return found


def kind(field: Any) -> str:
    """The type of a setting, as a reader says it, with its bounds."""
    text = getattr(field.annotation, "__name__", "") if isinstance(field.annotation, type) else ""
    text = text if text and "[" not in str(field.annotation) else str(field.annotation)
    text = re.sub(r"(typing\.)?Literal\[(.*?)\]", lambda match: match[2].replace("'", "").replace(", ", " or "), text)
    text = text.replace("typing.", "").replace(" | None", "")
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{signs[name]} {getattr(each, name)}" for each in field.metadata for name in signs if hasattr(each, name)
    ]
    return ", ".join([text, *bounds])


def one_line(text: str) -> str:
    """A cell of a table ends with its line."""
    return " ".join(text.split())


def default(field: Any) -> str:
    """The default in YAML."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return ""
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def markdown() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, field in Config.model_fields.items():
        model = section_of(field.annotation)
        assert model is not None
        rows = [
            f"| `{key}` | {kind(each)} | {default(each)} | {one_line(each.description)} |"
            for key, each in keys(model).items()
        ]
        parts.append("\n".join([f"## {name}", "", model.__doc__ or "", "", "| key | type | default | meaning |"]))
        parts[-1] += "\n" + "\n".join(["|---|---|---|---|", *rows]) + "\n"
    return "\n".join(parts)


@pytest.mark.parametrize("key", keys(Config))
def test_every_setting_has_a_meaning(key: str) -> None:
    assert keys(Config)[key].description


def test_the_page_is_what_the_config_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown()


def test_every_setting_stands_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [key for key in keys(Config) if f"`{key.split('.', 1)[1]}`" not in page] == []


if __name__ == "__main__":
    PAGE.write_text(markdown(), encoding="utf-8")
