"""Kept features stand for pixels exactly, or there is a reason not to keep them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from sclvlm.collation import logps
from sclvlm.features import picture_weights, why_not_cached, why_not_exact
from sclvlm.features.files import Features
from sclvlm.models import Policy
from sclvlm.records import PreferencePair
from sclvlm.tuning import Lora, tune
from tests import families
from tests.pictured import SEEING, adapted, both, learning, pair

# Families without kept features, and what a user who asks for them is told.
UNCACHED = dict.fromkeys((*families.READING, "mamba", "qwen3_next"), "it has no get_image_features")


@pytest.fixture(name="seen", params=SEEING)
def seeing(request: pytest.FixtureRequest) -> Policy:
    return adapted(request.param)


@pytest.fixture
def pairs(shapes: list[str]) -> list[PreferencePair]:
    """Three pairs, about one, two and one picture."""
    return [pair(shapes[2]), pair(*shapes[:2]), pair(shapes[1])]


@torch.no_grad()
def test_scores_are_those_with_pixels(seen: Policy, pairs: list[PreferencePair], tmp_path: Path) -> None:
    pixels, features = (logps(seen.model, batch).sums for batch in both(seen, pairs, tmp_path))
    torch.testing.assert_close(features, pixels, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", families.SEEING)
def test_scores_are_those_with_pixels_in_shared_rows(family: str, pairs: list[PreferencePair], tmp_path: Path) -> None:
    model = adapted(family).model
    pixels, features = (logps(model, batch).sums for batch in both(adapted(family), pairs, tmp_path, "shared"))
    torch.testing.assert_close(features, pixels, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_features_of_other_pictures_give_other_scores(seen: Policy, shapes: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other.png"  # else the tests above could not fail
    Image.new("RGB", (64, 64), "yellow").save(other)
    one, two = (logps(seen.model, both(seen, [pair(each)], tmp_path)[1]).sums for each in (shapes[0], str(other)))
    assert (one - two).abs().max() > 1e-3


def test_adapters_learn_what_they_learn_with_pixels(seen: Policy, pairs: list[PreferencePair], tmp_path: Path) -> None:
    pixels, features = (
        torch.cat([slope.flatten() for slope in torch.autograd.grad(logps(seen.model, batch).sums.sum(), adapters)])
        for batch, adapters in ((batch, learning(seen.model)) for batch in both(seen, pairs, tmp_path))
    )
    assert (pixels - features).norm() < 1e-4 * pixels.norm()


def test_nothing_speaks_against_a_family(seen: Policy, pairs: list[PreferencePair], tmp_path: Path) -> None:
    pixels, features = both(seen, pairs, tmp_path)
    assert why_not_cached(seen.model) is None
    assert why_not_exact(seen.model, pixels["inputs"], features["inputs"]) is None


@pytest.mark.parametrize("family", UNCACHED)
def test_a_family_without_kept_features_has_a_reason(family: str) -> None:
    assert why_not_cached(families.build(family).model) == UNCACHED[family]


@pytest.mark.parametrize("part", ["multi_modal_projector.linear_1", "vision_tower", "image_newline"])
def test_a_part_that_trains_is_the_reason(part: str) -> None:
    model = families.build("llava_next").model.requires_grad_(False)
    name, weight = next((name, weight) for name, weight in picture_weights(model).items() if part in name)
    weight.requires_grad_(True)
    assert why_not_cached(model) == f"{name} is trained, so the features change with each step"


def test_a_projector_that_peft_trains_is_the_reason() -> None:
    model = families.build("llava").model
    trained = tune(model, Lora(2, 4, 0.0, ["q_proj"]), projector="full")
    assert "multi_modal_projector.modules_to_save" in str(why_not_cached(trained))


def test_a_forward_that_takes_pixels_only_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    model = families.build("llava").model
    monkeypatch.setattr(model, "forward", lambda pixel_values: None)
    assert "takes no mm_encoder_outputs" in str(why_not_cached(model))


def test_features_that_depend_on_the_prompt_are_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    model = families.build("llava").model
    monkeypatch.setattr(model.model, "get_image_features", lambda pixel_values, qformer_input_ids: None)
    assert "depend on the prompt's words (qformer_input_ids)" in str(why_not_cached(model))


def test_features_of_other_pictures_are_not_exact(shapes: list[str], tmp_path: Path) -> None:
    policy = adapted("llava")
    (pixels, _), (_, wrong) = (both(policy, [pair(each)], tmp_path) for each in (shapes[0], shapes[2]))
    assert "change its log-probabilities by" in str(why_not_exact(policy.model, pixels["inputs"], wrong["inputs"]))


def test_a_model_that_reads_other_fields_is_told(shapes: list[str], tmp_path: Path) -> None:
    policy = adapted("llava")
    pixels, features = (batch["inputs"] for batch in both(policy, [pair(shapes[0])], tmp_path))
    other = {**features, "mm_encoder_outputs": {"image": Features(last_hidden_state=torch.zeros(1))}}
    reason = str(why_not_exact(policy.model, pixels, other))
    assert reason.startswith("it fails on kept features (AttributeError: of a picture's features only")
