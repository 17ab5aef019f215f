from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sclvlm.collation import Collator, agreed_features
from sclvlm.config import ModelSection, TrainSection
from sclvlm.encodings import Encodings, encode_once
from sclvlm.errors import ConfigError
from sclvlm.features import FeatureCache
from sclvlm.models import Policy
from sclvlm.records import PreferencePair, text_message
from sclvlm.rendering import Renderer
from sclvlm.storage import write_records
from sclvlm.training import train
from sclvlm.tuning import Lora, tune
from tests import families
from tests.pictured import ROOMY, adapted, pair


def words() -> PreferencePair:
    """A pair without a picture."""
    return PreferencePair(
        id="words",
        prompt=[text_message("user", "What is it?")],
        chosen=[text_message("assistant", "y")],
        rejected=[text_message("assistant", "no")],
    )


@pytest.fixture
def records(shapes: list[str]) -> list[PreferencePair]:
    """About one picture, about two, about none."""
    return [pair(shapes[2]), pair(*shapes[:2]), words()]


def encoded(renderer: Renderer, records: list[PreferencePair], folder: Path) -> Encodings:
    return encode_once(renderer, records, FeatureCache(renderer.policy, folder, limit_gb=ROOMY))


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3"])
def test_batches_hold_what_the_processor_gives_but_for_pixels(
    family: str, records: list[PreferencePair], tmp_path: Path
) -> None:
    renderer = Renderer(adapted(family))
    expected = Collator(renderer)(records)["inputs"]
    found = Collator(renderer, encodings=encoded(renderer, records, tmp_path))(records)["inputs"]
    others = {name for name in expected if not name.startswith("pixel_")}
    assert found.keys() == others | {"mm_encoder_outputs"}
    assert all(torch.equal(found[name], expected[name]) for name in others)


def test_the_processor_is_not_asked_again(
    records: list[PreferencePair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = Renderer(adapted("llava"))
    encodings = encoded(renderer, records, tmp_path)

    def refuse(*_: Any) -> None:
        raise AssertionError("the processor was asked")

    monkeypatch.setattr(Renderer, "encode", refuse)
    assert Collator(renderer, encodings=encodings)(records)["ids"] == [record.id for record in records]


def test_a_workers_copy_reads_the_same_and_claims_nothing(records: list[PreferencePair], tmp_path: Path) -> None:
    renderer = Renderer(adapted("llava"))
    encodings = encoded(renderer, records, tmp_path)
    copy = pickle.loads(pickle.dumps(encodings))
    assert copy.cache is None
    assert copy.prompts == encodings.prompts


def test_a_projector_that_trains_keeps_features_live(records: list[PreferencePair]) -> None:
    bare = families.build("llava")
    model = tune(bare.model, Lora(2, 4, 0.0, ["q_proj"]), projector="full")
    renderer = Renderer(Policy(model, bare.processor, bare.ref))
    assert agreed_features("auto", renderer, records, limit_gb=ROOMY) is None
    with pytest.raises(ConfigError, match=r"train\.features: .*is trained, so the features .*Set it to live"):
        agreed_features("cached", renderer, records, limit_gb=ROOMY)


def test_features_that_change_scores_are_not_agreed_on(
    records: list[PreferencePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = Renderer(adapted("llava"))
    monkeypatch.setattr("sclvlm.collation.why_not_exact", lambda *_: "they change its scores by 1 nat")
    assert agreed_features("auto", renderer, records, limit_gb=ROOMY) is None
    with pytest.raises(ConfigError, match="they change its scores by 1 nat"):
        agreed_features("cached", renderer, records, limit_gb=ROOMY)


def test_words_alone_need_no_features() -> None:
    assert agreed_features("auto", Renderer(adapted("llava")), [words()], limit_gb=ROOMY) is None


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("family", ["fast_vlm", "qwen"])
def test_kept_features_train_as_live_ones(
    family: str, workers: int, tiny_model: Callable[[str], Path], shapes: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "pairs.jsonl"
    pictures = tmp_path / "images"
    pictures.mkdir()
    for shape in shapes:
        (pictures / Path(shape).name).write_bytes(Path(shape).read_bytes())
    write_records(file, [pair(str(pictures / Path(shape).name)) for shape in shapes])
    model = ModelSection(path=str(tiny_model(family)), dtype="float32", device="cpu")
    losses = {}
    for features in ("cached", "live"):
        args = {"max_steps": 3, "logging_steps": 1, "learning_rate": 1e-2, "dataloader_num_workers": workers}
        settings = TrainSection.model_validate({"features": features, "lora": {"dropout": 0.0}, "args": args})
        train(file, tmp_path / features, model=model, settings=settings, seed=0)
        history = json.loads((tmp_path / features / "history.json").read_text(encoding="utf-8"))
        losses[features] = [logged["loss"] for logged in history if "rewards/margins" in logged]
    assert len(losses["cached"]) == 3
    assert losses["cached"] == pytest.approx(losses["live"], abs=1e-4)
    assert losses["cached"][-1] < losses["cached"][0]
