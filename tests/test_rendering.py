from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sclvlm.errors import SclvlmError
from sclvlm.models import Policy
from sclvlm.pictures import load_image, load_images
from sclvlm.records import ModelRef, text_message
from sclvlm.rendering import Renderer, pad, position_ids
from tests import tiny

SENTENCES = ["A red square on grey.", "Is it blue? No, it is red.", "user assistant USER: ASSISTANT: answer again"] * 3

ASK = [text_message("user", "What is it?")]
ANSWER = [text_message("assistant", "A red square.")]
AGAIN = text_message("user", "Look again!")

PLAIN = "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }} {% endfor %}"
PLAIN += "{% if add_generation_prompt %}ASSISTANT:{% endif %}"  # LLaVA-1.5's manner: no token ends a turn
TIGHT = PLAIN.replace("}}: {{", "}}:{{")
FORGETFUL = tiny.CHATML.replace("{{ message['content'] }}", "{{ message['content'] if loop.last else '...' }}")
PUSHY = tiny.CHATML.replace("<|im_end|>\n", "<|im_end|><|im_end|>\n")


def merging(pre_tokenizer: Any, decoder: Any, template: str, **training: Any) -> Renderer:
    """A renderer without a model, whose tokenizer merges characters as real ones do."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizer, decoder
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|im_start|>", tiny.END], show_progress=False, **training
    )
    words.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=tiny.END, chat_template=template)
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None))
    return Renderer(Policy(model, fast, ModelRef(path="merging")))


def byte_level(template: str = tiny.CHATML) -> Renderer:
    """Like SmolLM's and Qwen's."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return merging(
        pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel(), template, initial_alphabet=alphabet
    )


def sentence_piece(template: str = PLAIN) -> Renderer:
    """Like Llama's: a text that begins without a space is given one."""
    alphabet = [chr(code) for code in range(33, 127)]
    return merging(
        pre_tokenizers.Metaspace(prepend_scheme="first"), decoders.Metaspace(), template, initial_alphabet=alphabet
    )


def end(renderer: Renderer) -> int:
    return renderer.policy.stop_ids[0]


@pytest.mark.parametrize("renderer", [byte_level(), byte_level(PUSHY), byte_level(PLAIN), sentence_piece()])
def test_a_completion_ends_with_the_one_token_that_ends_the_turn(renderer: Renderer) -> None:
    ids = renderer.completion(ASK, ANSWER)
    assert ids.index(end(renderer)) == len(ids) - 1


@pytest.mark.parametrize("renderer", [byte_level(), byte_level(PUSHY), byte_level(PLAIN), sentence_piece()])
def test_a_completion_spells_the_reply(renderer: Renderer) -> None:
    *reply, _ = renderer.completion(ASK, ANSWER)
    assert renderer.policy.tokenizer.decode(reply).strip() == "A red square."


@pytest.mark.parametrize("renderer", [byte_level(), sentence_piece(), sentence_piece(tiny.CHATML)])
def test_prompt_and_completion_are_the_ids_of_the_whole(renderer: Renderer) -> None:
    whole = renderer.tokens(renderer.text([*ASK, *ANSWER], reply=False))
    cut = renderer.tokens(renderer.text(ASK, reply=True)) + renderer.completion(ASK, ANSWER)
    assert cut[:-1] == whole[: len(cut) - 1]


@pytest.mark.parametrize("family", ["fast_vlm", "llava", "qwen"])
def test_prompt_and_completion_are_what_the_processor_makes_of_the_whole(
    family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    renderer = Renderer(tiny_policy(family))
    ask = [text_message("user", "Which is larger?", images=2)]
    images = load_images(pictures[:2], ask)
    prompt = renderer.encode([renderer.text(ask, reply=True)], [images]).ids[0]
    whole = renderer.policy.processor(
        text=renderer.text([*ask, *ANSWER], reply=False), images=images, add_special_tokens=False
    )["input_ids"][0]
    cut = prompt + renderer.completion(ask, ANSWER)
    assert cut == list(whole[: len(cut)])
    assert renderer.tokens("\n") == list(whole[len(cut) :])


@pytest.mark.parametrize(
    "renderer",
    [byte_level(), byte_level(PUSHY), byte_level(TIGHT), byte_level(PLAIN), sentence_piece(), sentence_piece(TIGHT)],
)
def test_what_is_said_further_continues_to_the_ids_of_the_whole(renderer: Renderer) -> None:
    said = renderer.tokens(renderer.text(ASK, reply=True))
    added = renderer.further(ASK, [*ANSWER, AGAIN])
    assert added is not None
    assert said + added == renderer.tokens(renderer.text([*ASK, *ANSWER, AGAIN], reply=True))


def test_behind_a_template_that_rewrites_earlier_turns_nothing_goes_on() -> None:
    assert byte_level(FORGETFUL).further(ASK, [*ANSWER, AGAIN]) is None


def test_a_reply_that_shares_a_token_with_its_opening_does_not_go_on() -> None:
    renderer = byte_level()
    renderer.policy.tokenizer.add_tokens(["t\nA"])  # the end of "assistant", a line end, the reply's first letter
    assert renderer.further(ASK, [*ANSWER, AGAIN]) is None


def test_a_template_that_rewrites_the_prompt_cannot_score_a_reply() -> None:
    with pytest.raises(SclvlmError, match="changes the prompt once a reply follows"):
        byte_level(FORGETFUL).completion(ASK, ANSWER)


def test_a_template_without_end_of_turn_gets_one() -> None:
    renderer = byte_level(PLAIN)
    assert renderer.completion(ASK, ANSWER) == [*renderer.tokens(" A red square."), end(renderer)]


def test_a_reply_that_quotes_the_end_of_a_turn_is_scored_to_its_own_end() -> None:
    renderer = byte_level()
    quoting = [text_message("assistant", f"A {tiny.END} token.")]
    assert renderer.completion(ASK, quoting) == [*renderer.tokens(f"A {tiny.END} token."), end(renderer)]


def test_a_quoted_end_of_turn_does_not_replace_the_one_the_template_lacks() -> None:
    renderer = byte_level(PLAIN)
    quoting = [text_message("assistant", f"A {tiny.END} token.")]
    assert renderer.completion(ASK, quoting) == [*renderer.tokens(f" A {tiny.END} token."), end(renderer)]


def test_content_as_string_and_as_parts_renders_alike(tiny_policy: Callable[[str], Policy]) -> None:
    for family in ("fast_vlm", "llama"):
        renderer = Renderer(tiny_policy(family))
        assert renderer.text([{"role": "user", "content": "Hi"}], reply=True) == renderer.text(
            [text_message("user", "Hi")], reply=True
        )


def test_a_completion_ends_with_the_assistant() -> None:
    with pytest.raises(SclvlmError, match="begin and end with an assistant message, got assistant, user"):
        byte_level().completion(ASK, [*ANSWER, AGAIN])


@pytest.mark.parametrize("family", ["fast_vlm", "llava", "qwen"])
def test_a_tokenizer_without_a_pad_token_encodes_rows_of_several_lengths_and_stays_without(
    family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    policy = tiny_policy(family)
    bare = replace(policy, processor=deepcopy(policy.processor))
    bare.tokenizer.pad_token = None
    asked = [[text_message("user", question, images=1)] for question in ("What is it?", "a")]
    images = [load_images([picture], ask) for picture, ask in zip(pictures, asked, strict=False)]
    texts = [Renderer(policy).text(ask, reply=True) for ask in asked]
    expected, found = (Renderer(each).encode(texts, images) for each in (policy, bare))
    assert found.ids == expected.ids
    assert bare.tokenizer.pad_token is None


def test_a_text_only_model_refuses_images(tiny_policy: Callable[[str], Policy], pictures: list[str]) -> None:
    renderer = Renderer(tiny_policy("llama"))
    with pytest.raises(SclvlmError, match="text-only model"):
        renderer.encode(["What?"], [[load_image(Path(pictures[0]))]])


def test_a_missing_image_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SclvlmError, match=r"gone\.png: no such image\. Put it there, or drop the record"):
        load_image(tmp_path / "gone.png")


def test_a_truncated_image_is_named_with_the_remedy(tmp_path: Path, pictures: list[str]) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(Path(pictures[0]).read_bytes()[:90])
    with pytest.raises(SclvlmError, match=r"(?s)torn\.png: .*broken one.*Replace it, or drop the record"):
        load_image(torn)


def test_a_file_that_is_no_image_is_named_with_the_remedy(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    with pytest.raises(SclvlmError, match=r"(?s)text\.png: .*broken one.*Replace it, or drop the record"):
        load_image(text)


def test_a_decompression_bomb_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: list[str]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    with pytest.raises(SclvlmError, match=r"(?s)red\.png: the image is too large.*Shrink it, or drop the record"):
        load_image(Path(pictures[0]))


def test_images_and_placeholders_must_agree_in_number(pictures: list[str]) -> None:
    with pytest.raises(SclvlmError, match="0 image placeholders for 1 images"):
        load_images(pictures[:1], ASK)


def test_padding_fills_the_asked_side() -> None:
    ids, mask = pad([[1, 2, 3], [4]], 9, left=True)
    assert (ids.tolist(), mask.tolist()) == ([[1, 2, 3], [9, 9, 4]], [[1, 1, 1], [0, 0, 1]])
    assert pad([[1, 2, 3], [4]], 9, left=False)[0].tolist() == [[1, 2, 3], [4, 9, 9]]


def test_positions_start_at_the_first_real_token() -> None:
    _, mask = pad([[1, 2, 3], [4]], 9, left=True)
    assert position_ids(mask).tolist() == [[0, 1, 2], [0, 0, 0]]
