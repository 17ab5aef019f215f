"""The least a step can cost: forward and backward of the policy over every distinct token once, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import get_peft_model
from torch import Tensor
from torch.nn import functional as F

from benchmarks import peers
from sclvlm.collation import cut
from sclvlm.pictures import load_images
from sclvlm.records import PreferencePair
from sclvlm.rendering import Renderer, pad
from sclvlm.storage import read_records


class Row(NamedTuple):
    """A batch ready for the language model: its inputs with the pictures already in, and what is to be predicted."""

    inputs: dict[str, Any]
    targets: Tensor  # (P, K) ids of both answers, right-padded
    start: int  # the first target is predicted at start - 1


class Floor:
    """One row a pair, `prompt | chosen | rejected`, pictures encoded beforehand, no reference, no optimizer.

    A plain causal row: the second answer also sees the first. That costs what a mask between them would leave
    out, and spares the mask; what is computed is of no use, only its time.
    """

    def __init__(self, model: Path, pairs: Path, batch_size: int) -> None:
        policy = peers.load(model)
        records = list(read_records(pairs, PreferencePair))
        with peers.quiet():
            self.model = get_peft_model(policy.model, peers.lora_config(policy.model))
        whole = self.model.get_base_model()
        self.decoder, self.head = language_model(whole), whole.get_output_embeddings()
        renderer, self.count = Renderer(policy), len(records)
        self.rows = [self._row(renderer, batch) for batch in cut(records, batch_size)]

    def seconds(self) -> float:
        """Seconds a pair of one pass over all rows."""
        start = time.perf_counter()
        for row in self.rows:
            self.loss(row).backward()
            self.model.zero_grad()
        return (time.perf_counter() - start) / self.count

    def loss(self, row: Row) -> Tensor:
        """The negative log-probability of all targets together, a scalar."""
        hidden = self.decoder(**row.inputs).last_hidden_state
        predicting = torch.arange(row.start - 1, row.start - 1 + row.targets.shape[1])
        scores = self.head(hidden[:, predicting]).float()
        return F.cross_entropy(scores.flatten(0, 1), row.targets.flatten(), reduction="sum")

    @torch.no_grad()
    def _row(self, renderer: Renderer, records: Sequence[PreferencePair]) -> Row:
        texts = [renderer.text(record.prompt, reply=True) for record in records]
        images = [load_images(record.images, record.prompt) for record in records]
        prompts = renderer.encode(texts, images)
        answers = [
            [token for completion in record.completions for token in renderer.completion(record.prompt, completion)]
            for record in records
        ]
        before, mask = pad(prompts.ids, renderer.policy.pad_id, left=True)
        targets, behind = pad(answers, renderer.policy.pad_id, left=False)
        attention = torch.cat([mask, behind], 1)
        inputs = {"input_ids": torch.cat([before, targets], 1), **prompts.images}
        if not attention.all():  # without a mask attention takes its fast causal path
            inputs["attention_mask"] = attention
        for name, types in prompts.types.items():
            inputs[name] = torch.cat([pad(types, 0, left=True)[0], torch.zeros_like(targets)], 1)
        return Row(self._captured(inputs), targets, before.shape[1])

    def _captured(self, inputs: dict[str, Tensor]) -> dict[str, Any]:
        """What the whole model hands to its language model for `inputs`: that is where its pictures are done."""
        caught: dict[str, Any] = {}
        hook = self.decoder.register_forward_pre_hook(lambda _, __, kwargs: caught.update(kwargs), with_kwargs=True)
        self.model(**inputs, use_cache=False)
        hook.remove()
        return caught


def language_model(model: Any) -> Any:
    """The module that turns embedded tokens into hidden states; in a text-only model all but its head."""
    inner = model.model
    return getattr(inner, "language_model", None) or getattr(inner, "text_model", None) or inner
