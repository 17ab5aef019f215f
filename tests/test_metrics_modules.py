"""The official metrics inside the `evaluate` library, loaded from their files, offline."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_MODULES_CACHE", tempfile.mkdtemp())  # read once, when the library is imported

import evaluate
import pytest

from sclvlm.errors import SclvlmError
from sclvlm.metrics.modules import names, path

YES = {"predictions": ["yes", None], "references": ["yes", "no"]}
M = 1_000_000

CASES: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "anls": ({"predictions": ["abcde", None], "references": [["abczz"], ["x"]]}, {"anls": 0.3}),  # (1 - 2/5 + 0) / 2
    "category_accuracy": (
        {**YES, "categories": ["a", "b"]},
        {"accuracy": 0.5, "macro": 0.5, "category/a": 1.0, "category/b": 0.0},
    ),
    "circular": ({**YES, "indices": [1, 1 + M]}, {"circular": 0.0, "vanilla": 1.0}),
    "fold_match": ({"predictions": ["Left.", None], "references": ["left", "no"]}, {"fold_match": 0.5}),
    "genuine_accuracy": (
        {"predictions": list("ABC"), "references": list("ABC"), "triplets": ["t"] * 3},
        {"genuine": 1.0, "micro": 1.0},
    ),
    "hallusion": (
        {**YES, "keys": [["VD", "map", "0", "1", "0"], ["VD", "map", "0", "2", "0"]]},
        {"aAcc": 0.5, "fAcc": 0.5, "qAcc": 0.0},
    ),
    "mathvista": (
        {
            "predictions": ["1.24", "3.9", None],
            "references": ["1.2", "3", "x"],
            "answer_types": ["float", "integer", "text"],
            "precisions": [1.0, None, None],
        },
        {"accuracy": 2 / 3},
    ),
    "mme": (
        {**YES, "subtasks": ["count"] * 2, "images": ["1", "1"]},
        {"perception": 50.0, "count/accuracy": 50.0, "count/accuracy_plus": 0.0},
    ),
    "mmmu_open": ({"predictions": ["it is 4.001", "5"], "references": [["4"], ["6", "7"]]}, {"accuracy": 0.5}),
    "nlvr": ({**YES, "sentences": ["s", "s"]}, {"accuracy": 0.5, "consistency": 0.0}),
    "pope": (YES, {"accuracy": 0.5, "precision": 1.0, "recall": 1.0, "f1": 1.0, "yes_rate": 0.5}),
    "relaxed_accuracy": ({"predictions": ["105", "106"], "references": ["100", "100"]}, {"relaxed_accuracy": 0.5}),
    "vqa_accuracy": (
        {"predictions": ["red"], "references": [["red"] * 3 + ["blue"] * 7]},
        {"vqa_accuracy": 0.9},
    ),
}


def compute(name: str, folder: Path, **columns: Any) -> dict[str, float]:
    metric = evaluate.load(path(name), cache_dir=str(folder))
    found: dict[str, float] = metric.compute(**columns)
    return found


@pytest.mark.parametrize("name", names())
def test_every_module_computes_its_hand_computed_case(name: str, tmp_path: Path) -> None:
    columns, figures = CASES[name]
    assert compute(name, tmp_path, **columns) == pytest.approx(figures)


def test_answers_can_be_added_bit_by_bit(tmp_path: Path) -> None:
    metric = evaluate.load(path("pope"), cache_dir=str(tmp_path))
    metric.add(prediction="yes", reference="yes")
    metric.add_batch(predictions=["no"], references=["yes"])
    assert metric.compute()["recall"] == 0.5


def test_pope_can_be_read_as_published(tmp_path: Path) -> None:
    responses = ["There is no dog, sorry.", "I cannot tell.", "", None]  # right, a yes, a yes, nothing at all
    found = compute("pope", tmp_path, predictions=responses, references=["no"] * 4, official_parsing=True)
    assert (found["accuracy"], found["yes_rate"]) == (1 / 4, 2 / 4)


def test_pope_can_be_read_both_ways_at_once(tmp_path: Path) -> None:
    columns = {"predictions": ["## no ##", "I cannot tell.", None], "references": ["no", "yes", "yes"]}
    found = compute("pope", tmp_path, **columns, own_parsing=True, official_parsing=True)
    # Ours abstains at the second, which is a yes to the official script; nobody reads the third.
    assert (found["accuracy"], found["official/accuracy"]) == pytest.approx((1 / 3, 2 / 3))
    assert compute("pope", tmp_path, **columns, own_parsing=True)["yes_rate"] == 0.0


@pytest.mark.parametrize("name", names())
def test_a_metric_of_no_answers_says_so(name: str, tmp_path: Path) -> None:
    columns, _ = CASES[name]
    with pytest.raises(SclvlmError, match=r"got none|got 0 answers"):
        compute(name, tmp_path, **{column: [] for column in columns})


def test_direct_answers_leave_nobody_out(tmp_path: Path) -> None:
    columns = {"predictions": ["red"], "references": [["red"] + ["blue"] * 9]}
    assert compute("vqa_accuracy", tmp_path, **columns, leave_one_out=False) == {"vqa_accuracy": pytest.approx(1 / 3)}


def test_modules_with_the_same_columns_combine(tmp_path: Path) -> None:
    both = evaluate.combine(
        [evaluate.load(path(name), cache_dir=str(tmp_path)) for name in ("fold_match", "relaxed_accuracy")]
    )
    assert both.compute(predictions=["104"], references=["100"]) == {"fold_match": 0.0, "relaxed_accuracy": 1.0}


@pytest.mark.parametrize("name", names())
def test_a_module_says_what_it_measures_and_takes(name: str, tmp_path: Path) -> None:
    metric = evaluate.load(path(name), cache_dir=str(tmp_path))
    assert len(metric.description) > 40
    assert all(column in metric.inputs_description for column in metric.features)


def test_an_unknown_module_is_an_error_that_lists_them() -> None:
    with pytest.raises(SclvlmError, match=r"no metric is called 'cider'\. There are: anls, category_accuracy"):
        path("cider")
