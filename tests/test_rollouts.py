"""What the policy says itself in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sclvlm.collation import Collator, agreed_features, logps
from sclvlm.models import Policy, placeholders
from sclvlm.records import PreferencePair
from sclvlm.rendering import Renderer
from sclvlm.rollouts import Rollouts, undisturbed
from tests.test_trainer import adapted, pairs

FAMILIES = ["fast_vlm", "llava", "qwen", "llama"]


def records(family: str, pictures: list[str]) -> list[PreferencePair]:
    return pairs(None if family == "llama" else pictures)


def rollouts(policy: Policy, *, layout: Any = "plain", **settings: Any) -> Rollouts:
    return Rollouts(Collator(Renderer(policy), layout), **{"samples": 3, "max_new_tokens": 12, "seed": 0, **settings})


def stirred(folder: Path, **settings: Any) -> Policy:
    """A policy whose adapters are not without effect."""
    policy = adapted(folder, **settings)
    with torch.no_grad():
        for name, weights in policy.model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.1)
    return policy


def drawn(source: Rollouts, asked: list[PreferencePair], step: int = 0) -> list[list[list[int]]]:
    return source.draw(source.asked(asked), [record.id for record in asked], step)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", ["plain", "shared"])
def test_samples_score_what_the_sampler_said_they_are_worth(
    family: str, layout: str, tiny_model: Callable[[str], Path], pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dropout in the adapters: the distribution that is scored must still be the one that was drawn from.
    from sclvlm import rollouts as room

    written: list[Any] = []
    write = room.write
    monkeypatch.setattr(room, "write", lambda *args, **kw: written.extend(found := write(*args, **kw)) or found)
    policy, asked = stirred(tiny_model(family), dropout=0.5), records(family, pictures)
    policy.model.train()
    source = rollouts(policy, layout=layout)
    said = source(source.asked(asked), [record.id for record in asked], 0)
    with undisturbed(policy.model):
        scored = logps(policy.model, said.batch)
    assert policy.model.training
    assert scored.sums.requires_grad
    assert scored.sums.flatten().tolist() == pytest.approx([each.logp for each in written], abs=1e-3)
    assert scored.num_tokens.flatten().tolist() == [len(each.tokens) for each in written]
    assert said.cut.flatten().tolist() == [each.tokens[-1] not in policy.stop_ids for each in written]
    assert said.cut.any()
    assert not said.cut.all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_samples_score_the_same_in_either_layout(
    family: str, tiny_model: Callable[[str], Path], pictures: list[str]
) -> None:
    policy, asked = stirred(tiny_model(family)), records(family, pictures)
    plain, shared = (rollouts(policy, layout=layout) for layout in ("plain", "shared"))
    said, names = drawn(plain, asked), [record.id for record in asked]
    apart, together = (each.laid_out(each.asked(asked), names, said) for each in (plain, shared))
    assert apart["inputs"]["input_ids"].shape[0] == 12
    assert together["inputs"]["input_ids"].shape[0] == 4
    torch.testing.assert_close(
        logps(policy.model, together).sums, logps(policy.model, apart).sums, rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("family", ["fast_vlm", "llava", "qwen"])
@pytest.mark.parametrize("layout", ["plain", "shared"])
def test_kept_features_draw_and_score_as_pixels_do(
    family: str, layout: Any, tiny_model: Callable[[str], Path], pictures: list[str]
) -> None:
    policy, asked = stirred(tiny_model(family)), records(family, pictures)
    encodings = agreed_features("cached", Renderer(policy), asked, limit_gb=1.0)
    assert encodings is not None
    live = rollouts(policy, layout=layout)
    kept = replace(live, collator=Collator(Renderer(policy), layout, encodings))
    assert drawn(kept, asked) == drawn(live, asked)
    said, names = drawn(live, asked), [record.id for record in asked]
    expected, found = (logps(policy.model, each.laid_out(each.asked(asked), names, said)).sums for each in (live, kept))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_batch_mates_change_no_sample_and_steps_seeds_and_places_do(
    tiny_model: Callable[[str], Path],
) -> None:
    policy, asked = stirred(tiny_model("llama")), pairs(None)
    source = rollouts(policy)
    together = drawn(source, asked)
    assert [drawn(source, [record])[0] for record in asked[::-1]] == together[::-1]
    assert drawn(source, asked, step=1) != together
    assert drawn(replace(source, seed=1), asked) != together
    assert all(len({tuple(tokens) for tokens in siblings}) > 1 for siblings in together)


def test_drawing_moves_no_generator(tiny_model: Callable[[str], Path]) -> None:
    policy = stirred(tiny_model("llama"), dropout=0.5)
    policy.model.train()
    before = torch.get_rng_state()
    drawn(rollouts(policy), pairs(None))
    assert torch.equal(torch.get_rng_state(), before)
    assert policy.model.training


def test_samples_come_at_the_policys_own_rates(tiny_model: Callable[[str], Path]) -> None:
    # The first letter of 1,000 answers against what the model gives it: at temperature 1, of all tokens.
    policy, asked = stirred(tiny_model("llama")), pairs(None)[:1]
    source = rollouts(policy, samples=1000, max_new_tokens=1)
    first = torch.tensor([tokens[0] for tokens in drawn(source, asked)[0]])
    prompt = torch.tensor([source.asked(asked)["ids"][0]])
    with torch.no_grad(), undisturbed(policy.model):
        probabilities = policy.model(input_ids=prompt).logits[0, -1].softmax(0)
    found = torch.bincount(first, minlength=len(probabilities)) / 1000
    error = (probabilities * (1 - probabilities) / 1000).sqrt()
    assert probabilities.max() < 0.9
    assert ((found - probabilities).abs() <= 5 * error + 1e-3).all()


@pytest.mark.parametrize("family", ["fast_vlm", "llava", "qwen"])
@pytest.mark.parametrize("layout", ["plain", "shared"])
def test_a_sample_ends_with_a_token_that_stands_for_a_picture(
    family: str, layout: str, tiny_model: Callable[[str], Path], pictures: list[str]
) -> None:
    policy, asked = stirred(tiny_model(family)), pairs(pictures)
    (image, *_) = placeholders(policy.model)
    head = policy.model.get_base_model().get_output_embeddings()
    with torch.no_grad():
        head.weight *= 0.1  # all tokens about as likely, so that it comes up now and then
    source = rollouts(policy, layout=layout, samples=8, max_new_tokens=60)
    said = source(source.asked(asked), [record.id for record in asked], 0)
    targets, mask = said.batch["targets"], said.batch["mask"]
    lasts = targets.gather(1, mask.sum(1, keepdim=True) - 1)[:, 0]
    assert (lasts == image).any()
    assert ((targets == image) & (mask > 0)).sum() == (lasts == image).sum()
    assert said.cut.flatten()[lasts == image].all()
    alone = rollouts(policy, samples=1, max_new_tokens=60)
    scored = logps(policy.model, said.batch).sums[0, 0]
    tokens = [[targets[0][mask[0] > 0].tolist()]]
    torch.testing.assert_close(
        logps(policy.model, alone.laid_out(alone.asked(asked[:1]), ["pair-0"], tokens)).sums[0, 0], scored
    )
