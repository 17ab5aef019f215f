"""Tiny models and pictures for every test that needs them, built once a session and never downloaded."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test may touch the network

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A law is no slower on a busy machine, only later.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests share the machine; spinning threads on busy cores are slower than none."""
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is read from or left in the user's cache directory."""
    os.environ["SCLVLM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of the tiny model called so (a key of tiny.FAMILIES), made at the first request."""
    import torch

    from tests import tiny

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("models")

    def directory(family: str) -> Path:
        folder = root / family
        return folder if folder.is_dir() else tiny.FAMILIES[family](folder)

    return directory


@pytest.fixture(scope="session")
def tiny_policy(tiny_model: Callable[[str], Path]) -> Callable[[str], Any]:
    """The tiny policy called so, loaded once: tests that change weights load their own."""
    from tests import tiny

    loaded: dict[str, Any] = {}

    def policy(family: str) -> Any:
        if family not in loaded:
            loaded[family] = tiny.load(tiny_model(family))
        return loaded[family]

    return policy


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Paths of four pictures that differ in colour, place and size of a rectangle."""
    from tests import tiny

    folder = tmp_path_factory.mktemp("pictures")
    boxes = [(0, 0, 32, 32), (20, 30, 60, 60), (5, 0, 15, 64), (0, 40, 64, 50)]
    colours = ["red", "blue", "lime", "yellow"]
    return [tiny.picture(folder / f"{colour}.png", colour, box) for colour, box in zip(colours, boxes, strict=True)]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_policy: Callable[[str], Any]) -> Path:
    """The folder of a whole run in small: run.yaml, samples.jsonl, words.yaml."""
    from tests.world import build

    return build(tmp_path_factory.mktemp("world"), tiny_policy("fast_vlm"))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Pictures of three shapes: square, wide, high."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("shapes")
    sizes = {"red": (64, 64), "lime": (120, 60), "blue": (50, 100)}
    for colour, size in sizes.items():
        image = Image.linear_gradient("L").resize(size).convert("RGB")
        image.paste(colour, (5, 10, 30, 40))
        image.save(folder / f"{colour}.png")
    return [str(folder / f"{colour}.png") for colour in sizes]
