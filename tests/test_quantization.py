from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.quantizers.quantizers_utils import should_convert_module

from sclvlm.config import Config, ModelSection
from sclvlm.errors import ConfigError
from sclvlm.fingerprints import stage_inputs
from sclvlm.models import load_policy, quantization
from sclvlm.models.quantization import check_quantization, quantized
from sclvlm.parts import part_of
from sclvlm.preflight import check_inputs
from sclvlm.training import merge, origin
from sclvlm.tuning import Lora, tune
from tests import families, tiny

CUDA = torch.device("cuda")


@pytest.fixture(name="installed")
def bitsandbytes_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda name: ModuleSpec(name, None))


def config(folder: Path, **settings: Any) -> Config:
    (folder / "pairs.jsonl").touch()
    data = {"pairs": str(folder / "pairs.jsonl")}
    return Config.model_validate(
        {"run": {"dir": str(folder / "run")}, "data": data, "train": settings.pop("train", {}), "model": settings}
    )


def test_4_bits_are_nf4_quantized_twice_that_compute_in_the_models_type() -> None:
    found = quantized("4bit", torch.float16, CUDA)["quantization_config"].to_dict()
    assert found["load_in_4bit"]
    assert not found["load_in_8bit"]
    assert found["bnb_4bit_quant_type"] == "nf4"
    assert found["bnb_4bit_use_double_quant"]
    assert found["bnb_4bit_compute_dtype"] == "float16"


def test_8_bits_are_llm_int8() -> None:
    found = quantized("8bit", torch.bfloat16, CUDA)["quantization_config"].to_dict()
    assert (found["load_in_8bit"], found["load_in_4bit"]) == (True, False)


def test_unquantized_loading_is_told_nothing() -> None:
    assert quantized("none", torch.bfloat16, CUDA) == {}


@pytest.mark.parametrize("family", [*families.SEEING, "gemma3", "llama"])
def test_the_language_model_alone_is_quantized(family: str) -> None:
    left = quantized("4bit", torch.bfloat16, CUDA)["quantization_config"].llm_int8_skip_modules
    model = families.build(family).model
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    found = {name for name in linear if should_convert_module(name, left)}
    assert found == {name for name in linear if part_of(name) == "language" and name != "lm_head"}
    assert found


@pytest.mark.parametrize("kind", ["8bit", "4bit"])
def test_without_cuda_quantization_is_refused(kind: Any, installed: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"model\.quantization: {kind} needs a CUDA device, .* cpu\. Set .* to none"):
        load_policy("some/model", quantization=kind, device="cpu")


def test_without_bitsandbytes_quantization_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"model\.quantization: 4bit needs the package bitsandbytes, .*\[qlora\]"):
        check_quantization("4bit", CUDA)


def test_with_both_it_is_not_refused(installed: None) -> None:
    check_quantization("4bit", CUDA)


def test_it_is_refused_before_any_stage_has_cost_time(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    asked = config(tmp_path, path=str(tiny_model("llama")), quantization="4bit", device="cpu")
    with pytest.raises(ConfigError, match=r"model\.quantization: 4bit needs a CUDA device"):
        check_inputs(asked, ["train"])


@pytest.mark.parametrize("train", [{"lora": None}, {"language": "frozen", "projector": "full"}])
def test_quantized_weights_train_by_adapters_only(train: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"4bit can't be trained but by adapters: set train\.language to lora"):
        config(tmp_path, path="m", quantization="4bit", train=train)


def test_the_model_is_quantized_while_it_is_loaded(
    installed: None, tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    plain = tiny.load(tiny_model("llama")).model

    def loaded(path: str, **settings: Any) -> Any:
        given.update(settings)
        return plain

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loaded)
    monkeypatch.setattr(plain, "to", lambda *_: pytest.fail("quantized weights can't be moved"))
    load_policy(str(tiny_model("llama")), quantization="4bit", dtype="bfloat16", device="cuda:0")
    assert given["quantization_config"].bnb_4bit_compute_dtype is torch.bfloat16
    assert given["device_map"] == {"": torch.device("cuda:0")}


def test_merging_takes_the_weights_that_were_quantized(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    bare = tiny.load(tiny_model("llama"))
    tune(bare.model, Lora(2, 4, 0.0, ["q_proj"])).save_pretrained(tmp_path / "adapter")
    section = ModelSection(path=str(tiny_model("llama")), quantization="4bit", device="cuda")
    merge(section, tmp_path / "adapter", tmp_path / "model")
    assert tiny.load(tmp_path / "model").model.dtype is torch.float32


def test_quantization_tells_results_apart(tmp_path: Path) -> None:
    asked = [config(tmp_path, path="m", quantization=kind) for kind in ("none", "8bit", "4bit")]
    assert len({origin(each.model) for each in asked}) == 3
    assert len({str(stage_inputs(each, "train")["model"]) for each in asked}) == 3
    assert "quantization: 4bit" in asked[2].to_yaml()
