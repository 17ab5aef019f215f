from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.models import Policy, check_model_path, counts_positions, load_policy, resolve_dtype
from sclvlm.tuning import Lora, tune
from tests import tiny

TARGETS = ["q_proj", "k_proj", "qkv", "proj", "fc1", "linear_1"]


def adapted(policy: Policy, projector: bool = False) -> Any:
    return tune(policy.model, Lora(2, 4, 0.0, TARGETS), projector="full" if projector else "frozen")


def learning(model: torch.nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_a_directory_without_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.path .*no config\.json"):
        check_model_path(str(tmp_path))


@pytest.mark.parametrize("path", ["no/such/model", "./model", "../model", "/nowhere/model", "runs and more"])
def test_a_path_to_nothing_is_named(path: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.path .*no such directory"):
        check_model_path(path)


def test_a_missing_folder_of_an_existing_one_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    check_model_path("owner/name")
    with pytest.raises(ConfigError, match="no such directory"):
        check_model_path("runs/student")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_torn_model_file_is_an_error_that_names_the_model(
    file: str, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model("llama"), tmp_path / "torn")
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(SclvlmError, match=r"model\.path .*torn'"):
        tiny.load(folder)


def test_a_folder_without_adapter_is_named(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.adapter .*no adapter_config\.json"):
        load_policy(str(tiny_model("llama")), adapter=str(tmp_path), device="cpu")


def test_an_adapter_of_another_model_is_named(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    adapted(tiny.load(tiny_model("llama"))).save_pretrained(tmp_path / "adapter")
    with pytest.raises(SclvlmError, match=r"model\.adapter .*adapter': cannot load: .*Was it trained on this model"):
        load_policy(str(tiny_model("fast_vlm")), adapter=str(tmp_path / "adapter"), dtype="float32", device="cpu")


def test_a_loaded_policy_is_in_eval_mode_and_ends_with_the_end_of_turn(tiny_policy: Callable[[str], Policy]) -> None:
    policy = tiny_policy("fast_vlm")
    assert not policy.model.training
    assert policy.stop_ids == (policy.tokenizer.convert_tokens_to_ids(tiny.END),)


def test_a_policy_may_have_several_stop_tokens(tiny_model: Callable[[str], Path]) -> None:
    policy = tiny.load(tiny_model("llama"))
    policy.model.generation_config.eos_token_id = [7, 9]
    assert policy.stop_ids == (7, 9)


@pytest.mark.parametrize("family", ["fast_vlm", "llava", "qwen"])
def test_adapters_leave_the_tower_and_the_projector_alone(family: str, tiny_model: Callable[[str], Path]) -> None:
    names = learning(adapted(tiny.load(tiny_model(family))))
    assert names
    assert all("lora_" in name for name in names)
    assert all("language_model" in name for name in names)


@pytest.mark.parametrize("family", ["fast_vlm", "llava", "qwen"])
def test_a_frozen_tower_lets_the_projector_learn(family: str, tiny_model: Callable[[str], Path]) -> None:
    policy = tiny.load(tiny_model(family))
    whole = [name for name in learning(adapted(policy, projector=True)) if "lora_" not in name]
    assert whole
    assert all("projector" in name or "merger" in name for name in whole)


def test_what_learns_is_float32_whatever_the_model(tiny_model: Callable[[str], Path]) -> None:
    policy = load_policy(str(tiny_model("llava")), dtype="bfloat16", device="cpu")
    model = adapted(policy, projector=True)
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32, torch.bfloat16}


def test_positions_are_counted_unless_pictures_have_their_own(tiny_policy: Callable[[str], Policy]) -> None:
    families = ("fast_vlm", "llava", "qwen", "llama")
    assert [counts_positions(tiny_policy(family).model) for family in families] == [True, True, False, True]


def test_a_named_dtype_is_taken_as_it_is() -> None:
    assert resolve_dtype("float16", torch.device("cpu")) is torch.float16
