"""Batches that fill a budget of tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sclvlm import training
from sclvlm.collation import Collator, Layout, Size
from sclvlm.records import PreferencePair, text_message
from sclvlm.rendering import Renderer
from sclvlm.trainer.batching import TokenBatchSampler, TokenBudget
from sclvlm.training import train
from tests.test_trainer import adapted, trainable, trainer
from tests.test_training import _Killed, _Killer, losses, section, settings, written

SIZES = st.lists(st.builds(Size, st.integers(1, 40), st.integers(1, 20)), min_size=1, max_size=50)
BUDGETS = st.builds(TokenBudget, st.integers(1, 400), st.integers(1, 3), st.booleans(), st.none() | st.integers(1, 9))


def ragged(count: int = 12) -> list[PreferencePair]:
    """Pairs of many lengths."""
    return [
        PreferencePair(
            id=f"pair-{number}",
            prompt=[text_message("user", "Why? " * (1 + number % 5))],
            chosen=[text_message("assistant", "so" * (1 + number % 3))],
            rejected=[text_message("assistant", "no" * (1 + number % 4))],
        )
        for number in range(count)
    ]


def longest(batch: list[int], sizes: list[Size]) -> Size:
    return Size(max(sizes[index].prompt for index in batch), max(sizes[index].completion for index in batch))


def epoch(sampler: TokenBatchSampler, number: int) -> list[list[int]]:
    sampler.set_epoch(number)
    return list(sampler)


@given(sizes=SIZES, budget=BUDGETS, seed=st.integers(0, 3), labelled=st.booleans())
def test_each_epoch_holds_every_index_once_in_as_many_batches(
    sizes: list[Size], budget: TokenBudget, seed: int, labelled: bool
) -> None:
    labels = [size.prompt % 3 == 0 for size in sizes] if labelled else None
    sampler = TokenBatchSampler(sizes, budget, seed=seed, labels=labels)
    for number in range(3):
        batches = epoch(sampler, number)
        assert len(batches) == len(sampler)
        assert sorted(index for batch in batches for index in batch) == list(range(len(sizes)))


@given(sizes=SIZES, budget=BUDGETS)
def test_a_batch_is_within_the_budget_and_takes_no_more(sizes: list[Size], budget: TokenBudget) -> None:
    batches = epoch(TokenBatchSampler(sizes, budget, seed=0), 1)
    for batch in batches:
        within = budget.padded(len(batch), longest(batch, sizes)) <= budget.tokens
        assert len(batch) == 1 or (within and len(batch) <= (budget.most or len(batch)))

    # In the order of their lengths, no batch had room for the first record of the next.
    def place(batch: list[int]) -> tuple[Any, ...]:
        first, last = ((-budget.width(sizes[index]), -sizes[index].prompt) for index in (batch[0], batch[-1]))
        return first, last, -len(batch)

    batches.sort(key=place)
    for batch, following in pairwise(batches):
        more = [*batch, following[0]]
        full = budget.padded(len(more), longest(more, sizes)) > budget.tokens
        assert full or len(batch) == budget.most


def test_a_row_is_a_prompt_with_all_its_completions_where_they_share_it() -> None:
    # Prompts of 10 and 8 tokens, completions of 3 and 5: shared rows have 10 + 2 * 5 tokens, plain ones 10 + 5.
    size = longest([0, 1], [Size(10, 3), Size(8, 5)])
    assert TokenBudget(0, 2, shared=True).padded(2, size) == 2 * 20
    assert TokenBudget(0, 2, shared=False).padded(2, size) == 4 * 15


@pytest.mark.parametrize("layout", ["plain", "shared"])
def test_the_tokens_counted_are_those_of_the_batch(layout: Layout, tiny_policy: Callable[[str], Any]) -> None:
    collator, records = Collator(Renderer(tiny_policy("llama")), layout), ragged()
    sizes = [collator.size(record) for record in records]
    budget = TokenBudget(400, 2, shared=layout == "shared")
    batches = epoch(TokenBatchSampler(sizes, budget, seed=0), 0)
    assert 1 < len(batches) < len(records)
    for batch in batches:
        made = collator([records[index] for index in batch])["inputs"]["input_ids"].numel()
        assert made == budget.padded(len(batch), longest(batch, sizes))


def test_a_record_beyond_the_budget_is_a_batch_of_its_own() -> None:
    sizes = [Size(5, 5), Size(500, 5), Size(5, 5)]
    batches = epoch(TokenBatchSampler(sizes, TokenBudget(40, 1, shared=False), seed=0), 0)
    assert sorted(map(sorted, batches)) == [[0, 2], [1]]


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    sizes = [Size(5 + number % 2, 3) for number in range(40)]
    budget = TokenBudget(60, 1, shared=False)
    drawn = [epoch(TokenBatchSampler(sizes, budget, seed=seed), number) for seed, number in
             [(0, 1), (0, 1), (0, 0), (1, 1)]]  # fmt: skip
    assert drawn[0] == drawn[1]
    assert len({json.dumps(each) for each in drawn}) == 3


def test_batches_of_a_budget_mix_labels() -> None:
    sizes, labels = [Size(9, 1)] * 8 + [Size(4, 1)] * 8, [True] * 8 + [False] * 8
    batches = epoch(TokenBatchSampler(sizes, TokenBudget(40, 1, shared=False), seed=0, labels=labels), 2)
    assert [sum(labels[index] for index in batch) for batch in batches] == [2] * 4


class _Seen:
    """Collates and keeps the ids of each batch."""

    def __init__(self, collator: Collator) -> None:
        self.collator, self.batches = collator, list[list[str]]()

    def __call__(self, records: list[PreferencePair]) -> Any:
        self.batches.append([record.id for record in records])
        return self.collator(records)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_trainer_goes_through_each_epoch_once(
    accumulation: int, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    policy, records = adapted(tiny_model("llama")), ragged()
    seen = _Seen(Collator(Renderer(policy)))
    sizes = [seen.collator.size(record) for record in records]
    trained = trainer(
        policy, records, tmp_path, max_steps=-1, num_train_epochs=2, gradient_accumulation_steps=accumulation
    )
    trained.data_collator = seen
    trained.batches = TokenBatchSampler(sizes, TokenBudget(400, 2, shared=False), seed=0)
    trained.train()
    count = len(trained.batches)
    assert trained.state.global_step == trained.state.max_steps == 2 * math.ceil(count / accumulation)
    for half in (seen.batches[:count], seen.batches[count:]):
        assert sorted(name for batch in half for name in batch) == sorted(record.id for record in records)


def test_the_loss_is_the_mean_over_the_pairs_of_a_step(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    found = []
    for tokens in (10_000, 300):
        policy, records = adapted(tiny_model("llama")), ragged(7)
        sizes = [Collator(Renderer(policy)).size(record) for record in records]
        batches = TokenBatchSampler(sizes, TokenBudget(tokens, 2, shared=False), seed=0)
        trained = trainer(policy, records, tmp_path, gradient_accumulation_steps=len(batches), nll_weight=1.0)
        trained.batches = batches
        trained.train()
        found.append((len(batches), trained.state.log_history[0]["loss"], trainable(policy)))
    (one, loss, whole), (several, other, pieces) = found
    assert one == 1 < several
    assert other == pytest.approx(loss, rel=1e-4)
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("accumulation", "step"), [(1, 5), (2, 2), (2, 3)])
def test_a_resumed_run_is_the_uninterrupted_one(
    accumulation: int, step: int, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = {"gradient_accumulation_steps": accumulation, "num_train_epochs": 2}
    changes = settings(tokens_per_batch=400, layout="plain", args=args)
    changes.args.pop("per_device_train_batch_size")
    go = partial(train, written(tmp_path, ragged()), model=section(tiny_model("llama")), settings=changes, seed=7)
    go(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(training, "PreferenceTrainer", partial(training.PreferenceTrainer, callbacks=[_Killer(step)]))
        with pytest.raises(_Killed):
            go(tmp_path / "broken")
    go(tmp_path / "broken")
    assert len(losses(tmp_path / "whole")) > step
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


@pytest.mark.parametrize(("most", "sizes"), [({}, [4]), ({"per_device_train_batch_size": 3}, [1, 3])])
def test_a_batch_size_is_a_limit_where_it_is_given(
    most: dict[str, int],
    sizes: list[int],
    tiny_model: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    compute = training.PreferenceTrainer.compute_loss

    def spied(self: Any, model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
        seen.append(len(inputs["ids"]))
        return compute(self, model, inputs, *args, **more)

    monkeypatch.setattr(training.PreferenceTrainer, "compute_loss", spied)
    changes = settings(tokens_per_batch=10_000, args={"num_train_epochs": 1})
    args = {key: value for key, value in changes.args.items() if key != "per_device_train_batch_size"}
    train(
        written(tmp_path, ragged(4)),
        tmp_path / "run",
        model=section(tiny_model("llama")),
        settings=changes.model_copy(update={"args": args | most}),
        seed=0,
    )
    assert sorted(seen) == sizes


@pytest.mark.parametrize("budget", [None, 400])
@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_workers_make_the_same_batches_and_losses(
    loss: str, budget: int | None, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    found = []
    for workers in (0, 2):
        changes = settings(
            loss=loss,
            tokens_per_batch=budget,
            held_out_share=0.2,
            args={"dataloader_num_workers": workers, "num_train_epochs": 2},
        )
        run = tmp_path / str(workers)
        train(written(tmp_path, ragged()), run, model=section(tiny_model("llama")), settings=changes, seed=0)
        history = json.loads((run / "history.json").read_text())
        keys = ("loss", "logps/chosen", "lengths/rejected", "eval_loss", "eval_logps/chosen")
        found.append([{key: logged[key] for key in keys if key in logged} for logged in history])
    assert found[0] == found[1]
    assert sum("loss" in logged for logged in found[0]) > 4
