"""Generation in process through transformers: batched, all turns in one key/value cache.

Two paths give the same replies. The continuing one (`turns`) prefills only what each turn adds. The plain one encodes
the whole conversation anew each turn and calls `model.generate`; it serves every model, also those whose
cache can't be continued exactly.

Pictures and prompts of the next batch are prepared by a thread while the model works on the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from sclvlm.answers.cleaning import thought_opened
from sclvlm.engines import Opening, Reply
from sclvlm.engines.ahead import Ahead
from sclvlm.engines.batching import Widths, batches, equally_pictured
from sclvlm.engines.context import check_fits
from sclvlm.engines.drafts import Written
from sclvlm.engines.exactness import why_not_continued
from sclvlm.engines.notices import say_once
from sclvlm.engines.openings import on_device
from sclvlm.engines.sampling import RowSampler
from sclvlm.engines.seeds import row_seed
from sclvlm.engines.turns import ContinuedTurns, Turns, texts
from sclvlm.models import Policy, has_cross_attention, unwrapped
from sclvlm.records import Message, text_message
from sclvlm.rendering import Encoded, Renderer, pad


class Asked(NamedTuple):
    """What `converse` is asked, and the batches (indices of openings) still to be held; None before they are cut."""

    openings: tuple[Opening, ...]
    follow_ups: tuple[Message, ...]
    left: tuple[tuple[int, ...], ...] | None = None


class Ready(NamedTuple):
    """The next batch, its prompts encoded, and the batches behind it."""

    batch: tuple[int, ...]
    turns: Turns[Any]
    behind: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class HFEngine:
    """Answers conversations with a loaded policy: all at once, or as many as fit in `tokens_per_batch`."""

    policy: Policy
    seed: int
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    continue_cache: bool = True
    tokens_per_batch: int | None = None

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        """Replies to each opening and each follow-up; see `engines.Engine`."""
        replies: list[list[Reply]] = [[] for _ in openings]
        asked = _asked(openings, follow_ups)
        while asked:
            ready = self._ahead.take(asked)
            asked = asked._replace(left=ready.behind) if ready.behind else None
            self._ahead.begin(asked)
            said = self._together([openings[index] for index in ready.batch], follow_ups, ready.turns)
            for index, each in zip(ready.batch, said, strict=True):
                replies[index] = each
        return replies

    def expect(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> None:
        """See `engines.ForesightedEngine`."""
        self._ahead.expected = _asked(openings, follow_ups)

    def forget(self) -> None:
        """See `engines.ForesightedEngine`."""
        self._ahead.expected = None
        self._ahead.drop()

    def _ready(self, asked: Asked) -> Ready:
        """Run by a thread, one at a time."""
        batch, *behind = self._batches(asked) if asked.left is None else asked.left
        openings = [asked.openings[index] for index in batch]
        return Ready(batch, self._turns(self.policy, openings, self.max_new_tokens, self._reader), tuple(behind))

    def _batches(self, asked: Asked) -> list[tuple[int, ...]]:
        apart = has_cross_attention(self.policy.model)  # see Renderer.encode
        groups = equally_pictured(asked.openings) if apart else [list(range(len(asked.openings)))]
        return [batch for group in groups for batch in self._cut(group, asked)]

    def _cut(self, rows: list[int], asked: Asked) -> list[tuple[int, ...]]:
        if self.tokens_per_batch is None:
            return [tuple(rows)]
        widths = self._widths.rows([asked.openings[row] for row in rows], asked.follow_ups, self.max_new_tokens)
        return [tuple(rows[index] for index in batch) for batch in batches(widths, self.tokens_per_batch)]

    def _together(
        self, openings: Sequence[Opening], follow_ups: Sequence[Message], turns: Turns[Any]
    ) -> list[list[Reply]]:
        conversations = [[opening.message] for opening in openings]
        replies: list[list[Reply]] = [[] for _ in openings]
        for turn in range(1 + len(follow_ups)):
            seeds = [row_seed(self.seed, opening.id, opening.draw, turn) for opening in openings]
            opened = [thought_opened(prompt) for prompt in texts(Renderer(self.policy), conversations)]
            written = turns.reply(conversations, self._sampler(seeds))
            for said, conversation, tag, reply in zip(replies, conversations, opened, written, strict=True):
                said.append(reply._replace(opened=tag))
                conversation.append(text_message("assistant", reply.text))
                conversation.extend(follow_ups[turn : turn + 1])
        return replies

    def _sampler(self, seeds: list[int]) -> RowSampler:
        return RowSampler(seeds, steps=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)

    @cached_property
    def _ahead(self) -> Ahead[Asked, Ready]:
        return Ahead(self._ready)

    @cached_property
    def _reader(self) -> Renderer:
        """With a processor of its own: a tokenizer that two threads use at once fails."""
        return Renderer(replace(self.policy, processor=deepcopy(self.policy.processor)))

    @cached_property
    def _widths(self) -> Widths:
        return Widths(self._reader)

    @property
    def _turns(self) -> type[Turns[Any]]:
        """The faster path where it is exact."""
        if not self.continue_cache:
            return ScratchTurns
        if reason := why_not_continued(self.policy.model):
            say_once(self.policy.model, f"{reason}: its cache can't be continued, each turn is encoded anew")
            return ScratchTurns
        return ContinuedTurns


def _asked(openings: Sequence[Opening], follow_ups: Sequence[Message]) -> Asked | None:
    return Asked(tuple(openings), tuple(follow_ups)) if openings else None


class ScratchTurns(Turns[Encoded]):
    """Encodes the whole conversation each turn and lets `model.generate` do the rest."""

    def read(self, renderer: Renderer, conversations: list[list[Message]]) -> Encoded:
        return renderer.encode(texts(renderer, conversations), self.images)

    @torch.inference_mode()
    def reply(self, conversations: list[list[Message]], sampler: RowSampler) -> list[Reply]:
        encoded = on_device(self.prompts(conversations), self.policy)
        check_fits(self.policy.model.config, map(len, encoded.ids))
        types = {name: pad(rows, 0, left=True)[0].to(self.policy.device) for name, rows in encoded.types.items()}
        inputs = {**encoded.images, **types}
        written = write(self.policy, encoded.ids, inputs, sampler, max_new_tokens=self.limit)
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
