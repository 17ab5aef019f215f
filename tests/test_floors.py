"""The plan of the house: what may import what, and how large a room may grow."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS: dict[str, tuple[str, ...]] = {
    "words": ("records", "errors"),
    "text": (
        "storage",
        "config",
        "sections",
        "parts",
        "prompts",
        "answers",
        "export",
        "screening",
        "suites",
        "launch",
        "progress",
        "runs",
        "fingerprints",
        "named_models",
    ),
    "judgement": (
        *("keys", "grading", "labeling", "metrics", "scoreboard", "audit", "pictures", "likeness"),
        *("reporting", "viewing"),
    ),
    "mathematics": ("losses", "objective"),
    "models": (*("models", "rendering", "attention", "layouts", "features", "tuning", "agents", "processes"),),
    "batches": ("encodings", "collation", "trajectories", "collators", "references", "engines", "rollouts"),
    "stages": (
        *("self_correction", "trainer", "training", "evaluation", "preflight", "questions", "asking"),
        *("auditing", "pipeline", "targets", "aligning", "comparing"),
    ),
    "door": ("cli", "__main__"),
}
# What a floor may import from outside, beside the standard library and what the floors below may.
OUTSIDE: dict[str, tuple[str, ...]] = {
    "words": ("pydantic", "pydantic_core"),
    "text": ("yaml", "datasets", "pyarrow", "rich"),
    "judgement": ("numpy", "scipy", "jinja2", "evaluate", "PIL"),
    "mathematics": ("torch",),
    "models": ("transformers", "peft", "safetensors"),
    "batches": ("httpx2", "anyio"),
    "stages": ("accelerate",),
    "door": ("typer",),
}
# The floors that a folder beside the package may import, and the folder it must not.
BESIDE = {
    "data_pipelines": (("words", "text"), "benchmarks"),
    "benchmarks": (("words", "text", "judgement", "mathematics", "models", "batches", "stages"), "data_pipelines"),
}
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "registry", "misc"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 80

HEIGHT = {room: height for height, rooms in enumerate(FLOORS.values()) for room in rooms}


def module_name(path: Path) -> str:
    """The dotted name of the module in `path`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(path): path
    for folder in ("sclvlm", "data_pipelines", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
PACKAGE = [name for name in FILES if name.startswith("sclvlm.")]
PLACED = [name for name in PACKAGE if name.split(".")[1] in HEIGHT]


def imported(name: str) -> set[str]:
    """Every module that the module called `name` imports anywhere, also inside functions."""
    path = FILES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return {found for node in ast.walk(tree(name)) for found in _named(node, package)}


def tree(name: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def _named(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        origin = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            yield full if (full := f"{origin}.{alias.name}") in FILES else origin


def room(name: str) -> str:
    """The room of a module of the package; empty for the package itself."""
    return name.split(".")[1] if "." in name else ""


def outside(name: str) -> set[str]:
    """The third-party packages that a module imports."""
    tops = {found.split(".")[0] for found in imported(name)}
    return tops - {"sclvlm", "data_pipelines", "benchmarks", "__future__", *sys.stdlib_module_names}


def own(name: str) -> set[str]:
    """The rooms of the package that a module imports."""
    return {room(found) for found in imported(name) if found.split(".")[0] == "sclvlm"} - {""}


def test_every_room_has_a_floor() -> None:
    homeless = {room(name) for name in PACKAGE} - set(HEIGHT)
    assert not homeless, f"give each a place in FLOORS: {sorted(homeless)}"


def test_every_floor_says_what_it_may_import_from_outside() -> None:
    assert list(FLOORS) == list(OUTSIDE)


@pytest.mark.parametrize("name", PLACED)
def test_an_import_goes_to_the_same_floor_or_below(name: str) -> None:
    above = {found for found in own(name) if HEIGHT.get(found, 0) > HEIGHT[room(name)]}
    assert not above, f"{name} imports from a higher floor: {sorted(above)}"


@pytest.mark.parametrize("name", PLACED)
def test_a_floor_imports_only_its_packages_from_outside(name: str) -> None:
    floors = list(OUTSIDE.values())[: HEIGHT[room(name)] + 1]
    allowed = {package for packages in floors for package in packages}
    assert outside(name) <= allowed


def test_no_import_goes_in_a_circle() -> None:
    graph = {name: imported(name) & set(FILES) - {name} for name in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", ["sclvlm", *PACKAGE])
def test_the_package_imports_neither_folder_beside_it(name: str) -> None:
    assert not {found.split(".")[0] for found in imported(name)} & set(BESIDE)


@pytest.mark.parametrize("name", [name for name in FILES if name.split(".")[0] in BESIDE])
def test_a_folder_beside_the_package_imports_only_its_floors(name: str) -> None:
    floors, other = BESIDE[name.split(".")[0]]
    allowed = {found for floor in floors for found in FLOORS[floor]}
    assert own(name) <= allowed
    assert other not in {found.split(".")[0] for found in imported(name)}


@pytest.mark.parametrize("name", FILES)
def test_a_module_is_named_after_what_it_does(name: str) -> None:
    assert not NAMELESS & {word for part in name.split(".") for word in part.split("_")}


@pytest.mark.parametrize("name", FILES)
def test_a_file_can_be_read_in_one_sitting(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("name", FILES)
def test_a_function_fits_on_a_screen(name: str) -> None:
    functions = [node for node in ast.walk(tree(name)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION}
    assert not long
