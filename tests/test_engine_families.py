"""Each family replies in batches, over three turns, as plain `generate` does to one conversation at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch

from sclvlm.engines import Opening, Reply
from sclvlm.engines.batching import Widths
from sclvlm.engines.exactness import why_not_continued
from sclvlm.engines.hf import HFEngine
from sclvlm.models import Policy, accepts
from sclvlm.parts import VISION
from sclvlm.pictures import load_images
from sclvlm.records import Message, text_message
from sclvlm.rendering import TYPE_KEYS, Renderer
from tests import families, tiny

LIMIT = 6  # tokens
FOLLOW_UPS = [text_message("user", "Look again!"), text_message("user", "Sure?")]
FAMILIES = [*families.SEEING, *families.TOKENWISE, *families.READING, *families.UNSHARED]
BLIND = {*families.READING, "mamba", "qwen3_next"}
# Families whose turns are each encoded anew, and what a user is told.
RECOMPUTED = {
    "gemma2": "a sliding window",
    "gemma3": "a sliding window",
    "gemma3_text": "a sliding window",
    "mamba": "carry a state along the row",
    "mistral": "a sliding window",
    "mllama": "its text attends to an encoder",
    "paligemma": "may see others that stand behind them",
    "qwen2": "a sliding window",
    "qwen3_next": "carry a state along the row",
}
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # PaliGemma's processor


@pytest.fixture(scope="module")
def policy() -> Callable[[str], Policy]:
    """The family's policy, built once, that says letters and now and then ends its turn."""

    @cache
    def build(family: str) -> Policy:
        built = families.build(family)
        head = built.model.get_output_embeddings().weight
        with torch.no_grad():
            size = head.std()
            head[len(tiny.ALPHABET) :] = 0.0
            head[built.stop_ids[0]].normal_(std=1.7 * size)
        return built

    return build


def openings(family: str, shapes: Sequence[str]) -> list[Opening]:
    """Ragged questions, a repeated one among them; two about the same picture and one about two of them."""
    blind = family in BLIND
    asked = [
        ("What is it?", shapes[:1]),
        ("Which colour has the shape?", shapes[:1]),
        ("Hm", shapes[1:2]),
        ("Hm", shapes[1:2]),
        ("Alike?", shapes[1:]),
    ]
    return [
        Opening(f"q{index}", 0, text_message("user", question, images=0 if blind else len(shown)), tuple(shown))
        if not blind
        else Opening(f"q{index}", 0, text_message("user", question), ())
        for index, (question, shown) in enumerate(asked)
    ]


def engine(policy: Policy, **settings: Any) -> HFEngine:
    return HFEngine(policy, **{"seed": 0, "max_new_tokens": LIMIT, **settings})


def texts(conversations: Sequence[Sequence[Reply]]) -> list[list[str]]:
    return [[reply.text for reply in replies] for replies in conversations]


@torch.inference_mode()
def generated(policy: Policy, opening: Opening, follow_ups: Sequence[Message]) -> list[str]:
    """What `model.generate` says by itself to one conversation."""
    renderer, said = Renderer(policy), [opening.message]
    images = load_images(opening.images, said)
    replies: list[str] = []
    for turn in range(1 + len(follow_ups)):
        shown = {"images": [images]} if images else {}
        text = renderer.text(said, reply=True)
        inputs = policy.processor(text=[text], **shown, add_special_tokens=False, return_tensors="pt")
        used = {name: each for name, each in inputs.items() if name not in TYPE_KEYS or accepts(policy.model, name)}
        ids = policy.model.generate(**used, max_new_tokens=LIMIT, do_sample=False, eos_token_id=policy.stop_ids[0])
        replies.append(policy.tokenizer.decode(ids[0, used["input_ids"].shape[1] :], skip_special_tokens=True))
        said += [text_message("assistant", replies[-1]), *follow_ups[turn : turn + 1]]
    return replies


@pytest.mark.parametrize("family", FAMILIES)
def test_three_turns_in_a_batch_say_what_generate_says_to_each_alone(
    family: str, policy: Callable[[str], Policy], shapes: list[str]
) -> None:
    asked, speaker = openings(family, shapes), engine(policy(family))
    expected = [generated(policy(family), opening, FOLLOW_UPS) for opening in asked]
    assert texts(speaker.converse(asked, FOLLOW_UPS)) == expected
    assert texts(speaker.converse(asked[::-1], FOLLOW_UPS))[::-1] == expected
    assert texts(speaker.converse(asked[2:3], FOLLOW_UPS)) == expected[2:3]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_cannot_continue_exactly_says_why_once(
    family: str, shapes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    fresh = families.build(family)  # nothing was said about it yet
    for _ in range(2):
        engine(fresh, max_new_tokens=1).converse(openings(family, shapes)[2:3], FOLLOW_UPS[:1])
    assert (why_not_continued(fresh.model) is None) is (family not in RECOMPUTED)
    told = [each.getMessage() for each in caplog.records if "its cache can't be continued" in each.getMessage()]
    assert [RECOMPUTED[family] in each for each in told] == [True] * (family in RECOMPUTED)


@pytest.mark.parametrize("family", [*families.SEEING, *families.TOKENWISE])
def test_a_picture_of_several_questions_and_draws_is_encoded_once(
    family: str, policy: Callable[[str], Policy], shapes: list[str]
) -> None:
    calls: list[int] = []
    whole = policy(family).model.model
    tower = next(each for name, each in whole.named_children() if VISION.search(name))
    hook = tower.register_forward_hook(lambda *_: calls.append(1))
    engine(policy(family)).converse(openings(family, shapes)[:4], FOLLOW_UPS)
    hook.remove()
    assert len(calls) == 2  # two pictures, each by itself, in the first turn


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "llama"])
def test_draws_of_one_question_share_a_prefill_and_are_those_of_separate_ones(
    family: str, policy: Callable[[str], Policy], shapes: list[str]
) -> None:
    asked = openings(family, shapes)[0]
    draws = [Opening(asked.id, draw, asked.message, asked.images) for draw in range(4)]
    rows: list[int] = []
    hook = policy(family).model.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    speaker = engine(policy(family), temperature=1.0)
    together = texts(speaker.converse(draws, FOLLOW_UPS))
    hook.remove()
    assert rows[:2] == [1, 4]  # the prompt once, then each draw its own token
    assert together == [texts(speaker.converse([draw], FOLLOW_UPS))[0] for draw in draws]
    assert len({each[0] for each in together}) > 1


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "llama"])
def test_questions_that_begin_alike_are_one_row_that_far(
    family: str, policy: Callable[[str], Policy], shapes: list[str]
) -> None:
    blind = family in BLIND
    question = "What is in the picture and where does it stand, in the "
    asked = [
        Opening(end, 0, text_message("user", question + end, images=0 if blind else 1), () if blind else (shapes[0],))
        for end in ("middle", "left")
    ]
    fed: list[tuple[int, ...]] = []
    hook = policy(family).model.register_forward_pre_hook(
        lambda _, args, kwargs: fed.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    said = texts(engine(policy(family)).converse(asked, FOLLOW_UPS))
    hook.remove()
    rows, width = fed[0]
    assert rows == 1
    assert width > len(question)
    # What is left of the longer one: "middle", the end of the turn, and the opening of the reply.
    assert fed[1] == (2, len("middle") + len("\nassistant\n") + 2)
    assert said == [generated(policy(family), opening, FOLLOW_UPS) for opening in asked]


@pytest.mark.parametrize("family", [*families.SEEING, *families.TOKENWISE, "gemma3", "paligemma", "llama"])
def test_widths_that_batches_are_planned_by_are_those_of_the_rows(
    family: str, policy: Callable[[str], Policy], shapes: list[str]
) -> None:
    renderer, asked = Renderer(policy(family)), openings(family, shapes)
    ids = [
        renderer.encode([renderer.text([each.message], reply=True)], [load_images(each.images, [each.message])]).ids[0]
        for each in asked
    ]
    assert Widths(renderer).rows(asked, [], 10) == [len(each) + 10 for each in ids]


@pytest.mark.parametrize("family", ["llava", "mllama", "qwen2_5_vl"])
def test_a_budget_of_tokens_changes_no_reply(
    family: str, policy: Callable[[str], Policy], shapes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = openings(family, shapes)
    expected = texts(engine(policy(family)).converse(asked, FOLLOW_UPS))
    widths = Widths(Renderer(policy(family))).rows(asked, FOLLOW_UPS, LIMIT)
    held: list[int] = []
    together = HFEngine._together
    monkeypatch.setattr(
        HFEngine, "_together", lambda self, some, *more: held.append(len(some)) or together(self, some, *more)
    )
    budgeted = engine(policy(family), tokens_per_batch=2 * max(widths))
    assert texts(budgeted.converse(asked, FOLLOW_UPS)) == expected
    assert len(held) > 1
    assert max(held) > 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "smolvlm", "llama", "gemma2"])
@pytest.mark.parametrize("continue_cache", [True, False])
def test_half_precision_runs(dtype: torch.dtype, family: str, continue_cache: bool, shapes: list[str]) -> None:
    built = families.build(family)
    half = Policy(built.model.to(dtype), built.processor, built.ref)
    said = engine(half, continue_cache=continue_cache).converse(openings(family, shapes), FOLLOW_UPS)
    assert all(reply.logp is not None and reply.logp > -1e4 for replies in said for reply in replies)
    assert {len(replies) for replies in said} == {3}
