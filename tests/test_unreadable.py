"""Training records whose pictures can't be read: left out and named, or the end of a strict run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sclvlm.config import LoraSection, ModelSection, TrainSection
from sclvlm.errors import SclvlmError
from sclvlm.pictures import PictureError
from sclvlm.rendering import Renderer
from sclvlm.storage import write_records
from sclvlm.training import train
from tests import families
from tests.pictured import pair


@pytest.fixture
def torn(shapes: list[str], tmp_path: Path) -> str:
    """A picture of which half is missing."""
    whole = Path(shapes[0]).read_bytes()
    path = tmp_path / "torn.png"
    path.write_bytes(whole[: len(whole) // 2])
    return str(path)


def trained(model: Path, folder: Path, images: list[str], features: str = "auto", *, strict: bool = False) -> list[str]:
    """Train on a pair about each of `images`; what data.json says of pictures that can't be read."""
    write_records(folder / "pairs.jsonl", [pair(image).model_copy(update={"id": Path(image).name}) for image in images])
    settings = TrainSection.model_validate(
        {
            "features": features,
            "lora": LoraSection(rank=2),
            "args": {"max_steps": 2, "per_device_train_batch_size": 2},
        }
    )
    where = ModelSection(path=str(model), device="cpu", dtype="float32")
    train(folder / "pairs.jsonl", folder / "run", model=where, settings=settings, seed=0, strict=strict)
    told = json.loads((folder / "run" / "data.json").read_text())
    assert told["records"] == len(images) - 1
    found: list[str] = told["left out"]["unreadable picture"]
    return found


@pytest.mark.parametrize("features", ["live", "cached"])
def test_a_record_with_a_torn_picture_is_left_out_and_named(
    features: str, tiny_model: Callable[[str], Path], shapes: list[str], torn: str, tmp_path: Path
) -> None:
    (left_out,) = trained(tiny_model("llava"), tmp_path, [torn, *shapes[:2]], features)
    assert left_out.startswith(f"torn.png: {torn}: expected a readable image")


def test_one_whose_picture_is_gone_is_left_out_too(
    tiny_model: Callable[[str], Path], shapes: list[str], tmp_path: Path
) -> None:
    (left_out,) = trained(tiny_model("llava"), tmp_path, [str(tmp_path / "gone.png"), *shapes[:2]])
    assert "gone.png: no such image" in left_out


def test_a_strict_run_ends_there(
    tiny_model: Callable[[str], Path], shapes: list[str], torn: str, tmp_path: Path
) -> None:
    with pytest.raises(SclvlmError, match=r"^record 'torn\.png': .*torn\.png: expected a readable image"):
        trained(tiny_model("llava"), tmp_path, [shapes[0], torn], strict=True)


def test_without_any_readable_picture_there_is_nothing_to_train_on(
    tiny_model: Callable[[str], Path], torn: str, tmp_path: Path
) -> None:
    with pytest.raises(SclvlmError, match=r"^none of 1 records has readable pictures\. torn\.png: "):
        trained(tiny_model("llava"), tmp_path, [torn])


def test_a_picture_that_the_processor_refuses_is_told_as_one() -> None:
    renderer = Renderer(families.build("qwen2_vl"))
    text = renderer.text(pair("strip.png").prompt, reply=True)
    with pytest.raises(PictureError, match="refuses the pictures: absolute aspect ratio"):
        renderer.encode([text], [[Image.new("RGB", (3000, 10))]])
