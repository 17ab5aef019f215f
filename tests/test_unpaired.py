"""Single completions with a label, and KTO on them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import tensor

from sclvlm import training
from sclvlm.collation import Collator, cut, logps
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.objective import Objective
from sclvlm.records import Demonstration, PreferencePair, UnpairedCompletion, text_message
from sclvlm.records.kinds import kind_of
from sclvlm.records.mismatches import Mismatched, mismatch
from sclvlm.rendering import Renderer
from sclvlm.trainer.batching import LengthGroupedSampler, interleaved
from sclvlm.trainer.records import read_training_records
from sclvlm.training import train
from tests.test_trainer import adapted, pairs, steps
from tests.test_trainer import trainer as trainer_of
from tests.test_training import _Killed, _Killer, losses, section, settings, written


def unpaired(pictures: Sequence[str] | None = None) -> list[UnpairedCompletion]:
    """Two desirable completions and two undesirable ones, of four prompts."""
    return [
        UnpairedCompletion(
            id=pair.id,
            prompt=pair.prompt,
            completion=pair.chosen if index % 2 else pair.rejected,
            label=bool(index % 2),
            images=pair.images,
        )
        for index, pair in enumerate(pairs(pictures))
    ]


def always(each: Mismatched) -> bool:
    return True


def test_a_label_is_true_or_false_and_nothing_like_it() -> None:
    fields = unpaired()[0].model_dump()
    with pytest.raises(ValidationError, match="valid boolean"):
        UnpairedCompletion.model_validate({**fields, "label": 1})


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('{"completion": [], "label": true}', UnpairedCompletion),
        ('{"completion": []}', Demonstration),
        ('{"completion": [], "label": "cat"}', Demonstration),  # a field of somebody else's
        ('{"chosen": "the \\"completion\\"", "label": true}', PreferencePair),
        ("not JSON", PreferencePair),
    ],
)
def test_the_first_line_tells_the_kind(line: str, kind: type, tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(f"\n{line}\n", encoding="utf-8")
    assert kind_of(tmp_path / "records.jsonl") is kind


@pytest.mark.parametrize("loss", ["dpo", "sft"])
def test_a_loss_that_reads_no_label_refuses_labelled_completions(loss: str, tmp_path: Path) -> None:
    with pytest.raises(SclvlmError, match=rf"with a label, of which train\.loss={loss} reads none.*kto"):
        read_training_records(written(tmp_path, unpaired()), loss)


LOGPS = tensor([[-1.0, -5.0], [-4.0, -6.0]])  # the own completion, then another prompt's
REFERENCE = tensor([[-3.0, -6.0], [-2.0, -6.0]])
TOKENS = tensor([[1, 2], [2, 2]])
LABELS = tensor([[True], [False]])
KTO = Objective(loss="kto", beta=0.5, options={"desirable_weight": 3.0, "undesirable_weight": 2.0})


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_loss_is_the_papers() -> None:
    # Log-ratios 2 and -2. Of the mismatched ones 1 and 0, so the reference point is 0.5.
    found = KTO(LOGPS, REFERENCE, TOKENS, desirable=LABELS, mismatched=True)
    expected = [3 - 3 * sigmoid(0.5 * (2 - 0.5)), 2 - 2 * sigmoid(0.5 * (0.5 - -2))]
    assert found.tolist() == pytest.approx(expected)


def test_the_gradient_is_the_papers_and_the_reference_point_has_none() -> None:
    policy = LOGPS.clone().requires_grad_()
    KTO(policy, REFERENCE, TOKENS, desirable=LABELS, mismatched=True).sum().backward()
    good, bad = 0.5 * (2 - 0.5), 0.5 * (0.5 - -2)
    expected = [
        [-3 * 0.5 * sigmoid(good) * sigmoid(-good), 0.0],
        [2 * 0.5 * sigmoid(bad) * sigmoid(-bad), 0.0],
    ]
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad, tensor(expected))


def test_a_pair_counts_as_two_records() -> None:
    pair = Objective(loss="kto", beta=0.5)
    whole = pair(tensor([[-1.0, -4.0, -5.0]]), tensor([[-3.0, -2.0, -6.0]]), tensor([[1, 1, 1]]), mismatched=True)
    sides = [
        pair(tensor([[own, -5.0]]), tensor([[ref, -6.0]]), TOKENS, desirable=tensor([[label]]), mismatched=True)
        for own, ref, label in ((-1.0, -3.0, True), (-4.0, -2.0, False))
    ]
    torch.testing.assert_close(whole, (sides[0] + sides[1]) / 2)


def test_the_anchor_imitates_only_what_is_desirable() -> None:
    anchor = Objective(loss="kto", loss_weight=0.0, nll_weight=1.0)
    assert anchor(LOGPS, REFERENCE, TOKENS, desirable=LABELS, mismatched=True).tolist() == [1.0, 0.0]


def test_a_batch_of_one_says_why_it_has_no_estimate() -> None:
    with pytest.raises(SclvlmError, match=r"batch of one completion can't tell the divergence.*own reward"):
        KTO(LOGPS[:1, :1], REFERENCE[:1, :1], TOKENS[:1, :1], desirable=LABELS[:1])


def test_batches_of_one_are_refused_before_training(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    changes = settings(loss="kto", args={"per_device_train_batch_size": 1})
    with pytest.raises(ConfigError, match=r"per_device_train_batch_size: kto estimates .* Set it to 2 or more"):
        train(
            written(tmp_path, unpaired()),
            tmp_path / "run",
            model=section(tiny_model("llama")),
            settings=changes,
            seed=0,
        )


def test_a_mate_belongs_to_another_prompt() -> None:
    both = [record for pair in pairs(None)[:2] for record in (pair, pair.model_copy(update={"id": f"{pair.id}-copy"}))]
    for seed in range(5):
        for mixed in mismatch(both, seed=seed, fits=always):
            own = {json.dumps(each.completions) for each in both if each.prompt == mixed.prompt}
            assert not any(json.dumps(mixed.mate) in sides for sides in own)
            assert mixed.completions[:-1] == mixed.record.completions


def test_the_seed_alone_draws_the_mates() -> None:
    many = [
        record.model_copy(update={"id": str(n), "prompt": [text_message("user", f"Question {n}?")],
                                  "completion": [text_message("assistant", str(n))]})
        for n, record in enumerate(unpaired() * 5)
    ]  # fmt: skip
    drawn = [[each.mate for each in mismatch(many, seed=seed, fits=always)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({json.dumps(mate) for mate in drawn[0]}) == len(many)  # each serves once


def test_a_mate_that_does_not_fit_is_passed_over() -> None:
    records = unpaired()
    for mixed in mismatch(records, seed=0, fits=lambda each: each.mate != records[2].completion):
        assert mixed.mate != records[2].completion
    with pytest.raises(SclvlmError, match=r"record 'pair-.': .* Raise train\.max_length"):
        mismatch(records, seed=0, fits=lambda each: False)


def test_one_prompt_alone_has_no_mates() -> None:
    alone = [record.model_copy(update={"prompt": unpaired()[0].prompt}) for record in unpaired()]
    with pytest.raises(ConfigError, match="all 4 records have one prompt"):
        mismatch(alone, seed=0, fits=always)


def test_the_sides_are_measured_apart(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    policy = adapted(tiny_model("llama"))
    mixed = mismatch(unpaired(), seed=0, fits=always)
    trained = trainer_of(policy, pairs(None), tmp_path, loss="kto")
    trained.train_dataset = mixed
    with torch.no_grad():
        for name, weights in policy.model.named_parameters():
            if "lora_B" in name:
                weights.fill_(0.02)
        batch = Collator(Renderer(policy))(mixed)
        policy.model.eval()
        found, reference = logps(policy.model, batch).sums, trained._reference(policy.model, batch)
    trained.train()
    ratios = found - reference  # own, mate; records 1 and 3 are desirable
    for figure, expected in {
        "rewards/chosen": 0.1 * ratios[[1, 3], 0].mean(),
        "rewards/rejected": 0.1 * ratios[[0, 2], 0].mean(),
        "logps/chosen": found[[1, 3], 0].mean(),
        "logps/rejected": found[[0, 2], 0].mean(),
        "kl": ratios[:, 1].mean().clamp(min=0),
    }.items():
        assert steps(trained, figure) == pytest.approx([expected.item()], abs=1e-4)
    assert not steps(trained, "rewards/margins")  # of no pair


@pytest.mark.parametrize("layout", ["plain", "shared"])
@pytest.mark.parametrize("kind", ["unpaired", "pairs"])
def test_cached_trains_as_live(kind: str, layout: str, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    file, model = written(tmp_path, unpaired() if kind == "unpaired" else pairs(None)), section(tiny_model("llama"))
    found = []
    for reference in ("cached", "live"):
        changes = settings(loss="kto", layout=layout, reference=reference, surplus_weight=0.5)
        changes = changes.model_copy(update={"lora": changes.lora.model_copy(update={"dropout": 0.0})})
        train(file, tmp_path / reference, model=model, settings=changes, seed=0)
        found.append(losses(tmp_path / reference))
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert found[0][0] == pytest.approx(0.5, abs=1e-4)  # 1 - sigmoid(0), whatever the label
    assert found[0][-1] < 0.48


def test_a_resumed_run_is_the_uninterrupted_one(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, model = written(tmp_path, unpaired()), section(tiny_model("llama"))
    go = partial(train, file, model=model, settings=settings(loss="kto"), seed=7)
    go(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(training, "PreferenceTrainer", partial(training.PreferenceTrainer, callbacks=[_Killer(3)]))
        with pytest.raises(_Killed):
            go(tmp_path / "broken")
    go(tmp_path / "broken")
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def test_desirable_completions_rise_and_others_fall(
    tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    file, run = written(tmp_path, unpaired(pictures)), tmp_path / "run"
    changes = settings(loss="kto", held_out_share=0.25, args={"num_train_epochs": 6})
    train(file, run, model=section(tiny_model("fast_vlm")), settings=changes, seed=0)
    last = json.loads((run / "history.json").read_text())
    chosen, rejected = (
        [logged[f"rewards/{side}"] for logged in last if f"rewards/{side}" in logged][-1]
        for side in ("chosen", "rejected")
    )
    assert chosen > 0 > rejected
    assert any("eval_kl" in logged for logged in last)


@given(labels=st.lists(st.booleans(), min_size=1, max_size=60), size=st.integers(1, 8))
def test_each_batch_has_its_share_of_either_label(labels: list[bool], size: int) -> None:
    order = interleaved(range(len(labels)), labels)
    assert sorted(order) == list(range(len(labels)))
    share = sum(labels) / len(labels)
    for batch in cut(order, size):
        assert abs(sum(labels[index] for index in batch) - share * len(batch)) <= 1.0 + 1e-9


def test_the_sampler_mixes_labels_where_lengths_would_part_them() -> None:
    lengths, labels = [10] * 8 + [50] * 8, [True] * 8 + [False] * 8
    for epoch in range(3):
        sampler = LengthGroupedSampler(lengths, 4, seed=0, labels=labels)
        sampler.set_epoch(epoch)
        assert [sum(labels[index] for index in batch) for batch in cut(list(sampler), 4)] == [2] * 4
