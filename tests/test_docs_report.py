"""docs/report.md tells every part and every field; `python -m tests.test_docs_report` writes its schema anew."""

from __future__ import annotations

import inspect
import re
import shlex
import types
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from sclvlm.cli import app
from sclvlm.reporting import Overview, Report, load_report
from tests.synthetic_run import write_run, write_runs

PAGE = Path(__file__).parents[1] / "docs" / "report.md"
HEAD = """## report.json

<!-- From here on written by `python -m tests.test_docs_report` from the models of sclvlm/reporting. -->

Of one run, and of two, it is a [Report](#report); of three or more runs an [Overview](#overview). Shares and p are
fractions of 1, differences of shares lie between −1 and 1, paths are relative to the file. Within a `schema_version`
fields may be added, never removed or given another meaning. What "may be missing" is not in files that were written
before it was added.
"""
PLAIN = {str: "string", int: "integer", float: "number", bool: "true or false", type(None): "null", Any: "anything"}


def kind(annotation: Any) -> str:
    """A type as JSON has it."""
    inner = get_args(annotation)
    if annotation in PLAIN:
        return PLAIN[annotation]
    if get_origin(annotation) is Literal or (isinstance(annotation, type) and issubclass(annotation, StrEnum)):
        return " or ".join(f"`{getattr(each, 'value', each)}`" for each in inner or annotation)
    if get_origin(annotation) in (types.UnionType, Union):
        return " or ".join(map(kind, inner))
    if get_origin(annotation) is dict:
        return f"{kind(inner[1])} by {kind(inner[0])}"
    if get_origin(annotation) is tuple:
        return f"list of {kind(inner[0])}" if inner[-1] is ... else f"[{', '.join(map(kind, inner))}]"
    if issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return f"[{', '.join(annotation._fields)}]"  # a named tuple of numbers


def models(*roots: type[BaseModel]) -> list[type[BaseModel]]:
    """The models that a file of `roots` holds, each before those inside it."""
    found = dict.fromkeys(roots)
    for model in roots:
        for field in model.model_fields.values():
            found |= dict.fromkeys(models(*inside(field.annotation)))
    return list(found)


def inside(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names."""
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for each in get_args(annotation) for model in inside(each)]


def schema() -> str:
    """The part of the page that tells the fields."""
    return "\n".join([HEAD, *map(section, models(Report, Overview))])


def section(model: type[BaseModel]) -> str:
    """A model with its fields."""
    rows = [
        f"| `{name}` | {kind(field.annotation)} | {'' if field.is_required() else 'may be missing'} |"
        for name, field in model.model_fields.items()
    ]
    told = inspect.getdoc(model) or ""
    return "\n".join(
        [f"### {model.__name__}", "", told, "", "| field | what it is | |", "| --- | --- | --- |", *rows, ""]
    )


def page() -> str:
    """The page as it is."""
    return PAGE.read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """Every command that the page shows in a block."""
    blocks = re.findall(r"```sh\n(.*?)```", page(), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def test_the_schema_on_the_page_is_that_of_the_models() -> None:
    assert page().partition("## report.json")[1:] == ("## report.json", schema().removeprefix("## report.json"))


@pytest.mark.parametrize("model", models(Report, Overview))
def test_every_part_of_a_report_says_what_it_is(model: type[BaseModel]) -> None:
    assert model.__doc__


def test_every_part_that_a_report_shows_is_explained(tmp_path: Path) -> None:
    html = (write_run(tmp_path, 12, pictures=3) / "report" / "report.html").read_text(encoding="utf-8")
    shown = re.findall(r"<h2>(.*?)</h2>", html)
    assert len(shown) > 7
    assert [part for part in shown if f"\n| {part} | " not in page()] == []


def test_the_commands_of_the_page_compare_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_runs(tmp_path, ("demo", "beta", "demo_seed1"), 6)
    for command in commands():
        ended = CliRunner().invoke(app, [*command[1:], "report.resamples=100"])
        assert ended.exit_code == 0, ended.output
    assert load_report(Path("comparison/report.json")).names == ("demo", "beta")
    found = Overview.model_validate_json(Path("overview/report.json").read_text(encoding="utf-8"))
    assert [each.run for each in found.runs] == ["demo/before", "demo", "beta"]
    assert found.noise is not None


if __name__ == "__main__":
    PAGE.write_text(page().partition("## report.json")[0] + schema(), encoding="utf-8")
