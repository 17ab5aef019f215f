"""What `benchmarks.hypo` says of HyPO beside DPO."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from benchmarks import hypo
from benchmarks.hypo import clustered_mean, sides, table
from sclvlm.errors import ConfigError
from tests.test_trainer import pairs
from tests.test_training import written

SHORT = ["train.loss=hypo", "train.online.max_new_tokens=8", "infer=null", "label=null", "report=null"]


def test_an_interval_is_two_standard_errors_to_either_side() -> None:
    # Standard deviation sqrt(2), two values: a standard error of 1.
    found = clustered_mean([1.0, 3.0], ["a", "b"])
    assert found.value == 2
    assert found.interval == pytest.approx((2 - 1.959964, 2 + 1.959964))


def test_questions_of_one_picture_count_as_one() -> None:
    assert clustered_mean([1.0, 1.0, 3.0, 3.0], ["a", "a", "b", "b"]) == clustered_mean([1.0, 3.0], ["a", "b"])


def test_one_picture_bounds_nothing() -> None:
    assert clustered_mean([1.0, 3.0], ["a", "a"]).interval == (-math.inf, math.inf)


def test_a_mean_is_written_with_true_minus_signs() -> None:
    assert str(clustered_mean([-1.0, -3.0], ["a", "b"])) == "−2.00 [−3.96, −0.04]"


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    lines = table([("DPO", "50.0 %", "+1.0 [−1.0, +3.0]", "2.00")]).splitlines()
    assert lines[0].index("KL") == lines[1].index("2.00")


def test_dpo_is_the_same_config_without_weight_on_the_divergence(world: Path) -> None:
    found = sides(world / "run.yaml", [*SHORT, "data.pairs=x.jsonl", "run.dir=somewhere"])
    assert found.dpo.run.dir == "somewhere-dpo"
    assert found.dpo.train is not None
    assert found.dpo.train.loss_options == {"kl_weight": 0}
    assert found.dpo.train.model_copy(update={"loss_options": {}}) == found.train


def test_a_config_of_another_loss_is_refused(world: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml: .*set train\.loss to hypo"):
        sides(world / "run.yaml", ["train.loss=dpo"])


def test_both_sides_stand_beside_each_other(
    world: Path, pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    files = {"run.dir": tmp_path / "run", "data.pairs": written(tmp_path, pairs(pictures))}
    numbers = {"train.loss_options.kl_weight": 0.3, "train.online.samples": 4, "train.args.learning_rate": 0.01}
    ask = {"evaluate.limit": 8, "evaluate.turns": 1, "evaluate.batch_size": 8, "evaluate.max_new_tokens": 8}
    asked = [f"{key}={value}" for key, value in {**files, **numbers, **ask}.items()]
    lines = hypo.main(world / "run.yaml", [*SHORT, *asked]).splitlines()
    assert [line[:10].strip() for line in lines] == ["", "before", "DPO", "HyPO", "HyPO - DPO"]
    dpo_kl, hypo_kl, apart = (float(re.findall(r"−?[\d.]+", line)[-3].replace("−", "-")) for line in lines[2:])
    assert apart == pytest.approx(hypo_kl - dpo_kl, abs=0.011)
    assert hypo_kl < dpo_kl
    assert all((tmp_path / run / "evaluate" / "after").is_dir() for run in ("run", "run-dpo"))
