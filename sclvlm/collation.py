"""Records to a batch: P prompts with N completions each, and the policy's log-probabilities of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sclvlm.attention import split_attention
from sclvlm.encodings import Encodings, encode_once, encode_together
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.features import FeatureCache, why_not_cached, why_not_exact
from sclvlm.features.files import cache_folder
from sclvlm.layouts import Rows, lay_out, pad_prompts, positions, shared_pays, sibling_mask, why_not_shared
from sclvlm.losses import length_weights
from sclvlm.models import UNFIT, Policy, rounding, scoring
from sclvlm.pictures import PictureError, load_images
from sclvlm.processes import told
from sclvlm.records.mismatches import Mismatched, Trainable, labels_of
from sclvlm.rendering import Encoded, Renderer, pad

log = logging.getLogger(__name__)

T = TypeVar("T")
Layout = Literal["plain", "shared"]
Record = Trainable
SHOWN = 8  # records that tell how long the others are


class Asked(TypedDict):
    """P prompts that the policy is to answer k times each; see `sclvlm.rollouts`. Names as in `Encoded`."""

    ids: list[list[int]]  # (P)
    types: dict[str, list[list[Any]]]  # (P) each
    images: dict[str, Any]  # of P rows
    repeated: dict[str, Any]  # of P * k rows, those of one prompt behind one another


class PromptBatch(TypedDict):
    """P prompts with N completions each, as P * N rows in the plain layout, as P rows in the shared one.

    `layouts` says what a row is. Images stand once a row, so in the shared layout once a prompt.
    """

    inputs: dict[str, Any]  # of the model; input_ids (rows, L), and images or features in the order of the rows
    siblings: dict[str, Tensor]  # branches and depths (P, L) that the mask is made of; empty in the plain layout
    predicting: Tensor  # columns whose logits are wanted, in the order of a row's targets
    targets: Tensor  # (P * N, K) ids of the completions, right-padded
    mask: Tensor  # (P * N, K) 1 where a target counts
    ref_logps: NotRequired[Tensor]  # (P, N) of the reference, where they were scored before
    weights: NotRequired[Tensor]  # (P,) of the records; 1 where there are none
    desirable: NotRequired[Tensor]  # (P, 1) bool, of records that have a label
    mismatched: NotRequired[bool]  # the last completion is another prompt's, and only scored
    asked: NotRequired[Asked]  # the prompts alone, where the policy is to answer them itself
    company: NotRequired[int]  # so many of the last records are only computed (`trainer.sharing`)
    ids: list[str]  # P record ids
    completions: int  # N


class Size(NamedTuple):
    """Tokens of a record's prompt, pictures expanded, and of its longest completion."""

    prompt: int
    completion: int


class Logps(NamedTuple):
    """Summed float32 log-probabilities in nats, and how many tokens each sum has. Both (P, N).

    exact, where asked for: (P, N) bool, whether each token of a completion is the model's first choice.
    """

    sums: Tensor
    num_tokens: Tensor
    exact: Tensor | None = None


@dataclass(frozen=True)
class Collator:
    """Turns records that have the same number of completions into a PromptBatch.

    layout: see `agreed_layout`. One completion has no sibling to share its prompt with, and is laid out plainly.
    encodings: of the prompts of all records to come, see `agreed_features`.
    """

    renderer: Renderer
    layout: Layout = "plain"
    encodings: Encodings | None = None

    @property
    def policy(self) -> Policy:
        """What the batches are for."""
        return self.renderer.policy

    def __call__(self, records: Sequence[Record]) -> PromptBatch:
        replies = [[self.renderer.reply(record.prompt, each) for each in record.completions] for record in records]
        completions = [[reply.ids for reply in row] for row in replies]
        count = len(completions[0])
        shared = self.layout == "shared" and count > 1
        repeats = 1 if shared else count
        encoded = self.encoded([record for record in records for _ in range(repeats)])
        batch = assembled(self.renderer.policy, encoded, completions, [record.id for record in records], shared=shared)
        batch["mask"] = batch["mask"] * pad([reply.written for row in replies for reply in row], 0, left=False)[0]
        batch["weights"] = torch.tensor([record.weight for record in records])
        return labelled(batch, records)

    def length(self, record: Record) -> int:
        """Tokens of the prompt, images expanded, and the longest completion."""
        return sum(self.size(record))

    def size(self, record: Record) -> Size:
        """The same apart."""
        completions = (self.renderer.completion(record.prompt, each) for each in record.completions)
        return Size(len(self.encoded([record]).ids[0]), max(map(len, completions)))

    def encoded(self, records: Sequence[Record]) -> Encoded:
        """The prompts of `records`, a row each."""
        texts = [self.renderer.text(record.prompt, reply=True) for record in records]
        if self.encodings is not None:
            return self.encodings.rows([(text, record.images) for text, record in zip(texts, records, strict=True)])
        return self.renderer.encode(texts, [load_images(record.images, record.prompt) for record in records])


def assembled(
    policy: Policy, encoded: Encoded, completions: Sequence[Sequence[list[int]]], ids: list[str], *, shared: bool
) -> PromptBatch:
    """`completions`, N lists of token ids for each of P prompts, behind those prompts.

    encoded: the prompts, where `shared` each once, else each N times; ids: of the P records.
    """
    rows = lay_out(
        encoded.ids,
        completions if shared else [[each] for siblings in completions for each in siblings],
        policy.pad_id,
    )
    return PromptBatch(
        inputs=_inputs(policy.model, rows, encoded, shared=shared),
        siblings={"branches": rows.branches, "depths": rows.depths} if shared else {},
        predicting=rows.predicting,
        targets=rows.targets,
        mask=rows.mask,
        ids=ids,
        completions=len(completions[0]),
    )


def labelled(batch: PromptBatch, records: Sequence[Record]) -> PromptBatch:
    """`batch` with what only KTO asks for."""
    if labels := labels_of(records):
        batch["desirable"] = torch.tensor(labels)[:, None]
    if isinstance(records[0], Mismatched):
        batch["mismatched"] = True
    return batch


def _inputs(model: Any, rows: Rows, encoded: Encoded, *, shared: bool) -> dict[str, Any]:
    """What the model is given, but for the mask among siblings."""
    inputs = {"input_ids": rows.ids, "attention_mask": (rows.branches >= 0).long(), **encoded.images}
    behind = rows.ids.shape[1] - rows.prompt_width
    for name, types in encoded.types.items():
        told = pad_prompts(types, 0, shared=shared)[0]
        inputs[name] = torch.cat([told, told[:, -1:].repeat_interleave(behind, 1)], 1)  # goes on as the prompt ends
    placed = positions(model, rows, inputs, shared=shared)
    return inputs if placed is None else {**inputs, "position_ids": placed}


def logps(model: Any, batch: PromptBatch, *, surplus_weight: float = 1.0, exact: bool = False) -> Logps:
    """What `model` gives each completion of `batch`; differentiable. Dropout falls on a shared prompt once.

    surplus_weight: of the tokens by which a completion is longer than its shortest sibling, see `length_weights`;
    what belongs to another prompt is no sibling.
    exact: also whether greedy decoding would say a completion word for word, if it was led along it.
    """
    mask = batch["mask"].view(len(batch["ids"]), batch["completions"], -1)  # (P, N, K)
    own = mask[:, :-1] if batch.get("mismatched") else mask
    weights = torch.cat([length_weights(own, alpha=surplus_weight), mask[:, own.shape[1] :]], 1)
    scores = _scores(model, batch)
    sums = (_token_logps(scores, batch).view_as(weights) * weights).sum(-1)
    return Logps(sums, mask.sum(-1), _first_choice(scores, batch).view_as(mask).all(-1) if exact else None)


def token_logps(model: Any, batch: PromptBatch) -> Tensor:
    """The float32 log-probability of each target in nats, 0 at padding: (P * N, K)."""
    return _token_logps(_scores(model, batch), batch)


def _scores(model: Any, batch: PromptBatch) -> Tensor:
    """Of the whole vocabulary in the place of each target, float32: (P * N * K, vocabulary)."""
    inputs = batch["inputs"]
    if batch["siblings"]:
        mask = sibling_mask(model, **batch["siblings"], ends=len(batch["predicting"]))
        inputs = {**inputs, "attention_mask": mask}
    # Columns as a tensor: a slice would leave the hidden states strided, for which the CPU copies the whole
    # output embedding once a row.
    output = model(**inputs, use_cache=False, logits_to_keep=batch["predicting"])
    scores: Tensor = output.logits.float().flatten(0, 1)
    return scores


def _first_choice(scores: Tensor, batch: PromptBatch) -> Tensor:
    """Whether nothing scores higher than a target, true at padding: (P * N, K)."""
    return (scores.argmax(-1) == batch["targets"].flatten()).view_as(batch["mask"]) | (batch["mask"] == 0)


def _token_logps(scores: Tensor, batch: PromptBatch) -> Tensor:
    targets = batch["targets"]
    return -F.cross_entropy(scores, targets.flatten(), reduction="none").view_as(targets) * batch["mask"]


def agreed_layout(
    wanted: Layout | Literal["auto"],
    renderer: Renderer,
    records: Sequence[Record],
    encodings: Encodings | None = None,
) -> Layout:
    """The layout for `records`: shared if it is wanted, or `auto`, exact and less work; a reason is logged.

    Where the model's make says nothing against it, one record is scored in both layouts. encodings: of `records`,
    if there are any. Raises ConfigError when shared is asked for and not exact.
    """
    if wanted == "plain" or len(records[0].completions) == 1:
        return "plain"
    model, plain = renderer.policy.model, Collator(renderer, "plain", encodings)
    reason = why_not_shared(model)
    if wanted == "auto" and reason is None and not shared_pays(model, _lengths(plain, records)):
        log.info("train.layout: plain, since the answers outweigh the prompts")
        return "plain"
    shown = next((record for record in records if record.images), records[0])
    if reason is None:
        split_attention(model)
        reason = _deviation(plain, Collator(renderer, "shared", encodings), shown)
    if reason is None:
        return "shared"
    if wanted == "shared":
        raise ConfigError(f"train.layout: shared is not exact with this model: {reason}. Set it to plain or auto.")
    log.warning("train.layout: plain, since %s", reason)
    return "plain"


def _lengths(plain: Collator, records: Sequence[Record]) -> list[tuple[int, list[int]]]:
    """Tokens of the prompt and of each completion, images expanded, of a few of `records`."""
    batches = [plain([record]) for record in records[:: max(len(records) // SHOWN, 1)][:SHOWN]]
    masks = [(batch["inputs"]["attention_mask"], batch["targets"].shape[1]) for batch in batches]
    return [(mask.shape[1] - width, mask[:, -width:].sum(1).tolist()) for mask, width in masks]


def _deviation(plain: Collator, shared: Collator, record: Record) -> str | None:
    """How the shared layout changes what `record` scores; None when that is no more than rounding."""
    model, device = plain.renderer.policy.model, plain.renderer.policy.device
    batch, other = (moved(collate([record]), device) for collate in (plain, shared))
    with scoring(model):
        expected = token_logps(model, batch)
        try:
            found = token_logps(model, other)
        except UNFIT as error:
            return f"it fails on shared rows ({type(error).__name__}: {error})"
    mean = ((found - expected).abs().sum() / batch["mask"].sum()).item()
    if mean <= rounding(model):
        return None
    return f"shared rows change the log-probabilities of record {record.id!r} by {mean:.2g} nat a token"


def agreed_features(
    wanted: Literal["auto", "cached", "live"], renderer: Renderer, records: Sequence[Record], *, limit_gb: float
) -> Encodings | None:
    """The encoded prompts of `records` with kept features if that is wanted, or `auto` and exact; else None.

    Where the model's make says nothing against it, one record is scored with pixels and with features. Raises
    ConfigError when kept features are asked for and not exact.
    """
    shown = None if wanted == "live" else next((record for record in records if _is_seen(record)), None)
    if shown is None:
        return None
    reason = why_not_cached(renderer.policy.model)
    if reason is None:
        cache = FeatureCache(renderer.policy, cache_folder(), limit_gb=limit_gb)
        reason = told(_change(renderer, shown, cache))
        if reason is None:
            return encode_together(renderer, records, cache)
    if wanted == "cached":
        raise ConfigError(f"train.features: kept ones don't fit this model: {reason}. Set it to live or auto.")
    log.info("train.features: live, since %s", reason)
    return None


def _is_seen(record: Record) -> bool:
    """Whether it has pictures that can be read."""
    try:
        return bool(load_images(record.images, record.prompt))
    except PictureError:
        return False


def _change(renderer: Renderer, record: Record, cache: FeatureCache) -> str | None:
    """How kept features change what `record` scores; None when that is no more than rounding."""
    try:
        encodings = encode_once(renderer, [record], cache)
    except SclvlmError as error:
        return str(error)
    collators = Collator(renderer), Collator(renderer, encodings=encodings)
    pixels, features = (moved(collate([record])["inputs"], renderer.policy.device) for collate in collators)
    return why_not_exact(renderer.policy.model, pixels, features)


def cut(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Runs of `size` neighbours; the last one holds what is left."""
    return (items[start : start + size] for start in range(0, len(items), size))


def moved(value: Any, device: torch.device) -> Any:
    """A batch, or part of one, with its tensors on `device`."""
    if isinstance(value, Mapping):
        return type(value)({key: moved(each, device) for key, each in value.items()})  # type: ignore[call-arg]
    if isinstance(value, list | tuple):
        return [moved(each, device) for each in value]
    return value.to(device) if isinstance(value, Tensor) else value
