from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from sclvlm.collation import Collator, Logps, logps
from sclvlm.models import Policy, load_policy
from sclvlm.pictures import load_images
from sclvlm.records import Demonstration, PreferencePair, text_message
from sclvlm.rendering import Renderer
from tests import tiny

SEEING = ["fast_vlm", "llava", "qwen"]
FAMILIES = [*SEEING, "llama"]


def pair(index: int, question: str, chosen: str, rejected: str, *images: str) -> PreferencePair:
    return PreferencePair(
        id=f"pair-{index}",
        prompt=[text_message("user", question, images=len(images))],
        chosen=[text_message("assistant", chosen)],
        rejected=[text_message("assistant", rejected)],
        images=images,
    )


def pairs(pictures: list[str], family: str) -> list[PreferencePair]:
    """Three pairs of ragged lengths; with pictures where the family sees."""
    images = [(picture,) if family in SEEING else () for picture in pictures]
    return [
        pair(0, "What is it?", "A red square.", "No.", *images[0]),
        pair(1, "Which colour has the shape?", "Blue", "It is a very green one", *images[1]),
        pair(2, "Hm?", "lime", "x", *images[2]),
    ]


def measure(policy: Policy, records: list[Any]) -> Logps:
    return logps(policy.model, Collator(Renderer(policy))(records))


def naive(policy: Policy, record: Any) -> torch.Tensor:
    """Sums for one record: one sequence at a time as the processor makes it, no padding, every logit."""
    renderer = Renderer(policy)
    images = load_images(record.images, record.prompt)
    sums = []
    for completion in record.completions:
        text = renderer.text([*record.prompt, *completion], reply=False)
        takes_images = {"images": images} if images else {}
        inputs = policy.processor(text=text, **takes_images, add_special_tokens=False, return_tensors="pt")
        unused = {"attention_mask", "token_type_ids", *([] if "qwen" in policy.ref.path else ["mm_token_type_ids"])}
        inputs = {name: value for name, value in inputs.items() if name not in unused}
        ids = inputs["input_ids"][0]
        first = len(ids) - 1 - len(renderer.completion(record.prompt, completion))  # the newline ends the text
        scores = policy.model(**inputs).logits[0].log_softmax(-1)
        sums.append(scores[torch.arange(first - 1, len(ids) - 2), ids[first:-1]].sum())
    return torch.stack(sums)


def gradients(policy: Policy, scalar: torch.Tensor) -> torch.Tensor:
    """Of all parameters that matter, as one vector."""
    parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(scalar, parameters, allow_unused=True)
    return torch.cat([gradient.flatten() for gradient in found if gradient is not None])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_has_the_log_probabilities_of_sequences_scored_alone(
    family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    policy, records = tiny_policy(family), pairs(pictures, family)
    with torch.no_grad():
        alone = torch.stack([naive(policy, record) for record in records])
        torch.testing.assert_close(measure(policy, records).sums, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_has_the_gradients_of_sequences_scored_alone(
    family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    policy, records = tiny_policy(family), pairs(pictures, family)
    weights = torch.tensor([[1.0, -0.7], [0.3, 0.9], [-1.1, 0.5]])
    batch = gradients(policy, (measure(policy, records).sums * weights).sum())
    alone = gradients(policy, (torch.stack([naive(policy, record) for record in records]) * weights).sum())
    assert (batch - alone).norm() < 1e-4 * alone.norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_order_and_batch_mates_change_nothing(
    family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    policy, records = tiny_policy(family), pairs(pictures, family)
    with torch.no_grad():
        together = measure(policy, records).sums
        turned = measure(policy, records[::-1]).sums.flip(0)
        alone = torch.cat([measure(policy, [record]).sums for record in records])
    torch.testing.assert_close(turned, together, rtol=0, atol=1e-4)
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_num_tokens_counts_the_reply_and_the_end_of_its_turn(
    family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    with torch.no_grad():
        counted = measure(tiny_policy(family), pairs(pictures, family)[:2]).num_tokens
    # One token a character: "A red square." and "No.", "Blue" and "It is a very green one".
    assert counted.tolist() == [[13 + 1, 3 + 1], [4 + 1, 22 + 1]]


@pytest.mark.parametrize("family", SEEING)
def test_the_picture_matters(family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]) -> None:
    seen = [pair(index, "What?", "red", "blue", picture) for index, picture in enumerate(pictures[:2])]
    with torch.no_grad():
        sums = measure(tiny_policy(family), seen).sums
    assert (sums[0] - sums[1]).abs().min() > 1e-2


@pytest.mark.parametrize("family", SEEING)
def test_a_prompt_may_hold_several_pictures(
    family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    policy = tiny_policy(family)
    records = [pair(0, "Which?", "red", "blue", *pictures[:2]), pair(1, "And here?", "lime", "no", pictures[2])]
    with torch.no_grad():
        alone = torch.stack([naive(policy, record) for record in records])
        torch.testing.assert_close(measure(policy, records).sums, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", SEEING)
def test_a_model_that_sees_may_be_asked_without_pictures(
    family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    policy = tiny_policy(family)
    records = [pair(0, "Two and two?", "4", "five"), pair(1, "Hm?", "yes", "n")]
    with torch.no_grad():
        alone = torch.stack([naive(policy, record) for record in records])
        torch.testing.assert_close(measure(policy, records).sums, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", SEEING)
def test_prompts_with_and_without_pictures_share_a_batch(
    family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    policy = tiny_policy(family)
    records = [pair(0, "Two and two?", "4", "five"), pair(1, "What?", "red", "blue", pictures[0])]
    with torch.no_grad():
        alone = torch.stack([naive(policy, record) for record in records])
        torch.testing.assert_close(measure(policy, records).sums, alone, rtol=0, atol=1e-4)


def test_a_demonstration_is_a_prompt_with_one_completion(tiny_policy: Callable[[str], Policy]) -> None:
    policy, preferred = tiny_policy("llama"), pair(0, "Two and two?", "4", "five")
    shown = Demonstration(id="shown", prompt=preferred.prompt, completion=preferred.chosen)
    with torch.no_grad():
        sums = measure(policy, [shown]).sums
        torch.testing.assert_close(sums, measure(policy, [preferred]).sums[:, :1], rtol=0, atol=1e-4)


def test_left_padding_does_not_shift_learned_positions(tmp_path: Path) -> None:
    torch.manual_seed(5)
    words = tiny.tokenizer()
    config = GPT2Config(
        vocab_size=len(words),
        n_positions=128,
        n_embd=32,
        n_layer=2,
        n_head=4,
        initializer_range=0.3,
        **tiny.ends(words),
    )
    policy = tiny.load(tiny.save(GPT2LMHeadModel(config), words, words, tmp_path / "gpt2"))
    records = [pair(0, "What is it?", "red", "no"), pair(1, "A longer one?", "y", "n")]
    with torch.no_grad():
        alone = torch.stack([naive(policy, record) for record in records])
        torch.testing.assert_close(measure(policy, records).sums, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_attention_scores_and_learns_as_plain_attention(
    family: str, tiny_model: Callable[[str], Path], tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    plain, records = tiny_policy(family), pairs(pictures, family)
    fused = load_policy(str(tiny_model(family)), dtype="float32", device="cpu")
    assert fused.model.config.get_text_config()._attn_implementation == "sdpa"  # what `auto` comes to
    expected, found = (measure(policy, records).sums for policy in (plain, fused))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    slope, fused_slope = gradients(plain, expected.sum()), gradients(fused, found.sum())
    assert (fused_slope - slope).norm() < 1e-4 * slope.norm()


def test_models_that_place_pictures_themselves_are_given_no_positions(
    tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    batch = Collator(Renderer(tiny_policy("qwen")))(pairs(pictures, "qwen"))
    assert "position_ids" not in batch["inputs"]
