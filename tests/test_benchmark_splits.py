"""Rows of one split are imported where a file says of each row which it is of."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_pipelines.benchmarks.__main__ import main
from sclvlm.errors import ConfigError
from tests.benchmark_files import LETTERED, Row, imported, in_base64, picture, tsv, whole


def of_splits(*splits: str) -> list[Row]:
    """A row of each, at index 0 and on."""
    return [
        {**LETTERED, "index": index, "split": split, "image": in_base64(index)} for index, split in enumerate(splits)
    ]


def problems(folder: Path, *splits: str) -> Path:
    """ScienceQA's problems.json, a problem of each split at id 0 and on."""
    problem = {"question": "Which?", "choices": ["a", "b"], "answer": 1, "hint": "", "image": None}
    return whole(folder / "problems.json", {str(at): {**problem, "split": split} for at, split in enumerate(splits)})


def test_rows_of_other_splits_are_no_part_of_the_one_asked_for(tmp_path: Path) -> None:
    source = tsv(tmp_path / "MMMU_DEV_VAL.tsv", *of_splits("dev", "validation", "dev"))
    samples, tally = imported("mmmu", source, tmp_path / "out")
    assert [sample.id for sample in samples] == ["mmmu-1"]
    assert (tally.read, tally.images) == (1, 1)
    assert "Split: validation" in (tmp_path / "out" / "card.md").read_text()


def test_a_row_of_another_split_lends_its_picture(tmp_path: Path) -> None:
    first, second = of_splits("dev", "validation")
    (sample,), _ = imported("mmmu", tsv(tmp_path / "x.tsv", first, {**second, "image": "0"}), tmp_path / "out")
    assert Path(sample.images[0]).read_bytes() == picture(0)


@pytest.mark.parametrize("asked", ["val", "valid", "validation", "VAL"])
@pytest.mark.parametrize("said", ["val", "validation", "Val"])
def test_the_validation_split_of_a_row_may_have_any_of_its_names(asked: str, said: str, tmp_path: Path) -> None:
    source = problems(tmp_path, "train", said, "test")
    samples, _ = imported("scienceqa", source, tmp_path / "out", split=asked)
    assert [sample.id for sample in samples] == ["scienceqa-1"]


def test_rows_of_several_splits_may_be_asked_for(tmp_path: Path) -> None:
    samples, _ = imported("scienceqa", problems(tmp_path, "train", "val", "test"), tmp_path / "out", split="val+test")
    assert [sample.id for sample in samples] == ["scienceqa-1", "scienceqa-2"]


def test_a_limit_counts_the_rows_of_the_split(tmp_path: Path) -> None:
    source = problems(tmp_path, "train", "test", "train", "test", "test")
    samples, tally = imported("scienceqa", source, tmp_path / "out", limit=2)
    assert ([sample.id for sample in samples], tally.read) == (["scienceqa-1", "scienceqa-3"], 2)


def test_a_row_that_names_no_split_is_read(tmp_path: Path) -> None:
    source = tsv(tmp_path / "x.tsv", *of_splits("", "nan", "dev"))
    assert len(imported("mmmu", source, tmp_path / "out")[0]) == 2


def test_a_split_of_no_row_is_told_beside_those_that_were_found(tmp_path: Path) -> None:
    source = problems(tmp_path, "val", "train")
    said = r"problems\.json: no row of the split 'test', found: train, val\. Name another --split\."
    with pytest.raises(ConfigError, match=said):
        imported("scienceqa", source, tmp_path / "out")


def test_a_split_of_no_row_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scienceqa", str(problems(tmp_path, "val")), "--out", str(tmp_path / "out")]) == 2
    assert "found: val." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
