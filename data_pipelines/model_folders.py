"""Model directories made by a recipe: converted once, shared from the user's cache, made anew with a new recipe."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from data_pipelines.packages import cache_dir
from sclvlm.errors import SclvlmError
from sclvlm.storage import partial_path, write_text

RECIPE = "recipe.txt"  # in the model directory: what made it


class Recipe(NamedTuple):
    """How a model is made. mark: changes with anything that changes the model. convert: writes it, from a cache."""

    name: str
    mark: str
    convert: Callable[[Path, Path], None]


def build(out: Path, cache: Path, recipe: Recipe) -> None:
    """The model in `out`, converted once per recipe and then shared from `cache`."""
    converted = cache / f"{recipe.name}-{recipe.mark}"
    if not converted.is_dir():
        recipe.convert(cache, converted)
    partial = partial_path(out)
    shutil.copytree(converted, partial, copy_function=_link_or_copy)
    write_text(partial / RECIPE, recipe.mark)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)


def is_built(out: Path, recipe: Recipe) -> bool:
    """Whether `out` holds the model that `recipe` makes."""
    made_by = out / RECIPE
    return made_by.is_file() and made_by.read_text(encoding="utf-8") == recipe.mark


def command(description: str | None, recipe: Recipe, arguments: list[str] | None) -> int:
    """Build the model that the command line asks for unless it is there already, as the recipe makes it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the model directory to write")
    out = parser.parse_args(arguments).out
    if is_built(out, recipe):
        print(f"{out}: already built")
        return 0
    try:
        _check_replaceable(out)
        build(out, cache_dir(), recipe)
    except SclvlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{out}: built")
    return 0


def _check_replaceable(out: Path) -> None:
    """Refuse to remove a folder that no recipe made."""
    if out.exists() and not (out / RECIPE).is_file():
        raise SclvlmError(
            f"{out}: expected nothing there, or a model with the {RECIPE} that this module writes. "
            "Remove it, or name another --out."
        )


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
