"""Completions of several turns: the assistant's are scored, what tools and users say between them is only read."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sclvlm.collation import Collator, Logps, logps
from sclvlm.errors import SclvlmError
from sclvlm.models import Policy
from sclvlm.pictures import load_images
from sclvlm.records import Message, PreferencePair, text_message
from sclvlm.rendering import Renderer
from tests import families, tiny
from tests.test_rendering import ASK, PLAIN, PUSHY, byte_level, end, sentence_piece

LOOKING = [
    text_message("assistant", "Let me look."),
    text_message("tool", "a red square"),
    text_message("assistant", "It is red."),
]
PLAINLY = [text_message("assistant", "Red")]
RENDERERS = [byte_level(), byte_level(PUSHY), byte_level(PLAIN), sentence_piece(), sentence_piece(tiny.CHATML)]
# Only the last reply keeps its last word, as templates do that cut thoughts out of earlier turns.
CUTTING = tiny.CHATML.replace(
    "{{ message['content'] }}",
    "{{ message['content'] if loop.last or message['role'] != 'assistant' else message['content'].split()[0] }}",
)
CALLING = tiny.CHATML.replace(
    "<|im_end|>", "{% for call in message['tool_calls'] %}{{ call['name'] }}{% endfor %}<|im_end|>"
)


def runs(renderer: Renderer, completion: list[Message], *, written: bool) -> list[str]:
    """The texts of the runs of ids that the assistant writes, or that it doesn't."""
    reply = renderer.reply(ASK, completion)
    found: list[list[int]] = []
    for token, own, before in zip(reply.ids, reply.written, [not reply.written[0], *reply.written], strict=False):
        if own != before:
            found.append([])
        if own is written:
            found[-1].append(token)
    return [renderer.policy.tokenizer.decode(ids).strip() for ids in found if ids]


@pytest.mark.parametrize("renderer", RENDERERS)
def test_prompt_and_turns_are_the_ids_of_the_whole_conversation(renderer: Renderer) -> None:
    whole = renderer.tokens(renderer.text([*ASK, *LOOKING], reply=False))
    cut = renderer.tokens(renderer.text(ASK, reply=True)) + renderer.reply(ASK, LOOKING).ids
    assert cut[:-1] == whole[: len(cut) - 1]


def test_the_assistant_writes_its_turns_and_their_ends() -> None:
    assert runs(byte_level(), LOOKING, written=True) == ["Let me look.<|im_end|>", "It is red.<|im_end|>"]


def test_the_tool_and_the_opening_of_the_next_turn_are_not_written() -> None:
    between = "<|im_start|>tool\na red square<|im_end|>\n<|im_start|>assistant"
    assert runs(byte_level(), LOOKING, written=False) == [between]


def test_a_second_end_of_a_turn_is_not_written() -> None:
    assert runs(byte_level(PUSHY), LOOKING, written=True) == ["Let me look.<|im_end|>", "It is red.<|im_end|>"]


def test_a_template_without_ends_gets_one_behind_the_last_turn_alone() -> None:
    renderer = byte_level(PLAIN)
    assert runs(renderer, LOOKING, written=True) == ["Let me look.", "It is red.<|im_end|>"]
    assert renderer.reply(ASK, LOOKING).ids.count(end(renderer)) == 1


def test_a_turn_that_quotes_an_end_is_written_to_its_own_end() -> None:
    quoting = [text_message("assistant", f"A {tiny.END} token."), *LOOKING[1:]]
    expected = [f"A {tiny.END} token.{tiny.END}", f"It is red.{tiny.END}"]
    assert runs(byte_level(), quoting, written=True) == expected


def test_one_turn_is_written_whole() -> None:
    assert all(byte_level().reply(ASK, PLAINLY).written)


def test_a_template_that_rewrites_a_turn_once_more_follows_cannot_score_it() -> None:
    with pytest.raises(SclvlmError, match="or a reply once more follows"):
        byte_level(CUTTING).reply(ASK, LOOKING)
    assert byte_level(CUTTING).reply(ASK, PLAINLY).ids


@pytest.mark.parametrize("completion", [[], LOOKING[:2], LOOKING[1:]], ids=["nothing", "tool last", "tool first"])
def test_a_completion_begins_and_ends_with_the_assistant(completion: list[Message]) -> None:
    with pytest.raises(SclvlmError, match="must begin and end with an assistant message"):
        byte_level().reply(ASK, completion)


def test_a_completion_holds_no_picture() -> None:
    seen = [LOOKING[0], text_message("tool", "here", images=1), LOOKING[2]]
    with pytest.raises(SclvlmError, match="must hold no image placeholder"):
        byte_level().reply(ASK, seen)


def test_a_template_is_given_the_calls_of_tools() -> None:
    called = [{**text_message("assistant", "So:"), "tool_calls": [{"name": "look"}]}, *LOOKING[1:]]
    assert runs(byte_level(CALLING), called, written=True)[0] == "So:look<|im_end|>"


def pairs(pictures: list[str], family: str) -> list[PreferencePair]:
    """Turns against one answer, and a short pair beside it."""
    images = tuple(pictures[:1]) if family in families.SEEING else ()
    asked = [text_message("user", "What is it?", images=len(images))]
    turns = PreferencePair(id="turns", prompt=asked, chosen=LOOKING, rejected=PLAINLY, images=images)
    return [turns, families.pair("Hm?", "y", "nothing")]


def measured(policy: Policy, records: list[Any], layout: Any) -> Logps:
    with torch.no_grad():
        return logps(policy.model, Collator(Renderer(policy), layout)(records), exact=True)


def alone(policy: Policy, record: PreferencePair, completion: list[Message]) -> float:
    """The sum over the assistant's tokens of one whole sequence, without padding."""
    renderer, images = Renderer(policy), load_images(record.images, record.prompt)
    prompt = renderer.encode([renderer.text(record.prompt, reply=True)], [images])
    reply = renderer.reply(record.prompt, completion)
    ids = torch.tensor([prompt.ids[0] + reply.ids])
    types = {name: torch.tensor([rows[0] + [0] * len(reply.ids)]) for name, rows in prompt.types.items()}
    with torch.no_grad():
        scores = policy.model(input_ids=ids, **prompt.images, **types, use_cache=False).logits[0].log_softmax(-1)
    each = scores[-len(reply.ids) - 1 : -1].gather(1, ids[0, -len(reply.ids) :, None])[:, 0]
    return float(each[torch.tensor(reply.written)].sum())


@pytest.mark.parametrize("layout", ["plain", "shared"])
@pytest.mark.parametrize("family", ["llama", "qwen2_vl", "llava"])
def test_either_layout_sums_over_the_turns_of_the_assistant(family: str, layout: str, pictures: list[str]) -> None:
    policy = families.build(family)
    records = pairs(pictures, family)
    expected = [[alone(policy, record, side) for side in record.completions] for record in records]
    torch.testing.assert_close(measured(policy, records, layout).sums, torch.tensor(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", ["plain", "shared"])
def test_only_tokens_of_the_assistant_are_counted(layout: str, pictures: list[str]) -> None:
    # One token a character and one an end: "Let me look." and "It is red." against "Red"; "y" against "nothing".
    counted = measured(families.build("llama"), pairs(pictures, "llama"), layout).num_tokens
    assert counted.tolist() == [[12 + 1 + 10 + 1, 3 + 1], [1 + 1, 7 + 1]]


def test_the_length_of_a_row_counts_all_turns() -> None:
    record = pairs([], "llama")[0]
    # Beside the turns of the test above: a newline, the opening and name of tool, a newline, its words and their end,
    # a newline, the opening and name of assistant, a newline.
    between = (1 + 1 + 4 + 1) + len("a red square") + 2 + (1 + 9 + 1)
    assert Collator(Renderer(families.build("llama"))).size(record).completion == 24 + between
