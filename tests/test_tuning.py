"""Each part of a model trains in the way that was asked for, and in no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from sclvlm.collation import Collator, agreed_features, logps
from sclvlm.errors import ConfigError
from sclvlm.features import why_not_cached
from sclvlm.models import Policy, computing_dtype, load_policy, with_adapter
from sclvlm.parts import holds_all, part_of
from sclvlm.records import PreferencePair
from sclvlm.rendering import Renderer
from sclvlm.tuning import Lora, frozen_copy, tune
from tests import families, tiny
from tests.pictured import ROOMY, learning

LORA = Lora(rank=2, alpha=4, dropout=0.0, targets=["q_proj", "v_proj"])
WAYS: list[dict[str, Any]] = [
    {"language": language, "projector": projector, "vision": vision}
    for language, projector, vision in (
        ("lora", "frozen", "frozen"),
        ("lora", "lora", "full"),
        ("lora", "full", "lora"),
        ("full", "frozen", "frozen"),
        ("full", "lora", "full"),
        ("full", "full", "lora"),
        ("full", "full", "full"),
        ("frozen", "full", "frozen"),
        ("frozen", "lora", "frozen"),
        ("frozen", "frozen", "full"),
    )
]


def named(ways: dict[str, Any]) -> str:
    """A test's name."""
    return "-".join(ways.values())


def tuned(family: str, ways: dict[str, Any], lora: Lora = LORA, attention: str = "eager") -> Policy:
    bare = families.build(family, attention)
    return Policy(tune(bare.model, lora, **ways), bare.processor, bare.ref)


def pair(*images: str) -> PreferencePair:
    return families.pair("What is it?", "A red square.", "No.", *images)


@pytest.fixture
def pairs(shapes: list[str]) -> list[PreferencePair]:
    """Two pairs, about two pictures and one."""
    return [pair(*shapes[:2]), pair(shapes[2])]


@pytest.mark.parametrize("ways", WAYS, ids=named)
@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_each_part_trains_in_its_own_way(family: str, ways: dict[str, Any]) -> None:
    names = [name for name, each in tuned(family, ways).model.named_parameters() if each.requires_grad]
    found = {(part_of(name), "lora" if ".lora_" in name else "full") for name in names}
    assert found == {(part, way) for part, way in ways.items() if way != "frozen"}


@pytest.mark.parametrize("ways", WAYS, ids=named)
def test_what_trains_is_float32_and_the_rest_stays(ways: dict[str, Any], tiny_model: Callable[[str], Path]) -> None:
    model = tune(load_policy(str(tiny_model("qwen")), dtype="bfloat16", device="cpu").model, LORA, **ways)
    found = {(each.requires_grad, each.dtype) for each in model.parameters()}
    frozen = set() if set(ways.values()) == {"full"} else {(False, torch.bfloat16)}
    assert found == {(True, torch.float32)} | frozen
    assert computing_dtype(model) is torch.bfloat16


@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_a_part_trained_in_full_has_all_its_weights_trained(family: str) -> None:
    bare = families.build(family).model
    sizes = dict.fromkeys(("projector", "vision"), 0)
    for name, each in bare.named_parameters():
        if part_of(name) in sizes:
            sizes[part_of(name)] += each.numel()
    for part, size in sizes.items():
        model = tuned(family, {"language": "lora", part: "full"}).model
        whole = {name: each for name, each in model.named_parameters() if each.requires_grad and "lora_" not in name}
        assert sum(each.numel() for each in whole.values()) == size


def test_a_fully_trained_language_model_leaves_what_is_of_no_part() -> None:
    model = tuned("llava_next", {"language": "full"}).model
    assert not model.get_parameter("model.image_newline").requires_grad  # else kept features would be refused
    assert why_not_cached(model) is None


@pytest.mark.parametrize("part", ["projector", "vision"])
@pytest.mark.parametrize("way", ["lora", "full"])
def test_a_part_that_is_not_there_is_named(part: str, way: str) -> None:
    with pytest.raises(ConfigError, match=rf"train\.{part}: this model has no .* Set it to frozen"):
        tuned("llama", {part: way})


def test_a_part_without_linear_layers_has_nothing_to_adapt() -> None:
    with pytest.raises(ConfigError, match=r"train\.vision: the image encoder has no linear layer .* full or frozen"):
        tuned("fast_vlm", {"vision": "lora"})


def test_dora_and_rslora_reach_the_adapters() -> None:
    model = tuned("llama", {}, LORA._replace(dora=True, rslora=True)).model
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    assert all(layer.use_dora["default"] for layer in layers)
    assert {layer.scaling["default"] for layer in layers} == {4 / 2**0.5}  # alpha / sqrt(rank)


@pytest.mark.parametrize("language", ["lora", "full"])
def test_running_statistics_of_a_trained_tower_stay(language: str, pairs: list[PreferencePair]) -> None:
    policy = tuned("fast_vlm", {"language": language, "vision": "full"})
    before = {name: value.clone() for name, value in policy.model.named_buffers() if "running" in name}
    policy.model.train()
    logps(policy.model, Collator(Renderer(policy))(pairs))
    after = dict(policy.model.named_buffers())
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items())


class _Watched:
    """Counts backward passes through the modules of a model's image encoder."""

    def __init__(self, model: Any) -> None:
        self.count = 0
        for name, module in model.named_modules():
            if part_of(name) == "vision" and not list(module.children()):
                module.register_forward_hook(self._watch)

    def _watch(self, module: Any, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad and output.grad_fn is not None:
            output.register_hook(self._counted)

    def _counted(self, slope: Tensor) -> None:
        self.count += 1


@pytest.mark.parametrize("vision", ["frozen", "full"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in ERNIE's processor
@pytest.mark.parametrize("family", [*families.SEEING, *families.TOKENWISE])
def test_only_a_trained_tower_runs_backward_under_checkpointing(
    family: str, vision: str, pairs: list[PreferencePair]
) -> None:
    policy = tuned(family, {"projector": "full", "vision": vision})
    policy.model.activation_checkpointing_enable()
    watched = _Watched(policy.model.train())
    logps(policy.model, Collator(Renderer(policy))(pairs)).sums.sum().backward()
    assert all(each.grad is not None for name, each in policy.model.named_parameters() if "lora_" in name)
    assert (watched.count > 0) == (vision == "full")


@pytest.mark.parametrize("family", families.SEEING)
def test_a_trained_tower_learns_the_same_in_both_layouts(family: str, pairs: list[PreferencePair]) -> None:
    policy = tuned(family, {"language": "full", "projector": "full", "vision": "full"})
    policy.model.train()
    pictured = [each for name, each in policy.model.named_parameters() if part_of(name) != "language"]
    slopes = []
    for layout in ("plain", "shared"):
        sums = logps(policy.model, Collator(Renderer(policy), layout)(pairs)).sums
        weighted = (sums * torch.tensor([[1.0, -0.7], [0.3, 0.9]])).sum()
        found = torch.autograd.grad(weighted, pictured, allow_unused=True)
        slopes.append(torch.cat([slope.flatten() for slope in found if slope is not None]))
    assert slopes[0].norm() > 1e-3
    assert (slopes[0] - slopes[1]).norm() < 1e-4 * slopes[0].norm()


@pytest.mark.parametrize("vision", ["lora", "full"])
@pytest.mark.parametrize("language", ["lora", "full"])
def test_a_tower_that_trains_keeps_features_live(language: str, vision: str, pairs: list[PreferencePair]) -> None:
    renderer = Renderer(tuned("llava", {"language": language, "vision": vision}))
    assert agreed_features("auto", renderer, pairs, limit_gb=ROOMY) is None
    with pytest.raises(ConfigError, match=r"train\.features: .*vision_tower.* is trained, so the features change"):
        agreed_features("cached", renderer, pairs, limit_gb=ROOMY)


@pytest.mark.parametrize("ways", WAYS, ids=named)
def test_a_frozen_copy_stays_behind_and_shares_what_does_not_train(
    ways: dict[str, Any], pairs: list[PreferencePair]
) -> None:
    policy = tuned("llava", ways)
    batch = Collator(Renderer(policy))(pairs)
    copy = frozen_copy(policy.model)
    with torch.no_grad():
        before = logps(policy.model, batch).sums
        for each in learning(policy.model):
            each.add_(0.1)
        torch.testing.assert_close(logps(copy, batch).sums, before, rtol=0, atol=1e-5)
        assert (logps(policy.model, batch).sums - before).abs().max() > 1e-2
    mine, its = ({each.data_ptr() for each in model.parameters()} for model in (policy.model, copy))
    assert len(its - mine) == len(learning(policy.model))
    assert not learning(copy)


@pytest.fixture(name="start")
def adapter_to_start_from(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    """An adapter of the tiny LLaVA that does something."""
    model = tune(tiny.load(tiny_model("llava")).model, LORA)
    with torch.no_grad():
        for each in learning(model):
            each.normal_(std=0.1)
    model.save_pretrained(tmp_path / "start")
    return tmp_path / "start"


@pytest.mark.parametrize("ways", [WAYS[0], *(ways for ways in WAYS if not holds_all(ways))], ids=named)
def test_a_starting_adapter_is_part_of_what_training_begins_with(
    ways: dict[str, Any], start: Path, tiny_model: Callable[[str], Path], pictures: list[str]
) -> None:
    bare, model = (tiny.load(tiny_model("llava")) for _ in range(2))
    batch = Collator(Renderer(bare))([pair(pictures[0])])
    with torch.no_grad():
        without = logps(bare.model, batch).sums
        expected = logps(with_adapter(bare.model, str(start)), batch).sums
        begins = logps(tune(model.model, LORA, **ways, adapter=str(start)).eval(), batch).sums
    assert (expected - without).abs().max() > 0.1
    torch.testing.assert_close(begins, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("ways", [ways for ways in WAYS[1:] if holds_all(ways)], ids=named)
def test_a_starting_adapter_of_other_parts_is_told(
    ways: dict[str, Any], start: Path, tiny_model: Callable[[str], Path]
) -> None:
    with pytest.raises(ConfigError, match=r"model\.adapter .* is of another form: it has .*, asked for: "):
        tune(tiny.load(tiny_model("llava")).model, LORA, **ways, adapter=str(start))


def test_a_starting_adapter_trains_further_with_the_wanted_dropout(
    start: Path, tiny_model: Callable[[str], Path]
) -> None:
    model = tune(tiny.load(tiny_model("llava")).model, LORA._replace(dropout=0.3), adapter=str(start))
    assert {name.split(".")[-2] for name, each in model.named_parameters() if each.requires_grad} == {"default"}
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    assert {layer.lora_dropout["default"].p for layer in layers} == {0.3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 3}, r"train\.lora\.rank: .*it has 2, asked for: 3\. .*ask for the same"),
        ({"alpha": 7}, r"train\.lora\.alpha: .*it has 4, asked for: 7\."),
        ({"dora": True}, r"train\.lora\.dora: .*it has False, asked for: True\."),
        ({"rslora": True}, r"train\.lora\.rslora: "),
        ({"targets": ["q_proj"]}, r"train\.lora\.targets: .*it has .*v_proj, .*asked for: none of these\."),
    ],
)
def test_a_starting_adapter_of_another_form_is_told(
    change: dict[str, Any], message: str, start: Path, tiny_model: Callable[[str], Path]
) -> None:
    with pytest.raises(ConfigError, match=message):
        tune(tiny.load(tiny_model("llava")).model, LORA._replace(**change), adapter=str(start))
