"""The two ways of holding a conversation that ours is measured against, both of transformers' own parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sclvlm.engines import Opening
from sclvlm.models import Policy, accepts
from sclvlm.pictures import load_images
from sclvlm.records import Message, text_message
from sclvlm.rendering import TYPE_KEYS, Renderer

Conversations = list[list[str]]
"""For each opening its replies."""


def loop(policy: Policy, openings: Sequence[Opening], follow_ups: Sequence[Message], limit: int) -> Conversations:
    """One question at a time, each turn a call of `generate` that starts from nothing, as released scripts do.

    limit: tokens of an answer at most.
    """
    return [batched(policy, [opening], follow_ups, limit)[0] for opening in openings]


@torch.inference_mode()
def batched(policy: Policy, openings: Sequence[Opening], follow_ups: Sequence[Message], limit: int) -> Conversations:
    """All together, left-padded, each turn a call of `generate` that starts from nothing."""
    said = [[opening.message] for opening in openings]
    replies: Conversations = [[] for _ in openings]
    for turn in range(1 + len(follow_ups)):
        for conversation, reply, text in zip(said, replies, _turn(policy, openings, said, limit), strict=True):
            reply.append(text)
            conversation += [text_message("assistant", text), *follow_ups[turn : turn + 1]]
    return replies


def _turn(policy: Policy, openings: Sequence[Opening], said: list[list[Message]], limit: int) -> list[str]:
    inputs = _inputs(policy, openings, said)
    written = policy.model.generate(**inputs, max_new_tokens=limit, do_sample=False, pad_token_id=policy.pad_id)
    texts: list[str] = policy.tokenizer.batch_decode(
        written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return texts


def _inputs(policy: Policy, openings: Sequence[Opening], said: list[list[Message]]) -> dict[str, Any]:
    texts = [Renderer(policy).text(conversation, reply=True) for conversation in said]
    pictures = [load_images(opening.images, [opening.message]) for opening in openings]
    encoded = policy.processor(
        text=texts,
        **({"images": pictures} if any(pictures) else {}),
        padding=True,
        padding_side="left",
        add_special_tokens=False,
        return_tensors="pt",
    )
    used = {name: value for name, value in encoded.items() if name not in TYPE_KEYS or accepts(policy.model, name)}
    return {name: value.to(policy.device) for name, value in used.items()}
