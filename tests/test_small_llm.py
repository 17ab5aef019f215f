"""The small language model is an ordinary model directory, and says nothing that it was not asked to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipelines import small_llm
from sclvlm.models import load_policy
from sclvlm.records import text_message
from sclvlm.rendering import Renderer


def test_the_model_loads_like_any_other_and_its_template_adds_no_words(
    tiny_policy: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_policy("llama")
    monkeypatch.setenv("SCLVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(small_llm, "load_language_model", lambda cache: (tiny.tokenizer, tiny.model))
    assert [small_llm.main(["--out", str(tmp_path / "model")]) for _ in range(2)] == [0, 0]
    policy = load_policy(str(tmp_path / "model"), dtype="float32", device="cpu")
    text = Renderer(policy).text([text_message("user", "Hello")], reply=True)
    assert text == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert policy.stop_ids == (tiny.tokenizer.eos_token_id,)


def test_a_change_of_what_it_shares_with_the_small_vlm_makes_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small_llm.recipe()
    other = tmp_path / "small_vlm.py"
    other.write_text("another")
    monkeypatch.setattr(small_llm.small_vlm, "__file__", str(other))
    assert small_llm.recipe() != before
