"""A setting that nothing reads fails here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sclvlm.config import AskSection, Config, LabelSection, ModelSection, ReportSection, Section
from sclvlm.fingerprints import NEUTRAL

ROOT = Path(__file__).parents[1]
WHOLE: dict[type[Section], tuple[str, str]] = {  # sections handed over as keyword arguments
    ModelSection: ("models/__init__", "load_policy"),
    LabelSection: ("labeling", "label_pairs"),
    ReportSection: ("reporting/build", "build_report"),
}


def sections(model: type[Section] = Config) -> list[type[Section]]:
    """Every section of the config, nested ones too."""
    inner: list[type[Section]] = []
    for field in model.model_fields.values():
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner += [each for each in candidates if isinstance(each, type) and issubclass(each, Section)]
    return [model, *(deeper for each in dict.fromkeys(inner) for deeper in sections(each))]


def read_names() -> set[str]:
    """Attributes read by the modules that know the config, and names picked out by model_dump(include=...)."""
    found: set[str] = set()
    sources = [path.read_text() for path in (ROOT / "sclvlm").rglob("*.py")]
    for source in (each for each in sources if "sclvlm.config import" in each or "class Config" in each):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            if isinstance(node, ast.keyword) and node.arg == "include":
                found |= {each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)}
    return found


def used_parameters(module: str, function: str) -> set[str]:
    """The parameters of a function that its body uses."""
    path = ROOT / "sclvlm" / f"{module}.py"
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    node = next(each for each in nodes if each.name == function)
    parameters = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
    return parameters & {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


@pytest.mark.parametrize("section", [each for each in dict.fromkeys(sections()) if each not in (Config, *WHOLE)])
def test_every_setting_is_read_somewhere(section: type[Section]) -> None:
    assert set(section.model_fields) <= read_names()


@pytest.mark.parametrize("section", WHOLE)
def test_every_setting_of_a_section_handed_over_whole_is_used_by_who_takes_it(section: type[Section]) -> None:
    assert set(section.model_fields) <= used_parameters(*WHOLE[section])


def test_what_is_called_neutral_is_a_setting() -> None:
    assert set(AskSection.model_fields) >= NEUTRAL
