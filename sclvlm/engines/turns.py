"""Replies to growing conversations, each turn going on from the key/value cache of the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor

from sclvlm.engines import Opening, Reply
from sclvlm.engines.cache import RowCache
from sclvlm.engines.context import check_fits
from sclvlm.engines.drafts import Draft, Written
from sclvlm.engines.notices import say_once
from sclvlm.engines.openings import Asked, Processed, encode, pictures_of, processed
from sclvlm.engines.places import Places
from sclvlm.engines.sampling import RowSampler, check_finite
from sclvlm.engines.trunks import trunks
from sclvlm.models import Policy, placeholders
from sclvlm.records import Message
from sclvlm.rendering import Renderer, pad

P = TypeVar("P")


class Turns(Generic[P]):
    """Replies of at most `limit` tokens to the last message of conversations that begin with `openings`.

    All that the first turn needs and no model computes is done when this is made, by any thread, with a processor that
    is its own: `reader`'s. P: prompts as `read` leaves them.
    """

    def __init__(self, policy: Policy, openings: Sequence[Opening], limit: int, reader: Renderer) -> None:
        self.policy, self.limit, self.renderer = policy, limit, Renderer(policy)
        self.paths = [opening.images for opening in openings]
        self.images: list[list[Image.Image]] = pictures_of(openings)
        self._first: P | None = self.read(reader, [[opening.message] for opening in openings])

    def read(self, renderer: Renderer, conversations: list[list[Message]]) -> P:
        """Whole conversations through the processor."""
        raise NotImplementedError

    def prompts(self, conversations: list[list[Message]]) -> P:
        """The same; of the first turn what was made before."""
        first, self._first = self._first, None
        return self.read(self.renderer, conversations) if first is None else first

    def reply(self, conversations: list[list[Message]], sampler: RowSampler) -> list[Reply]:
        """One reply a conversation."""
        raise NotImplementedError

    def finish(self, written: Written) -> Reply:
        """The reply that its tokens spell; a stop token at the end is counted and not shown.

        Raises what `check_finite` raises.
        """
        check_finite(written.logp, self.policy.model.dtype)
        shown = written.tokens[:-1] if written.stopped else written.tokens
        text = self.policy.tokenizer.decode(shown, skip_special_tokens=True)
        return Reply(text, len(written.tokens), "stop" if written.stopped else "length", written.logp)


def texts(renderer: Renderer, conversations: list[list[Message]]) -> list[str]:
    """Each through the chat template, up to where the model writes on."""
    return [renderer.text(conversation, reply=True) for conversation in conversations]


class Prompts(NamedTuple):
    """Prompts that all differ, what the processor makes of them, and which of them each row has, (rows,)."""

    once: Asked
    made: Processed
    which: Tensor


class ContinuedTurns(Turns[Prompts]):
    """Keeps the cache between turns; padding may lie anywhere in it, masked.

    Rows that begin alike, as several draws of one question do, or questions about one picture, are one row that far.
    """

    cache: RowCache
    places: Places

    said: list[list[int]] | None = None  # the ids of the last replies in the cache; None before the first turn

    def read(self, renderer: Renderer, conversations: list[list[Message]]) -> Prompts:
        once, which = Asked(texts(renderer, conversations), self.paths, self.images).distinct()
        return Prompts(once, processed(renderer, once), which)

    @torch.inference_mode()
    def reply(self, conversations: list[list[Message]], sampler: RowSampler) -> list[Reply]:
        added = self._added(conversations)
        logits = self._begin(conversations) if added is None else self._follow(added)
        draft = Draft(len(conversations), self.limit, self.policy.stop_ids, logits.device)
        while draft.write(self.cache.present, *sampler.pick(logits, draft.step, self.cache.present)):
            active = draft.active[self.cache.present]
            if 2 * active.sum() <= len(active):  # copying what stays is worth half of the work
                self.cache.keep(active)
                active = active[active]
            logits = self._behind(draft.last(self.cache.present), active[:, None].long())
        written = draft.replies()
        self.said = [each.tokens[:-1] for each in written]  # the last one was picked and not read
        return [self.finish(each) for each in written]

    def _added(self, conversations: list[list[Message]]) -> list[list[int]] | None:
        """Ids that come behind what the cache holds; None where nothing there can be built on.

        A reply counts as its text reads: where the tokens that were picked are others (two line ends in place of the
        one token for both, say), or the template trims it, the cache forgets it from there on.
        """
        if self.said is None:
            return None
        read = [self.renderer.further(each[:-2], each[-2:]) for each in conversations]
        rows = [(held, ids) for held, ids in zip(self.said, read, strict=True) if ids is not None]
        if len(rows) < len(read):
            say_once(
                self.policy.model,
                "the chat template rewrites earlier turns, or a token joins two: each turn is encoded anew",
            )
            return None
        alike = [_alike(held, ids[:-1]) for held, ids in rows]  # something must be left to run
        self.cache.forget([len(held) - same for (held, _), same in zip(rows, alike, strict=True)])
        return [ids[same:] for (_, ids), same in zip(rows, alike, strict=True)]

    def _begin(self, conversations: list[list[Message]]) -> Tensor:
        """A new cache with the whole conversations; what `_extend` returns."""
        once, made, which = self.prompts(conversations)
        logits = self._distinct(once, made)
        if len(once.texts) == len(which):
            return logits
        self._spread(which)
        return logits[which.to(logits.device)]

    def _distinct(self, asked: Asked, made: Processed) -> Tensor:
        """The same for rows that all differ: what they begin with alike first, then what each goes on with."""
        rows, model = encode(self.policy, asked, made), self.policy.model
        ids, types = rows.encoded.ids, rows.encoded.types
        check_fits(model.config, map(len, ids))
        shared = trunks(ids, asked.paths, placeholders(model)) if rows.divisible else None
        if shared is None:
            return self._prefill(ids, types, rows.images(range(len(ids))))
        cut = {
            name: [kinds[row][: len(trunk)] for row, trunk in zip(shared.rows, shared.ids, strict=True)]
            for name, kinds in types.items()
        }
        self._prefill(shared.ids, cut, rows.images(shared.rows))
        self._spread(torch.tensor(shared.of))
        return self._follow(shared.branches)

    def _prefill(self, ids: list[list[int]], types: Mapping[str, list[list[Any]]], images: Mapping[str, Any]) -> Tensor:
        """A new cache that `ids` stand in, and what `_extend` returns for them."""
        self.cache = RowCache(self.policy.model.config, len(ids), self.policy.device)
        self.places = Places(self.policy.model, len(ids))
        padded, mask = (each.to(self.policy.device) for each in pad(ids, self.policy.pad_id, left=True))
        kinds = {name: pad(rows, 0, left=True)[0].to(padded.device) for name, rows in types.items()}
        inputs = {**images, **kinds}
        mask = self.cache.add(mask)
        return self._extend(padded, mask, self.places.prompts(padded, mask, inputs), inputs)

    def _spread(self, rows: Tensor) -> None:
        rows = rows.to(self.policy.device)
        self.cache.spread(rows)
        self.places.spread(rows)

    def _follow(self, added: list[list[int]]) -> Tensor:
        """Run `added`, a list of ids for each of all rows, behind the cache."""
        self.cache.rejoin()
        held = self.cache.mask.sum(1).tolist()
        check_fits(self.policy.model.config, map(sum, zip(held, map(len, added), strict=True)))
        ids, mask = pad(added, self.policy.pad_id, left=True)
        return self._behind(ids.to(self.policy.device), mask.to(self.policy.device))

    def _behind(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Run `ids` (present, new) behind the cache."""
        mask = self.cache.add(mask)
        return self._extend(ids, mask, self.places.further(mask, ids.shape[1], self.cache.present), {})

    def _extend(self, ids: Tensor, mask: Tensor, positions: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """float32 logits (present, vocabulary) of the last position of `ids` (present, new)."""
        output = self.policy.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            cache=self.cache.cache,
            use_cache=True,
            logits_to_keep=torch.tensor([ids.shape[1] - 1], device=ids.device),  # as in collation.logps
            **inputs,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
