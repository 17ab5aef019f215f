from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sclvlm import collation
from sclvlm.collation import Collator, agreed_layout, logps
from sclvlm.config import LoraSection, ModelSection, TrainSection
from sclvlm.layouts import lay_out, shared_pays, sibling_mask, why_not_shared
from sclvlm.models import Policy
from sclvlm.records import Demonstration, text_message
from sclvlm.rendering import Renderer
from sclvlm.storage import write_records
from sclvlm.training import train
from tests import families

# Two prompts of one and two tokens, each with two completions; 0 is padding.
ROWS = lay_out([[1], [2, 3]], [[[4, 5], [6]], [[7], [8, 9]]], pad_id=0)


def seen(mask: Tensor) -> list[str]:
    """A (1, L, L) mask as one line a token, x where it sees."""
    return ["".join("x" if each else "." for each in line) for line in mask[0].tolist()]


def test_completions_follow_their_prompt_in_blocks_of_one_width() -> None:
    assert ROWS.ids.tolist() == [[0, 1, 4, 5, 6, 0], [2, 3, 7, 0, 8, 9]]
    assert ROWS.branches.tolist() == [[-1, 0, 1, 1, 2, -1], [0, 0, 1, -1, 2, 2]]


def test_a_shared_prompt_is_padded_in_front_of_its_last_token_and_a_plain_one_on_the_left() -> None:
    shared, plain = (lay_out([[1, 2], [1, 2, 3, 4]], [[[5]] * n] * 2, pad_id=0) for n in (2, 1))
    assert shared.branches[0].tolist() == [0, -1, -1, 0, 1, 2]
    assert shared.ids[0].tolist() == [1, 0, 0, 2, 5, 5]
    assert shared.depths[0, [0, 3, 4, 5]].tolist() == [0, 1, 2, 2]
    assert plain.branches[0].tolist() == [-1, -1, 0, 0, 1]


def test_positions_restart_behind_the_prompt() -> None:
    assert ROWS.depths.tolist() == [[0, 0, 1, 2, 1, 1], [0, 1, 2, 2, 2, 3]]


def test_the_last_prompt_column_predicts_the_first_token_of_each_completion() -> None:
    assert ROWS.predicting.tolist() == [1, 2, 1, 4]
    assert ROWS.targets.tolist() == [[4, 5], [6, 0], [7, 0], [8, 9]]
    assert ROWS.mask.tolist() == [[1, 1], [1, 0], [1, 0], [1, 1]]


def test_a_token_sees_the_prompt_and_its_own_completion() -> None:
    mask = sibling_mask(families.build("llama", "sdpa").model, ROWS.branches, ROWS.depths, ends=4)
    assert seen(mask[0]) == ["x.....", ".x....", ".xx...", ".xxx..", ".x..x.", "xx...x"]
    assert seen(mask[1]) == ["x.....", "xx....", "xxx...", "xx.x..", "xx..x.", "xx..xx"]


def test_a_window_is_counted_along_the_own_completion() -> None:
    rows = lay_out([[1, 1, 1]], [[[2, 2], [3, 3]]], pad_id=0)
    model = families.build("mistral", "sdpa").model
    model.config.sliding_window = 2
    mask = sibling_mask(model, rows.branches, rows.depths, ends=4)
    assert seen(mask[0]) == ["x......", "xx.....", ".xx....", "..xx...", "...xx..", "..x..x.", ".....xx"]


def test_layers_with_and_without_a_window_get_a_mask_each() -> None:
    masks = sibling_mask(families.build("gemma3_text", "sdpa").model, ROWS.branches, ROWS.depths, ends=4)
    assert sorted(masks) == ["full_attention", "sliding_attention"]


def test_eager_attention_adds_the_mask_in_the_type_of_the_model() -> None:
    mask = sibling_mask(families.build("llama").model.bfloat16(), ROWS.branches, ROWS.depths, ends=4)
    assert mask.dtype is torch.bfloat16
    assert set(mask.unique().tolist()) == {torch.finfo(torch.bfloat16).min, 0.0}


def test_a_model_wrapped_for_parallel_training_gets_the_same_mask() -> None:
    class Parallel(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    model = families.build("llama", "sdpa").model
    masks = [sibling_mask(each, ROWS.branches, ROWS.depths, ends=4) for each in (model, Parallel(model))]
    assert torch.equal(*masks)


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "qwen2_vl"])
def test_a_group_of_four_shares_its_prompt(family: str) -> None:
    policy = families.build(family)
    replies = ["A red square.", "No.", "", "Blue, I think"]
    group: Any = SimpleNamespace(
        id="group",
        prompt=[text_message("user", "What is it?")],
        completions=[[text_message("assistant", reply)] for reply in replies],
        images=(),
        weight=1.0,
    )
    batch = Collator(Renderer(policy), "shared")([group])
    assert len(batch["inputs"]["input_ids"]) == 1
    expected = families.alone(policy, group)
    torch.testing.assert_close(logps(policy.model, batch).sums, expected[None], rtol=0, atol=1e-4)


def test_one_completion_is_laid_out_plainly() -> None:
    policy = families.build("llama")
    shown = Demonstration(
        id="shown", prompt=[text_message("user", "Hm?")], completion=[text_message("assistant", "yes")]
    )
    assert Collator(Renderer(policy), "shared")([shown])["siblings"] == {}
    assert agreed_layout("shared", Renderer(policy), [shown]) == "plain"


def test_a_sibling_that_is_seen_is_measured_and_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(collation, "sibling_mask", lambda *_, **__: None)  # None is causal to transformers
    records = [families.pair("What is it?", "A red square.", "No.")]
    assert agreed_layout("auto", Renderer(families.build("llama", "sdpa")), records) == "plain"
    assert "change the log-probabilities of record 'What is it?' by" in caplog.text


def test_a_model_that_fails_on_shared_rows_gets_plain_ones(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    policy = families.build("llama")
    forward = policy.model.model.forward

    def strict(**inputs: Any) -> Any:
        if inputs["attention_mask"].ndim != 2:
            raise ValueError("attention_mask must have two dimensions")
        return forward(**inputs)

    monkeypatch.setattr(policy.model.model, "forward", strict)
    assert agreed_layout("auto", Renderer(policy), [families.pair("Hm?", "y", "no")]) == "plain"
    assert "it fails on shared rows (ValueError: attention_mask must have two dimensions)" in caplog.text


def test_shared_rows_pay_where_the_prompt_is_long_or_the_model_wide() -> None:
    # Work of a row of L tokens: L * (6 * width + L). At width 256 and prompt 64, two answers of 512: shared
    # 1088 * (1536 + 1088) = 2.85 million, plain 2 * 576 * (1536 + 576) = 2.43 million.
    narrow, wide = (
        SimpleNamespace(config=SimpleNamespace(get_text_config=lambda width=width: SimpleNamespace(hidden_size=width)))
        for width in (256, 4096)
    )
    assert not shared_pays(narrow, [(64, [512, 512])])
    assert shared_pays(wide, [(64, [512, 512])])
    assert shared_pays(narrow, [(512, [64, 64])])


def test_auto_stays_plain_where_answers_outweigh_prompts_and_shared_can_be_asked_for() -> None:
    records = [families.pair("?", "A red square. " * 20, "No. " * 60)]
    renderer = Renderer(families.build("llama"))
    assert agreed_layout("auto", renderer, records) == "plain"
    assert agreed_layout("shared", renderer, records) == "shared"


def test_flash_attention_is_refused_with_what_to_set_instead() -> None:
    model = families.build("llama").model
    model.config._attn_implementation = "flash_attention_2"
    assert "model.attention sdpa" in str(why_not_shared(model))


def test_a_model_that_takes_no_positions_is_refused() -> None:
    policy = families.build("llama")
    policy.model.forward = lambda input_ids, attention_mask: None
    assert why_not_shared(policy.model) == "it takes no position_ids"


def test_half_precision_passes_the_comparison() -> None:
    policy = families.build("llama")
    half = Policy(policy.model.bfloat16(), policy.processor, policy.ref)
    assert agreed_layout("auto", Renderer(half), [families.pair("What is it?", "A red square.", "No.")]) == "shared"


def test_both_layouts_train_the_same(tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    write_records(
        file,
        [
            families.pair("What is it?", "red", "no square", pictures[0]),
            families.pair("Hm?", "y", "nothing", pictures[1]),
        ],
    )
    histories = []
    for layout in ("plain", "shared"):
        settings = TrainSection(
            layout=layout,
            lora=LoraSection(dropout=0.0),
            args={"max_steps": 3, "logging_steps": 1, "learning_rate": 1e-3},
        )
        model = ModelSection(path=str(tiny_model("llava")), device="cpu", dtype="float32")
        train(file, tmp_path / layout, model=model, settings=settings, seed=0)
        history = json.loads((tmp_path / layout / "history.json").read_text())
        histories.append([logged["loss"] for logged in history if "loss" in logged])
    assert histories[0][-1] < histories[0][0]
    assert histories[1] == pytest.approx(histories[0], abs=1e-4)
