"""Every module can be imported by itself, without a warning, and the light ones stay light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "peft", "accelerate")
LIGHT_ROOMS = (
    *("records", "errors", "storage", "config", "prompts", "answers", "export", "progress", "runs", "fingerprints"),
    *("grading", "labeling", "metrics", "reporting", "viewing", "evaluation", "preflight", "pipeline", "cli"),
    *("engines.server", "self_correction", "pictures", "audit", "likeness", "auditing", "comparing"),
)

# Own modules are forgotten before each import, so that each is imported as if it were the first; outside
# packages stay, so that torch is loaded once. A warning is an error only while own modules are imported.
IMPORT_EACH = """
import importlib, json, sys, warnings
failures = {}
for name in sys.argv[1:]:
    for known in [key for key in sys.modules if key.split(".")[0] in ("sclvlm", "data_pipelines")]:
        del sys.modules[known]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            importlib.import_module(name)
    except BaseException as error:
        failures[name] = f"{type(error).__name__}: {error}"
print(json.dumps(failures))
"""


def modules() -> list[str]:
    """The dotted names of all modules."""
    paths = [path for folder in ("sclvlm", "data_pipelines") for path in sorted((ROOT / folder).rglob("*.py"))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def fresh(code: str, *arguments: str) -> str:
    """What `code` prints in a new interpreter."""
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module", name="failures")
def import_failures() -> dict[str, str]:
    """Module to the error or warning its import gave."""
    found: dict[str, str] = json.loads(fresh(IMPORT_EACH, *modules()).splitlines()[-1])
    return found


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_by_itself_without_a_warning(name: str, failures: dict[str, str]) -> None:
    assert failures.get(name) is None


@pytest.mark.parametrize("room", [room for room in LIGHT_ROOMS if f"sclvlm.{room}" in modules()])
def test_a_light_room_does_not_load_torch(room: str) -> None:
    code = f"import sys, sclvlm.{room}; print([name for name in {HEAVY} if name in sys.modules])"
    assert fresh(code).strip() == "[]"


def test_the_package_has_modules() -> None:
    assert "sclvlm.records" in modules()
