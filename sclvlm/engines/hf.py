"""Generation in process through transformers: batched, both turns in one key/value cache.

Two paths give the same replies. The continuing one prefills only what each turn adds. The plain one encodes
the whole conversation anew each turn and calls `model.generate`; it serves every model, also those whose
cache can't be continued exactly.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from sclvlm.engines import Opening, Reply
from sclvlm.engines.cache import RowCache
from sclvlm.engines.context import check_fits
from sclvlm.engines.drafts import Draft, Written
from sclvlm.engines.sampling import RowSampler, row_seed
from sclvlm.models import Policy, accepts, counts_positions, unwrapped
from sclvlm.records import Message, text_message
from sclvlm.rendering import TYPE_KEYS, Renderer, load_images, pad, position_ids

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HFEngine:
    """Answers batches of conversations with a loaded policy."""

    policy: Policy
    seed: int
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    continue_cache: bool = True

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        """Replies to each opening and each follow-up; see `engines.Engine`."""
        images = [load_images(opening.images, [opening.message]) for opening in openings]
        conversations = [[opening.message] for opening in openings]
        turns: _Turns = (_ContinuedTurns if self._may_continue() else _ScratchTurns)(self, images)
        replies: list[list[Reply]] = [[] for _ in openings]
        for turn in range(1 + len(follow_ups)):
            seeds = [row_seed(self.seed, opening.id, opening.draw, turn) for opening in openings]
            for said, conversation, reply in zip(
                replies, conversations, turns.reply(conversations, self._sampler(seeds)), strict=True
            ):
                said.append(reply)
                conversation.append(text_message("assistant", reply.text))
                conversation.extend(follow_ups[turn : turn + 1])
        return replies

    def _sampler(self, seeds: list[int]) -> RowSampler:
        return RowSampler(seeds, steps=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)

    def _may_continue(self) -> bool:
        return self.continue_cache and can_continue(self.policy.model)


def can_continue(model: Any) -> bool:
    """Whether a key/value cache of `model` can be continued with padding inside, exactly.

    Not with sliding windows or recurrent layers (their states depend on the padding), not with positions
    other than a running count (mrope), not where attention looks at token types.
    """
    if not counts_positions(model) or any(accepts(model, key) for key in TYPE_KEYS):
        return False
    text = model.config.get_text_config()
    layers = set(getattr(text, "layer_types", None) or ["full_attention"])
    bidirectional = getattr(text, "use_bidirectional_attention", None)
    windowed = getattr(text, "sliding_window", None) if getattr(text, "use_sliding_window", True) else None
    recurrent = getattr(unwrapped(model), "_is_stateful", False)
    return layers == {"full_attention"} and not windowed and not bidirectional and not recurrent


class _Turns:
    """Replies to the last message of growing conversations."""

    def __init__(self, engine: HFEngine, images: list[list[Image.Image]]) -> None:
        self.engine, self.images = engine, images
        self.policy, self.renderer = engine.policy, Renderer(engine.policy)

    def reply(self, conversations: list[list[Message]], sampler: RowSampler) -> list[Reply]:
        """One reply a conversation."""
        raise NotImplementedError

    def encode(self, conversations: list[list[Message]]) -> tuple[list[list[int]], dict[str, Tensor]]:
        """Ids of whole conversations, and what else the model takes for them, on the policy's device."""
        texts = [self.renderer.text(conversation, reply=True) for conversation in conversations]
        encoded = self.renderer.encode(texts, self.images)
        types = {name: pad(rows, 0, left=True)[0] for name, rows in encoded.types.items()}
        return encoded.ids, to_model({**encoded.images, **types}, self.policy)

    def finish(self, written: Written) -> Reply:
        """The reply that its tokens spell; a stop token at the end is counted and not shown."""
        shown = written.tokens[:-1] if written.stopped else written.tokens
        text = self.policy.tokenizer.decode(shown, skip_special_tokens=True)
        return Reply(text, len(written.tokens), "stop" if written.stopped else "length", written.logp)


class _ContinuedTurns(_Turns):
    """Keeps the cache between turns; padding may lie anywhere in it, masked."""

    def __init__(self, engine: HFEngine, images: list[list[Image.Image]]) -> None:
        super().__init__(engine, images)
        self.cache = self._empty()
        self.unseen: list[list[int]] = [[] for _ in images]  # picked, but not yet in the cache

    def _empty(self) -> RowCache:
        return RowCache(self.policy.model.config, len(self.images), self.policy.device)

    @torch.inference_mode()
    def reply(self, conversations: list[list[Message]], sampler: RowSampler) -> list[Reply]:
        self.cache.rejoin()
        rows, images = self._additions(conversations)
        held = self.cache.mask.sum(1).tolist()
        check_fits(self.policy.model.config, map(sum, zip(held, map(len, rows), strict=True)))
        ids, mask = pad(rows, self.policy.pad_id, left=True)
        logits = self._extend(ids.to(self.policy.device), mask.to(self.policy.device), images)
        draft = Draft(len(rows), self.engine.max_new_tokens, self.policy.stop_ids, logits.device)
        while draft.write(self.cache.present, *sampler.pick(logits, draft.step, self.cache.present)):
            active = draft.active[self.cache.present]
            if 2 * active.sum() <= len(active):  # copying what stays is worth half of the work
                self.cache.keep(active)
                active = active[active]
            logits = self._extend(draft.last(self.cache.present), active[:, None].long(), {})
        written = draft.replies()
        self.unseen = [[] if each.stopped else each.tokens[-1:] for each in written]
        return [self.finish(each) for each in written]

    def _additions(self, conversations: list[list[Message]]) -> tuple[list[list[int]], dict[str, Tensor]]:
        """What each conversation adds to the cache: all of it at first, then the follow-up."""
        if self.cache.mask.shape[1] == 0:
            return self.encode(conversations)
        added = [self.renderer.follow_up(said[:-1], said[-1]) for said in conversations]
        if any(ids is None for ids in added):
            self._start_over()
            return self.encode(conversations)
        return [[*unseen, *(ids or [])] for unseen, ids in zip(self.unseen, added, strict=True)], {}

    def _start_over(self) -> None:
        log.warning("the chat template rewrites earlier turns: each turn is encoded anew")
        self.cache = self._empty()

    def _extend(self, ids: Tensor, mask: Tensor, images: dict[str, Tensor]) -> Tensor:
        """Run `ids` (present, new) behind the cache; float32 logits (present, vocabulary) of the last position."""
        mask = self.cache.add(mask)
        output = self.policy.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position_ids(mask)[:, -ids.shape[1] :],
            cache=self.cache.cache,
            use_cache=True,
            logits_to_keep=torch.tensor([ids.shape[1] - 1], device=ids.device),  # as in collation.logps
            **images,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits


class _ScratchTurns(_Turns):
    """Encodes the whole conversation each turn and lets `model.generate` do the rest."""

    @torch.inference_mode()
    def reply(self, conversations: list[list[Message]], sampler: RowSampler) -> list[Reply]:
        rows, inputs = self.encode(conversations)
        check_fits(self.policy.model.config, map(len, rows))
        written = write(self.policy, rows, inputs, sampler, max_new_tokens=self.engine.max_new_tokens)
        return [self.finish(each) for each in written]


def write(
    policy: Policy,
    prompts: list[list[int]],
    inputs: dict[str, Any],
    sampler: RowSampler,
    *,
    max_new_tokens: int,
    also_ends: Sequence[int] = (),
) -> list[Written]:
    """One continuation of each of `prompts` by `model.generate`, each token chosen by `sampler`.

    inputs: what the model takes beside the ids and their mask, on its device. also_ends: ids that end it beside the
    policy's own.
    """
    ids, mask = pad(prompts, policy.pad_id, left=True)
    chooser = _Chooser(sampler)
    stop_ids = [*policy.stop_ids, *also_ends]
    with _no_habits(policy.model):
        written = policy.model.generate(
            input_ids=ids.to(policy.device),
            attention_mask=mask.to(policy.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([chooser]),
            eos_token_id=stop_ids,
            pad_token_id=policy.pad_id,
            **inputs,
        )[:, ids.shape[1] :].tolist()
    logps = torch.stack(chooser.logps, 1)  # (rows, steps)
    ends = [next((at for at, token in enumerate(row) if token in stop_ids), len(row) - 1) + 1 for row in written]
    return [
        Written(row[:end], row[end - 1] in stop_ids, each[:end].sum().item())
        for row, each, end in zip(written, logps, ends, strict=True)
    ]


@contextmanager
def _no_habits(model: Any) -> Iterator[None]:
    """Inside, `generate` ignores the settings that came with the model, such as a repetition penalty.

    They would change the scores before they are chosen from: other replies than the config asks for.
    """
    plain = unwrapped(model)
    habits, plain.generation_config = plain.generation_config, GenerationConfig()
    try:
        yield
    finally:
        plain.generation_config = habits


class _Chooser(LogitsProcessor):  # type: ignore[misc]
    """Lets a RowSampler choose inside `generate`: every token but the chosen one becomes impossible."""

    def __init__(self, sampler: RowSampler) -> None:
        self.sampler = sampler
        self.logps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        tokens, logps = self.sampler.pick(scores.float(), len(self.logps))
        self.logps.append(logps)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


def to_model(tensors: dict[str, Tensor], policy: Policy) -> dict[str, Tensor]:
    """`tensors` on the policy's device, floating point ones in its precision."""
    return {
        name: tensor.to(policy.device, policy.model.dtype if tensor.is_floating_point() else None)
        for name, tensor in tensors.items()
    }
