from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM as Auto
from transformers import Gemma3TextConfig, MambaConfig, MistralConfig, Qwen2Config

from sclvlm.collation import Collator, logps
from sclvlm.engines import Opening, Reply
from sclvlm.engines.drafts import Draft, Written
from sclvlm.engines.exactness import why_not_continued
from sclvlm.engines.hf import HFEngine
from sclvlm.engines.sampling import RowSampler
from sclvlm.engines.seeds import row_seed
from sclvlm.models import Policy, load_policy
from sclvlm.pictures import load_images
from sclvlm.prompts import INITIAL, REVIEW
from sclvlm.records import AnswerKind, Demonstration, Message, Sample, text_message
from sclvlm.rendering import Renderer
from sclvlm.self_correction.conversing import Dialogue, converse
from sclvlm.tuning import Lora, tune
from tests import tiny

FAMILIES = ["fast_vlm", "llava", "qwen", "llama"]
QUESTIONS = ["What is it?", "a", "Which colour has the shape in the picture?", "What is it?"]
FOLLOW_UPS = [text_message("user", "Look again!"), text_message("user", "Sure?")]


def openings(family: str, pictures: list[str]) -> list[Opening]:
    """Ragged questions, about pictures where the family sees."""
    return [
        Opening(f"q{index}", 0, text_message("user", question, images=int(family != "llama")), (picture,))
        if family != "llama"
        else Opening(f"q{index}", 0, text_message("user", question), ())
        for index, (question, picture) in enumerate(zip(QUESTIONS, pictures, strict=True))
    ]


def engine(policy: Policy, **settings: Any) -> HFEngine:
    return HFEngine(policy, **{"seed": 0, "max_new_tokens": 16, **settings})


def words(conversations: Sequence[Sequence[Reply]]) -> list[list[tuple[str, int, str]]]:
    """Everything of the replies but the log-probabilities, which rounding may touch."""
    return [[reply[:3] for reply in replies] for replies in conversations]


def generated(policy: Policy, opening: Opening, follow_ups: Sequence[Message], limit: int) -> list[str]:
    """What `model.generate` says by itself to one conversation."""
    renderer, said = Renderer(policy), [opening.message]
    images = load_images(opening.images, said)
    replies = []
    for turn in range(1 + len(follow_ups)):
        takes_images = {"images": images} if images else {}
        text = renderer.text(said, reply=True)
        inputs = policy.processor(text=text, **takes_images, add_special_tokens=False, return_tensors="pt")
        used = {name: value for name, value in inputs.items() if name != "token_type_ids"}
        if "qwen" not in policy.ref.path:
            used.pop("mm_token_type_ids", None)
        ids = policy.model.generate(**used, max_new_tokens=limit, do_sample=False)[0, used["input_ids"].shape[1] :]
        replies.append(policy.tokenizer.decode(ids, skip_special_tokens=True))
        said += [text_message("assistant", replies[-1]), *follow_ups[turn : turn + 1]]
    return replies


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rounds", [1, 2])
def test_batched_turns_in_one_cache_say_what_generate_says_to_each_alone(
    family: str, rounds: int, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    policy, asked = tiny_policy(family), openings(family, pictures)
    said = engine(policy).converse(asked, FOLLOW_UPS[:rounds])
    expected = [generated(policy, opening, FOLLOW_UPS[:rounds], 16) for opening in asked]
    assert [[reply.text for reply in replies] for replies in said] == expected


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("limit", [1, 3, 16])
def test_the_continued_path_replies_as_the_plain_path(
    family: str, limit: int, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    policy, asked = tiny_policy(family), openings(family, pictures)
    continued = engine(policy, max_new_tokens=limit).converse(asked, FOLLOW_UPS)
    plain = engine(policy, max_new_tokens=limit, continue_cache=False).converse(asked, FOLLOW_UPS)
    assert words(continued) == words(plain)
    for ours, theirs in zip(continued, plain, strict=True):
        assert [reply.logp for reply in ours] == pytest.approx([reply.logp for reply in theirs], abs=1e-3)


def test_the_comparisons_see_replies_that_stop_and_replies_that_are_cut(
    tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    for family in FAMILIES:
        said = engine(tiny_policy(family)).converse(openings(family, pictures), FOLLOW_UPS)
        assert {reply.finish_reason for replies in said for reply in replies} == {"stop", "length"}, family


@pytest.mark.parametrize("family", ["fast_vlm", "llava", "qwen"])
def test_the_picture_changes_the_reply(family: str, tiny_policy: Callable[[str], Policy], pictures: list[str]) -> None:
    first, *_, last = engine(tiny_policy(family)).converse(openings(family, pictures), [])
    assert first[0].text != last[0].text  # the same question


@pytest.mark.parametrize("continue_cache", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("family", ["fast_vlm", "qwen"])
def test_batch_size_and_order_change_nothing(
    family: str,
    temperature: float,
    continue_cache: bool,
    tiny_policy: Callable[[str], Policy],
    pictures: list[str],
) -> None:
    speaker = engine(tiny_policy(family), temperature=temperature, continue_cache=continue_cache)
    asked = openings(family, pictures)
    together = words(speaker.converse(asked, FOLLOW_UPS[:1]))
    turned = words(speaker.converse(asked[::-1], FOLLOW_UPS[:1]))[::-1]
    alone = [words(speaker.converse([opening], FOLLOW_UPS[:1]))[0] for opening in asked]
    assert together == turned == alone


def test_a_sampled_reply_depends_on_seed_and_draw(tiny_policy: Callable[[str], Policy]) -> None:
    policy, opening = tiny_policy("llama"), openings("llama", [""] * 4)[0]
    said = words(engine(policy, temperature=1.0).converse([opening], []))
    assert said == words(engine(policy, temperature=1.0).converse([opening], []))
    assert said != words(engine(policy, temperature=1.0, seed=1).converse([opening], []))
    assert said != words(engine(policy, temperature=1.0).converse([replace(opening, draw=1)], []))


@pytest.mark.parametrize("continue_cache", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_logp_is_what_the_trainer_gives_the_same_reply(
    family: str, continue_cache: bool, tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    policy, asked = tiny_policy(family), openings(family, pictures)
    # Long enough that some replies stop by themselves; a cut one has no end of turn to score.
    said = engine(policy, max_new_tokens=16, continue_cache=continue_cache).converse(asked, FOLLOW_UPS[:1])
    ended = [
        (Demonstration(id=opening.id, prompt=prompt, completion=answer, images=opening.images), reply.logp)
        for opening, replies in zip(asked, said, strict=True)
        for prompt, answer, reply in _scored(opening, replies)
        if reply.finish_reason == "stop"
    ]
    with torch.no_grad():
        sums = logps(policy.model, Collator(Renderer(policy))([record for record, _ in ended])).sums
    assert sums[:, 0].tolist() == pytest.approx([logp for _, logp in ended], abs=1e-3)


def _scored(opening: Opening, replies: Sequence[Reply]) -> list[tuple[list[Message], list[Message], Reply]]:
    first, second = (text_message("assistant", reply.text) for reply in replies)
    return [
        ([opening.message], [first], replies[0]),
        ([opening.message, first, FOLLOW_UPS[0]], [second], replies[1]),
    ]


def test_settings_that_came_with_a_model_change_no_reply(tiny_model: Callable[[str], Path]) -> None:
    policy, asked = tiny.load(tiny_model("llama")), openings("llama", [""] * 4)
    plain = engine(policy, continue_cache=False).converse(asked, [])
    policy.model.generation_config.repetition_penalty = 5.0
    assert engine(policy, continue_cache=False).converse(asked, []) == plain
    assert policy.model.generation_config.repetition_penalty == 5.0


def test_a_model_with_adapters_continues_its_cache(tiny_model: Callable[[str], Path], pictures: list[str]) -> None:
    bare, asked = tiny.load(tiny_model("fast_vlm")), openings("fast_vlm", pictures)
    said = words(engine(bare).converse(asked, FOLLOW_UPS))
    model = tune(bare.model, Lora(2, 2, 0.0, ["q_proj"])).eval()
    adapted = Policy(model, bare.processor, bare.ref)
    assert why_not_continued(model) is None
    for continue_cache in (True, False):
        # Fresh adapters change nothing.
        assert words(engine(adapted, continue_cache=continue_cache).converse(asked, FOLLOW_UPS)) == said


def test_a_template_that_rewrites_earlier_turns_is_encoded_anew(
    tiny_model: Callable[[str], Path], pictures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    policy, asked = tiny.load(tiny_model("fast_vlm")), openings("fast_vlm", pictures)
    policy.processor.chat_template = tiny.CHATML.replace("IMAGE", "<image>").replace(
        "<|im_start|>{{", "<|im_start|>{{ '' if loop.last else 'past ' }}{{"
    )
    continued = engine(policy).converse(asked, FOLLOW_UPS)
    assert "the chat template rewrites earlier turns" in caplog.text
    assert words(continued) == words(engine(policy, continue_cache=False).converse(asked, FOLLOW_UPS))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("written", ["part['text']", "part['text'] | trim"])
def test_replies_go_on_as_their_text_reads_and_not_as_they_were_picked(
    family: str, written: str, tiny_model: Callable[[str], Path], pictures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    policy, asked = tiny.load(tiny_model(family)), openings(family, pictures)
    as_picked = engine(policy).converse(asked, FOLLOW_UPS)
    replies = [reply.text for each in as_picked for reply in each]
    pairs = {text[at : at + 2] for text in replies for at in range(len(text) - 1) if text[at] != "\n"}
    policy.tokenizer.add_tokens(sorted(pairs))  # none that begins with the end of what opens a reply
    policy.model.resize_token_embeddings(len(policy.tokenizer), mean_resizing=False)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[-len(pairs) :] = 0.0  # read, never picked
    policy.processor.chat_template = policy.processor.chat_template.replace("part['text']", written)
    as_read = engine(policy).converse(asked, FOLLOW_UPS)
    assert not caplog.text
    assert words(as_read) == words(engine(policy, continue_cache=False).converse(asked, FOLLOW_UPS))
    assert words(as_read) != words(as_picked)


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_attention_replies_as_plain_attention(
    family: str, tiny_model: Callable[[str], Path], tiny_policy: Callable[[str], Policy], pictures: list[str]
) -> None:
    fused = load_policy(str(tiny_model(family)), dtype="float32", device="cpu")
    asked = openings(family, pictures)
    expected = words(engine(tiny_policy(family)).converse(asked, FOLLOW_UPS))
    assert words(engine(fused).converse(asked, FOLLOW_UPS)) == expected


SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 16, "intermediate_size": 8}


@pytest.mark.parametrize(
    "config",
    [
        MistralConfig(**SMALL, num_key_value_heads=1, sliding_window=4),
        Qwen2Config(**SMALL, num_key_value_heads=1, use_sliding_window=True, sliding_window=4, max_window_layers=0),
        Gemma3TextConfig(**SMALL, num_key_value_heads=1, head_dim=4),
        MambaConfig(hidden_size=8, num_hidden_layers=2, vocab_size=16),
    ],
    ids=lambda config: config.model_type,
)
def test_windows_and_recurrence_take_the_plain_path(config: Any) -> None:
    with torch.device("meta"):
        assert why_not_continued(Auto.from_config(config)) is not None


def test_a_window_that_is_switched_off_is_no_window() -> None:
    with torch.device("meta"):
        assert (
            why_not_continued(Auto.from_config(Qwen2Config(**SMALL, num_key_value_heads=1, sliding_window=4))) is None
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_full_attention_continues_also_with_positions_in_three_dimensions(
    family: str, tiny_policy: Callable[[str], Policy]
) -> None:
    assert why_not_continued(tiny_policy(family).model) is None


def test_sampled_frequencies_are_those_of_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5])
    rows = 4000
    sampler = RowSampler([row_seed(0, "x", draw, 0) for draw in range(rows)], steps=1, temperature=0.7, top_p=1.0)
    tokens, _ = sampler.pick(logits.expand(rows, 4), 0)
    share = torch.bincount(tokens, minlength=4) / rows
    # Standard deviations of a share are below 0.5 / sqrt(4000) = 0.008.
    torch.testing.assert_close(share, (logits / 0.7).softmax(-1), rtol=0, atol=0.032)


def test_log_probabilities_are_at_temperature_one() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    tokens, found = RowSampler([1], steps=1, temperature=0.1, top_p=0.5).pick(logits, 0)
    torch.testing.assert_close(found, logits.log_softmax(-1)[:, tokens[0]])


@pytest.mark.parametrize(("begun", "opened"), [("<think>\n", "<think>"), ("<think>\n\n</think>\n\n", ""), ("", "")])
def test_a_reply_says_which_thought_the_template_had_begun(
    begun: str, opened: str, tiny_policy: Callable[[str], Policy]
) -> None:
    policy, asked = tiny_policy("llama"), openings("llama", [""] * 4)[:2]
    words = deepcopy(policy.tokenizer)
    words.chat_template = tiny.CHATML.replace("assistant\n{%", f"assistant\n{begun}{{%")
    said = engine(replace(policy, processor=words)).converse(asked, FOLLOW_UPS)
    assert {reply.opened for replies in said for reply in replies} == {opened}


@pytest.mark.parametrize("continue_cache", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_conversation_whose_logits_are_not_finite_fails_by_itself(
    continue_cache: bool, temperature: float, tiny_policy: Callable[[str], Policy]
) -> None:
    policy, (tilde,) = tiny_policy("llama"), tiny_policy("llama").tokenizer("~")["input_ids"]
    speaker = engine(policy, continue_cache=continue_cache, temperature=temperature)
    asked = [
        (Sample(id=text, question=text, kind=AnswerKind.TEXT, answer="x"), 0) for text in ("Hm?", "Why?", "~~", "Oh")
    ]
    dialogue = Dialogue(INITIAL["bare"], REVIEW["again"], 1)
    expected = [each.replies[0].text for each in converse(asked, speaker, dialogue)]

    def overflow(_: Any, args: Any, inputs: Any, output: Any) -> None:
        if inputs["input_ids"].shape[1] > 1:  # what is asked, and not what a reply says
            output.logits[(inputs["input_ids"] == tilde).any(1)] = torch.nan

    hook = policy.model.register_forward_hook(overflow, with_kwargs=True)
    said = converse(asked, speaker, dialogue)
    hook.remove()
    assert [each.replies[0].text for each in said if not each.error] == [*expected[:2], expected[3]]
    assert [each.opening.id for each in said if each.error] == ["~~"]
    assert "logits are not finite in float32. Set model.dtype to bfloat16 or float32" in said[2].reason


def test_what_a_row_would_go_on_with_once_it_has_ended_does_not_count() -> None:
    draft, rows = Draft(2, 3, [9], torch.device("cpu")), torch.arange(2)
    draft.write(rows, torch.tensor([9, 1]), torch.tensor([-1.0, -1.0]))
    draft.write(rows, torch.tensor([0, 9]), torch.tensor([torch.nan, -2.0]))
    assert draft.replies() == [Written([9], True, -1.0), Written([1, 9], True, -3.0)]


def test_temperature_zero_picks_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert RowSampler([1, 2], steps=1, temperature=0.0, top_p=1.0).pick(logits, 0)[0].tolist() == [1, 0]


@given(
    scores=st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=8),
    top_p=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**62),
)
def test_top_p_keeps_the_smallest_set_of_likeliest_tokens(scores: list[float], top_p: float, seed: int) -> None:
    logits = torch.tensor([scores])
    [token] = RowSampler([seed], steps=1, temperature=1.0, top_p=top_p).pick(logits, 0)[0].tolist()
    probabilities = logits[0].softmax(-1)  # as rounded as the sampler sees them: ties are ties
    likelier = probabilities[probabilities > probabilities[token]].sum().item()
    assert likelier < top_p + 1e-6


def test_a_tiny_top_p_keeps_the_likeliest_token() -> None:
    logits = torch.tensor([[0.0, 0.1, 0.05]]).expand(100, 3)
    tokens, _ = RowSampler(range(100), steps=1, temperature=1.0, top_p=1e-9).pick(logits, 0)
    assert set(tokens.tolist()) == {1}


def test_top_p_takes_no_token_beyond_the_mass_it_asks_for() -> None:
    even = torch.zeros(100, 2)  # the first of two equally likely tokens holds a half
    tokens, _ = RowSampler(range(100), steps=1, temperature=1.0, top_p=0.5).pick(even, 0)
    assert set(tokens.tolist()) == {0}


def test_an_excluded_token_is_not_drawn_by_the_smallest_number() -> None:
    sampler = RowSampler([0], steps=1, temperature=1.0, top_p=0.5)
    sampler._uniform.zero_()
    assert sampler.pick(torch.tensor([[0.0, 5.0]]), 0)[0].tolist() == [1]


def test_seeds_differ_in_every_part() -> None:
    parts = [(0, "a", 0, 0), (1, "a", 0, 0), (0, "b", 0, 0), (0, "a", 1, 0), (0, "a", 0, 1)]
    assert len({row_seed(*part) for part in parts}) == len(parts)
