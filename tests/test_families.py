"""Each family scores and learns the same in shared rows, in plain rows, and one sequence at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention as torch_flex
from transformers.integrations import flex_attention as transformers_flex

from sclvlm.attention import split_attention
from sclvlm.collation import Collator, agreed_layout, logps
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.models import Policy
from sclvlm.parts import part_of
from sclvlm.records import PreferencePair
from sclvlm.rendering import Renderer
from sclvlm.tuning import Lora, tune
from tests import families

EXACT = [*families.SEEING, *families.TOKENWISE, *families.READING]
CAPPED = {"gemma2"}  # scores capped inside the attention, which torch's fused one can't do
# Families that stay with plain rows, and what a user who asks for shared ones is told.
PLAIN_ONLY = {
    "gemma3": "its tokens see others that stand behind them",
    "mamba": "some of its layers carry a state along the row",
    "mllama": "its text attends to an encoder",
    "paligemma": "its tokens see others that stand behind them",
    "qwen3_next": "some of its layers carry a state along the row",
}
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in some processors


@pytest.fixture(scope="module")
def policy() -> Callable[[str], Policy]:
    """The family's policy, built once."""
    return cache(families.build)


def records(family: str, shapes: list[str]) -> list[PreferencePair]:
    """Three pairs of ragged lengths, about two, one and one picture where the family sees, or one each."""
    first = shapes[: 1 if family == "mllama" else 2]
    about = (first, shapes[2:], shapes[1:2]) if family not in families.READING else ((), (), ())
    return [
        families.pair("What is it?", "A red square.", "No.", *about[0]),
        families.pair("Which colour has it?", "Blue", "It is green", *about[1]),
        families.pair("Hm?", "lime", "x", *about[2]),
    ]


def sums(policy: Policy, pairs: list[Any], layout: Literal["plain", "shared"]) -> Tensor:
    return logps(policy.model, Collator(Renderer(policy), layout)(pairs)).sums


class Scored(NamedTuple):
    """Log-probabilities (P, N) and the gradient of their weighted sum in all weights, as one vector."""

    sums: Tensor
    slope: Tensor


def scored(policy: Policy, found: Tensor) -> Scored:
    weights = torch.tensor([[1.0, -0.7], [0.3, 0.9], [-1.1, 0.5]])
    learning = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    slopes = torch.autograd.grad((found * weights).sum(), learning, allow_unused=True)
    return Scored(found.detach(), torch.cat([slope.flatten() for slope in slopes if slope is not None]))


@pytest.fixture(scope="module")
def alone(policy: Callable[[str], Policy], shapes: list[str]) -> Callable[[str], Scored]:
    """What one sequence at a time gives for `records`: the truth."""

    @cache
    def measured(family: str) -> Scored:
        found = [families.alone(policy(family), record) for record in records(family, shapes)]
        return scored(policy(family), torch.stack(found))

    return measured


@pytest.mark.parametrize("family", EXACT)
@pytest.mark.parametrize("layout", ["plain", "shared"])
def test_a_batch_scores_and_learns_as_sequences_alone(
    layout: Literal["plain", "shared"],
    family: str,
    policy: Callable[[str], Policy],
    alone: Callable[[str], Scored],
    shapes: list[str],
) -> None:
    found = scored(policy(family), sums(policy(family), records(family, shapes), layout))
    torch.testing.assert_close(found.sums, alone(family).sums, rtol=0, atol=1e-4)
    assert (found.slope - alone(family).slope).norm() < 1e-4 * alone(family).slope.norm()


@torch.no_grad()
@pytest.mark.parametrize("family", EXACT)
def test_order_padding_and_batch_mates_change_nothing_in_shared_rows(
    family: str, policy: Callable[[str], Policy], alone: Callable[[str], Scored], shapes: list[str]
) -> None:
    pairs = records(family, shapes)
    turned = sums(policy(family), pairs[::-1], "shared").flip(0)
    apart = torch.cat([sums(policy(family), [each], "shared") for each in pairs])
    torch.testing.assert_close(turned, alone(family).sums, rtol=0, atol=1e-4)
    torch.testing.assert_close(apart, alone(family).sums, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", [family for family in EXACT if family not in CAPPED])
def test_fused_attention_takes_the_same_mask_whole_and_in_two_parts(
    family: str, alone: Callable[[str], Scored], shapes: list[str]
) -> None:
    fused = families.build(family, "sdpa")
    whole = sums(fused, records(family, shapes), "shared")
    split_attention(fused.model)
    parts = sums(fused, records(family, shapes), "shared")
    torch.testing.assert_close(whole, alone(family).sums, rtol=0, atol=1e-4)
    torch.testing.assert_close(parts, alone(family).sums, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "internvl", "llava"])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_takes_the_same_mask(
    family: str, alone: Callable[[str], Scored], shapes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interpreted(*tensors: Tensor, training: bool, **settings: Any) -> Any:
        return torch_flex.flex_attention(*tensors, **settings)

    # Compiling takes minutes on a CPU, and gradients are for accelerators only.
    monkeypatch.setattr(transformers_flex, "compile_friendly_flex_attention", interpreted)
    found = sums(families.build(family, "flex_attention"), records(family, shapes), "shared")
    torch.testing.assert_close(found, alone(family).sums, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["gemma3_text", "llava", "qwen2_5_vl"])
def test_adapters_learn_the_same_in_both_layouts(family: str, shapes: list[str]) -> None:
    bare = families.build(family)
    adapted = tune(bare.model, Lora(2, 4, 0.0, ["q_proj", "v_proj"]))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    policy = Policy(adapted.eval(), bare.processor, bare.ref)
    pairs = records(family, shapes)
    learning = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    plain, shared = (sums(policy, pairs, layout) for layout in ("plain", "shared"))
    torch.testing.assert_close(shared, plain, rtol=0, atol=1e-4)
    slopes = [torch.cat([s.flatten() for s in torch.autograd.grad(each.sum(), learning)]) for each in (plain, shared)]
    assert (slopes[0] - slopes[1]).norm() < 1e-4 * slopes[0].norm()


@pytest.mark.parametrize("family", [*families.SEEING, *families.TOKENWISE])
def test_shared_rows_hold_a_picture_once(family: str, policy: Callable[[str], Policy], shapes: list[str]) -> None:
    pairs = records(family, shapes)
    plain, shared = (Collator(Renderer(policy(family)), layout)(pairs)["inputs"] for layout in ("plain", "shared"))
    assert len(plain["pixel_values"]) == 2 * len(shared["pixel_values"])  # two completions a prompt


@pytest.mark.parametrize("family", EXACT)
def test_what_is_exact_is_agreed_on(family: str, policy: Callable[[str], Policy], shapes: list[str]) -> None:
    assert agreed_layout("auto", Renderer(policy(family)), records(family, shapes)) == "shared"


@pytest.mark.parametrize("family", families.UNSHARED)
def test_what_is_not_exact_is_refused_with_its_reason(
    family: str, policy: Callable[[str], Policy], shapes: list[str]
) -> None:
    with pytest.raises(ConfigError, match=rf"train\.layout: .*{PLAIN_ONLY[family]}.*Set it to plain or auto"):
        agreed_layout("shared", Renderer(policy(family)), records(family, shapes))


@pytest.mark.parametrize("family", families.UNSHARED)
def test_auto_falls_back_and_says_why_once(
    family: str, policy: Callable[[str], Policy], shapes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert agreed_layout("auto", Renderer(policy(family)), records(family, shapes)) == "plain"
    assert [PLAIN_ONLY[family] in each.getMessage() for each in caplog.records] == [True]


def test_where_pictures_stand_beside_the_row_a_batch_with_unequally_many_is_refused(
    policy: Callable[[str], Policy], shapes: list[str]
) -> None:
    with pytest.raises(SclvlmError, match=r"equally many images a row, got 1 and 2\. Train on such records apart"):
        sums(policy("mllama"), records("llava", shapes), "plain")


@torch.no_grad()
@pytest.mark.parametrize("family", ["gemma3", "mamba", "mllama", "paligemma", "qwen3_next"])
def test_families_with_plain_rows_only_score_there_as_sequences_alone(
    family: str, policy: Callable[[str], Policy], shapes: list[str]
) -> None:
    pairs = records(family if family in ("gemma3", "mllama", "paligemma") else "llama", shapes)
    expected = torch.stack([families.alone(policy(family), each) for each in pairs])
    torch.testing.assert_close(sums(policy(family), pairs, "plain"), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", [*families.SEEING, *families.TOKENWISE])
def test_every_family_that_sees_has_an_encoder_and_a_projector(family: str, policy: Callable[[str], Policy]) -> None:
    found = {part_of(name) for name, _ in policy(family).model.named_parameters()}
    assert found == {"language", "projector", "vision"}
