"""The weight of a record, from its line to the loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sclvlm.collation import Collator, logps
from sclvlm.errors import SclvlmError
from sclvlm.losses import wpo_weights
from sclvlm.records import Demonstration, PreferencePair
from sclvlm.rendering import Renderer
from sclvlm.storage import read_records, to_line, write_records
from sclvlm.trainer.records import read_training_records
from tests.test_trainer import adapted, pairs, steps, trainable, trainer

WEIGHTS = (3.0, 0.0, 1.0, 0.5)


def weighted() -> list[PreferencePair]:
    return [pair.model_copy(update={"weight": weight}) for pair, weight in zip(pairs(None), WEIGHTS, strict=True)]


@pytest.mark.parametrize("wpo", [False, True])
def test_the_loss_is_the_weighted_sum_by_the_number_of_records(
    wpo: bool, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    policy = adapted(tiny_model("llama"))
    with torch.no_grad():
        policy.model.eval()
        found = logps(policy.model, Collator(Renderer(policy))(pairs(None)))
    nll = -found.sums[:, 0] / found.num_tokens[:, 0]
    own = wpo_weights(found.sums, found.num_tokens) if wpo else torch.ones(4)
    expected = (torch.tensor(WEIGHTS) * own * nll).sum() / 4
    trained = trainer(policy, weighted(), tmp_path, loss_weight=0.0, nll_weight=1.0, wpo=wpo)
    trained.train()
    assert steps(trained) == pytest.approx([expected.item()], rel=1e-4)


@pytest.mark.parametrize("size", [4, 3])
def test_weight_two_is_two_copies_and_weight_zero_is_none(
    size: int, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    first, second, third, fourth = pairs(None)
    copies = [first, first.model_copy(update={"id": "copy"}), third, fourth]
    weighing = [first.model_copy(update={"weight": 2.0}), second.model_copy(update={"weight": 0.0}), third, fourth]
    cut = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 1 if size == 4 else 2}
    found = []
    for records in (copies, weighing):
        policy = adapted(tiny_model("llama"))
        trainer(policy, records, tmp_path, **cut).train()
        found.append(trainable(policy))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-6)


def test_what_is_read_beside_the_loss_is_not_weighted(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    found = []
    for records in (pairs(None), weighted()):
        trained = trainer(adapted(tiny_model("llama")), records, tmp_path)
        trained.train()
        found.append(steps(trained, "logps/chosen") + steps(trained, "nll"))
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize(("text", "what"), [("-0.5", "greater than or equal to 0"), ("NaN", "finite number"),
                                            ("Infinity", "finite number"), ('"much"', "valid number")])  # fmt: skip
@pytest.mark.parametrize("model", [PreferencePair, Demonstration])
def test_a_wrong_weight_is_refused_with_file_line_and_field(
    text: str, what: str, model: type[PreferencePair] | type[Demonstration], tmp_path: Path
) -> None:
    pair = pairs(None)[0]
    shown = Demonstration(id="shown", prompt=pair.prompt, completion=pair.chosen)
    line = to_line(pair if model is PreferencePair else shown, tmp_path)
    (tmp_path / "records.jsonl").write_text(line + line.replace("{", f'{{"weight": {text}, ', 1))
    with pytest.raises(SclvlmError, match=rf"records\.jsonl:2: weight: .*{what}"):
        list(read_records(tmp_path / "records.jsonl", model))


def test_a_weight_survives_the_file_and_a_plain_one_is_not_written(tmp_path: Path) -> None:
    write_records(tmp_path / "pairs.jsonl", weighted())
    lines = (tmp_path / "pairs.jsonl").read_text().splitlines()
    assert [json.loads(line).get("weight") for line in lines] == [3.0, 0.0, None, 0.5]
    assert [pair.weight for pair in read_records(tmp_path / "pairs.jsonl", PreferencePair)] == list(WEIGHTS)


def test_the_chosen_side_keeps_the_weight_of_its_pair(tmp_path: Path) -> None:
    write_records(tmp_path / "pairs.jsonl", weighted())
    assert [each.weight for each in read_training_records(tmp_path / "pairs.jsonl", "sft")] == list(WEIGHTS)
