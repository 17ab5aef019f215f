"""Rows are found in files, folders and hubs as they are published, and read one at a time."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from data_pipelines.rows import BrokenError, CellError, Row, Wanted, files_of, open_rows
from sclvlm.errors import ConfigError, SclvlmError
from tests.benchmark_files import imported, lines, parquet, picture, stored, tsv, whole


def cells(name: Path | str, split: str = "test", **wanted: Any) -> list[Any]:
    """The cells of all rows of a source."""
    return [dict(row.cells) for row in open_rows(Wanted(str(name), split, **wanted)).rows]


@pytest.mark.parametrize(
    "data",
    [
        [{"a": 1}, {"a": "2"}],
        {"info": {"year": 1}, "data": [{"a": 1}, {"a": "2"}]},
        {"x": {"a": 1}, "y": {"a": "2"}},
    ],
    ids=["a list", "an object that holds one", "an object of rows"],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_json_is_read_in_any_form_with_mixed_types(data: Any, indent: int | None, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(data, indent=indent))
    assert cells(tmp_path / "x.json") == [{"a": 1}, {"a": "2"}]


def test_json_lines_may_be_called_json(tmp_path: Path) -> None:
    assert cells(lines(tmp_path / "x.json", {"a": 1}, {"a": "2"})) == [{"a": 1}, {"a": "2"}]


def test_a_row_of_an_object_knows_its_key(tmp_path: Path) -> None:
    source = open_rows(Wanted(str(whole(tmp_path / "x.json", {"x": {"a": 1}})), "test"))
    assert [(row.key, row.file, row.number) for row in source.rows] == [("x", "x", 1)]


def test_a_tsv_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tsv(tmp_path / "x.tsv", {"a": "ü"})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert cells(path) == [{"a": "ü"}]


@pytest.mark.parametrize("cell", ['"left', '"left" or right'])
def test_a_quote_that_is_not_closed_is_one_error_behind_the_last_sound_row(cell: str, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text(f"a\tb\n1\tx\n2\t{cell}\n" + "3\tz\n" * 2000)
    with pytest.raises(SclvlmError, match=r"x\.tsv, behind row 1: can't be read on: .*\. Close each quote that begins"):
        cells(tmp_path / "x.tsv")


def test_quotes_new_lines_and_line_ends_of_any_system_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(b'a\tb\r\n"say ""left""\n twice"\t3" wide\r\n\t""\n')
    assert cells(tmp_path / "x.tsv") == [{"a": 'say "left"\n twice', "b": '3" wide'}, {"a": "", "b": ""}]


def test_shards_are_read_in_order_and_numbered_through(tmp_path: Path) -> None:
    for number in (1, 0):
        parquet(tmp_path / "data" / f"test-0000{number}-of-00002.parquet", {"a": number})
    rows = list(open_rows(Wanted(str(tmp_path), "test")).rows)
    assert [(row["a"], row.number) for row in rows] == [(0, 1), (1, 2)]
    assert rows[1].place == f"{tmp_path / 'data' / 'test-00001-of-00002.parquet'}, row 1"


@pytest.mark.parametrize(
    ("split", "found"),
    [
        ("test", ["en/test-0.parquet"]),
        ("val", ["en/validation-0.parquet"]),
        ("train+test", ["en/test-0.parquet", "train/0.parquet"]),
    ],
)
def test_files_are_chosen_by_the_split_in_their_names(split: str, found: list[str], tmp_path: Path) -> None:
    for name in ("en/test-0.parquet", "en/validation-0.parquet", "train/0.parquet"):
        parquet(tmp_path / name, {"a": 1})
    assert [str(path.relative_to(tmp_path)) for path in files_of(tmp_path, split)] == found


def test_files_that_name_no_split_are_all_read(tmp_path: Path) -> None:
    for name in ("x.json", "y.json"):
        whole(tmp_path / name, [{"a": 1}])
    assert len(files_of(tmp_path, "test")) == 2


@pytest.mark.parametrize("other", ["MMBench_DEV_CN", "MMBench_DEV_EN_V11", "MMMU_DEV_VAL"])
def test_tables_of_several_names_are_told(other: str, tmp_path: Path) -> None:
    for name in ("MMBench_DEV_EN", other):
        tsv(tmp_path / f"{name}.tsv", {"a": 1})
    with pytest.raises(ConfigError, match=rf"expected one \.tsv of the split, .* got .*{other}\.tsv.*\. Name the file"):
        files_of(tmp_path, "dev")


def test_tables_of_other_splits_and_shards_of_a_table_are_told_apart(tmp_path: Path) -> None:
    for name in ("x_test-00000-of-00002", "x_test-00001-of-00002", "x_dev"):
        tsv(tmp_path / f"{name}.tsv", {"a": 1})
    assert [path.stem for path in files_of(tmp_path, "test")] == ["x_test-00000-of-00002", "x_test-00001-of-00002"]


def test_a_split_that_no_file_names_is_told(tmp_path: Path) -> None:
    parquet(tmp_path / "train-0.parquet", {"a": 1})
    with pytest.raises(ConfigError, match=r"no file of the split 'test', found: train-0\.parquet"):
        files_of(tmp_path, "test")


def test_a_file_that_breaks_off_is_one_error_with_its_place(tmp_path: Path) -> None:
    path = tsv(tmp_path / "x.tsv", {"a": "1"}, {"a": "2"})
    path.write_bytes(path.read_bytes() + b"\xff\xfe")
    with pytest.raises(SclvlmError, match=r"x\.tsv, behind row \d: can't be read on: "):
        cells(path)


def test_a_file_that_is_no_parquet_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1torn")
    with pytest.raises(SclvlmError, match=r"x\.parquet, behind row 0: can't be read on: "):
        cells(tmp_path / "x.parquet")


def test_a_source_without_rows_is_told(tmp_path: Path) -> None:
    with pytest.raises(SclvlmError, match=r"x\.json: holds no row"):
        cells(whole(tmp_path / "x.json", []))


@pytest.mark.parametrize(
    ("value", "found"),
    [([1, "b"], ("1", "b")), ("['a', \"it's\"]", ("a", "it's")), ('["a", null, 2]', None), ("a, b", None), ({}, None)],
)
def test_a_list_may_be_written_as_text(value: Any, found: tuple[str, ...] | None) -> None:
    row = Row({"options": value}, "")
    if found is None:
        with pytest.raises(CellError, match="column 'options': expected a list of texts"):
            row.texts("options")
    else:
        assert row.texts("options") == found


@pytest.mark.parametrize("value", [3, "3", 3.0, "3.0", " 3 "])
def test_a_whole_number_may_be_written_in_many_ways(value: Any) -> None:
    assert Row({"answer": value}, "").whole("answer") == 3


@pytest.mark.parametrize("value", [None, "", " ", "nan", float("nan")])
def test_an_empty_cell_is_told_apart_from_a_wrong_one(value: Any) -> None:
    row = Row({"answer": value}, "")
    assert not row.has("answer")
    assert row.maybe("answer") == ""
    with pytest.raises(BrokenError, match="no answer"):
        row.text("answer")


def on_hub(monkeypatch: pytest.MonkeyPatch, rows: list[Any], subsets: list[str], splits: list[str]) -> list[Any]:
    """Let a hub hold `rows` in each subset and split; what is asked of it comes back in the list."""
    asked: list[Any] = []

    def load(name: str, subset: str | None = None, *, split: str, streaming: bool) -> Any:
        assert streaming
        if split not in splits:
            raise ValueError(f"Unknown split {split}")
        asked.append((name, subset, split))
        data = datasets.Dataset.from_list(rows).to_iterable_dataset()
        data.info.license = "cc-by-4.0"
        return data

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name: subsets)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, subset: splits)
    return asked


HUB_ROW = {"idx": "1", "question": "?", "choices": ["a", "b"], "answer": "(A)", "image_1": None}


def test_all_subsets_of_a_hub_id_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = on_hub(monkeypatch, [{**HUB_ROW, "image_1": stored(1)}], ["Art", "Maps"], ["val"])
    rows = list(open_rows(Wanted("some/BLINK", "val")).rows)
    assert [(row.subset, row.place) for row in rows] == [
        ("Art", "some/BLINK, Art, split val, row 1"),
        ("Maps", "some/BLINK, Maps, split val, row 1"),
    ]
    assert set(asked) == {("some/BLINK", "Art", "val"), ("some/BLINK", "Maps", "val")}


def test_a_hub_id_becomes_samples_with_the_licence_it_states(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_hub(monkeypatch, [{**HUB_ROW, "image_1": stored(1)}], ["default"], ["val"])
    (sample,), _ = imported("blink", Path("some/BLINK"), tmp_path / "out")
    assert Path(sample.images[0]).read_bytes() == picture(1)
    assert "the source states: cc-by-4.0" in (tmp_path / "out" / "card.md").read_text()


def test_the_validation_split_is_found_under_any_of_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = on_hub(monkeypatch, [HUB_ROW], ["default"], ["validation"])
    assert len(cells("some/TextVQA", "val")) == 1
    assert {split for _, _, split in asked} == {"validation"}


def test_several_splits_may_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    on_hub(monkeypatch, [HUB_ROW], ["default"], ["image", "non_image"])
    assert len(cells("some/Hallusion", "image+non_image")) == 2


def test_a_split_that_a_hub_has_not_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    on_hub(monkeypatch, [HUB_ROW], ["default"], ["val"])
    with pytest.raises(ConfigError, match="some/BLINK, split test: can't be opened as a data set: Unknown split test"):
        cells("some/BLINK", "test")


def test_a_hub_out_of_reach_is_one_error() -> None:
    with pytest.raises(ConfigError, match="nobody/nothing, split test: can't be opened as a data set: "):
        cells("nobody/nothing")


def test_a_stream_that_breaks_off_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def torn() -> Iterator[Any]:
        yield {"a": 1}
        raise ConnectionError("gone")

    on_hub(monkeypatch, [HUB_ROW], ["default"], ["val"])
    monkeypatch.setattr(datasets.IterableDataset, "__iter__", lambda self: torn())
    with pytest.raises(SclvlmError, match="some/BLINK, split val, behind row 1: can't be read on: gone"):
        cells("some/BLINK", "val")


def test_a_large_tsv_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path, cell = tmp_path / "x.tsv", "A" * 1_000_000
    with path.open("w") as file:
        file.write("index\timage\n" + f"1\t{cell}\n" * 40)
    tracemalloc.start()
    count = sum(1 for _ in open_rows(Wanted(str(path), "test")).rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40
    assert peak < 16_000_000  # of 40,000,000
