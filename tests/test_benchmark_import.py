"""A benchmark becomes samples, pictures and a card; what is broken is counted, and what is wrong is one error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from data_pipelines import pictures
from data_pipelines.benchmarks.__main__ import main
from data_pipelines.benchmarks.catalogue import BENCHMARKS
from data_pipelines.benchmarks.importing import build
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.storage import file_hash
from tests.benchmark_files import LETTERED, Row, imported, in_base64, lines, parquet, picture, reasons, stored, tsv

README = Path(__file__).parents[1] / "data_pipelines" / "README.md"
COPY = {**LETTERED, "index": 1_000_007, "A": "that", "B": "this", "answer": "A", "image": "7"}


def test_a_row_of_a_tsv_becomes_a_sample(tmp_path: Path) -> None:
    (sample,), _ = imported("mmbench", tsv(tmp_path / "MMBench_DEV_EN.tsv", LETTERED), tmp_path / "out")
    assert sample.model_dump(exclude={"images"}, mode="json") == {
        "id": "mmbench-7",
        "question": 'Which side\tis "left"?',
        "kind": "choice",
        "choices": ["this", "that"],
        "answer": "B",
        "answers": [],
        "hint": "Look.",
        "category": "place",
        "group": "7",
        "meta": {"benchmark": "MMBench", "l2-category": "relation", "index": 7, "rotation": 0},
    }
    assert [Path(image).read_bytes() for image in sample.images] == [picture(1)]


def test_a_rotated_copy_shares_the_group_and_the_picture_that_it_points_at(tmp_path: Path) -> None:
    (first, copy), tally = imported("mmbench", tsv(tmp_path / "x.tsv", LETTERED, COPY), tmp_path / "out")
    assert (copy.id, copy.group, copy.meta["rotation"]) == ("mmbench-1000007", first.group, 1)
    assert copy.images == first.images
    assert tally.images == 1


def test_a_row_may_point_at_one_that_comes_later(tmp_path: Path) -> None:
    samples, _ = imported("mmbench", tsv(tmp_path / "x.tsv", COPY, LETTERED), tmp_path / "out")
    assert [sample.id for sample in samples] == ["mmbench-7", "mmbench-1000007"]
    assert samples[0].images == samples[1].images


def test_a_cell_of_base64_may_be_far_larger_than_csv_allows_by_itself(tmp_path: Path) -> None:
    padded = in_base64(1) + "\n" * 200_000  # csv's own limit is 131,072
    (sample,), _ = imported("mmbench", tsv(tmp_path / "x.tsv", {**LETTERED, "image": padded}), tmp_path / "out")
    assert Path(sample.images[0]).read_bytes() == picture(1)


def test_several_pictures_of_a_tsv_are_a_written_list(tmp_path: Path) -> None:
    row = {**LETTERED, "image": str([in_base64(1), in_base64(2)])}
    (sample,), _ = imported("mmt_bench", tsv(tmp_path / "x.tsv", row), tmp_path / "out")
    assert [Path(image).read_bytes() for image in sample.images] == [picture(1), picture(2)]


def test_an_option_called_none_or_na_is_an_option(tmp_path: Path) -> None:
    row = {**LETTERED, "C": "None", "D": "N/A", "answer": "D"}
    (sample,), _ = imported("mmbench", tsv(tmp_path / "x.tsv", row), tmp_path / "out")
    assert sample.choices == ("this", "that", "None", "N/A")


BROKEN: dict[str, Row] = {
    "broken base64": {"image": in_base64(1)[:-3] + "*"},
    "broken image": {"image": in_base64(1)[:72]},
    "image points at a row that is missing or has no sound image": {"image": "99"},
    "answer is none of the choices": {"answer": "C"},
    "no answer": {"answer": ""},
    "no question": {"question": " "},
    "no image": {"image": ""},
    "a gap among the options": {"A": "", "C": "there"},
    "index is no whole number": {"index": "seven"},
    "choices must hold 2 to 26 options for kind=choice": {"B": "", "answer": "A"},
    "id stands twice": {"index": "7"},
}


@pytest.mark.parametrize(("reason", "change"), BROKEN.items())
def test_a_broken_row_is_counted_with_its_reason_and_place(reason: str, change: Row, tmp_path: Path) -> None:
    source = tsv(tmp_path / "x.tsv", LETTERED, {**LETTERED, "index": 8, **change})
    samples, tally = imported("mmbench", source, tmp_path / "out")
    assert [sample.id for sample in samples] == ["mmbench-7"]
    assert reasons(tally) == {reason: 1}
    assert f"| {reason} | 1 | {source}, row 2 |" in (tmp_path / "out" / "card.md").read_text()


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("change", [{"answer": ""}, {"answer": "Z"}, {"question": ""}, {"A": ""}])
def test_a_row_that_is_left_out_lends_its_picture_to_those_that_point_at_it(
    change: Row, order: int, tmp_path: Path
) -> None:
    source = tsv(tmp_path / "x.tsv", *({**LETTERED, **change}, COPY)[::order])
    (copy,), tally = imported("mmbench", source, tmp_path / "out")
    assert (copy.id, len(reasons(tally)), tally.images) == ("mmbench-1000007", 1, 1)
    assert Path(copy.images[0]).read_bytes() == picture(1)


def test_a_row_that_is_left_out_passes_on_the_picture_that_it_points_at(tmp_path: Path) -> None:
    source = tsv(tmp_path / "x.tsv", LETTERED, {**COPY, "answer": ""}, {**COPY, "index": 2_000_007, "image": "1000007"})
    samples, _ = imported("mmbench", source, tmp_path / "out")
    assert [(sample.id, Path(sample.images[0]).read_bytes()) for sample in samples] == [
        ("mmbench-7", picture(1)),
        ("mmbench-2000007", picture(1)),
    ]


def shards(folder: Path, **ids: str) -> Path:
    """Parquet files of MMBench by name, each with rows of these ids."""
    for name, each in ids.items():
        parquet(folder / f"{name}.parquet", *({**LETTERED, "index": int(one), "image": stored(1)} for one in each))
    return folder


@pytest.mark.parametrize("second", ["123", "134", "1134"])
def test_files_that_share_most_of_their_ids_are_one_error(second: str, tmp_path: Path) -> None:
    source = shards(tmp_path / "source", cn="123", en=second)
    share = f"{2 + (second != '134')} of {len(second)}"
    with pytest.raises(ConfigError, match=rf"en\.parquet: {share} rows have ids that stand in .*cn\.parquet: .* name"):
        imported("mmbench", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("first", "second"), [("123", "34"), ("1112", "3")])
def test_an_id_that_stands_twice_by_mistake_is_counted(first: str, second: str, tmp_path: Path) -> None:
    samples, tally = imported("mmbench", shards(tmp_path / "source", cn=first, en=second), tmp_path / "out")
    assert len(samples) + reasons(tally)["id stands twice"] == len(first + second)


def test_a_picture_that_no_sample_shows_is_not_kept(tmp_path: Path) -> None:
    source = tsv(tmp_path / "x.tsv", LETTERED, {**LETTERED, "index": 8, "answer": "", "image": in_base64(2)})
    (sample,), tally = imported("mmbench", source, tmp_path / "out")
    assert ([str(path) for path in (tmp_path / "out" / "images").iterdir()], tally.images) == (list(sample.images), 1)


def test_a_pointer_at_a_row_whose_picture_is_broken_is_counted(tmp_path: Path) -> None:
    source = tsv(tmp_path / "x.tsv", {**LETTERED, "image": in_base64(1)[:72]}, COPY, {**LETTERED, "index": 9})
    _, tally = imported("mmbench", source, tmp_path / "out")
    assert reasons(tally) == {"broken image": 1, "image points at a row that is missing or has no sound image": 1}


def test_a_line_with_more_cells_than_columns_is_counted(tmp_path: Path) -> None:
    source = tsv(tmp_path / "x.tsv", LETTERED)
    source.write_text(source.read_text() + "8\t" * 20 + "\n")
    assert reasons(imported("mmbench", source, tmp_path / "out")[1]) == {"more cells than columns": 1}


def test_a_line_that_is_no_json_object_is_counted(tmp_path: Path) -> None:
    row = {"question_id": 1, "image": "1.png", "text": "Is it?", "label": "no"}
    source = lines(tmp_path / "coco_pope_random.json", row, row)
    source.write_text(source.read_text() + "{torn\n[1]\n")
    (tmp_path / "1.png").write_bytes(picture(1))
    tally = imported("pope", source, tmp_path / "out")[1]
    assert reasons(tally) == {"id stands twice": 1, "not valid JSON": 1, "not a JSON object": 1}


def test_strict_ends_at_the_broken_row_and_writes_nothing(tmp_path: Path) -> None:
    source = tsv(tmp_path / "x.tsv", LETTERED, {**LETTERED, "index": 8, "answer": "Z"})
    with pytest.raises(SclvlmError, match=r"x\.tsv, row 2: answer is none of the choices\."):
        imported("mmbench", source, tmp_path / "out", strict=True)
    assert os.listdir(tmp_path) == ["x.tsv"]


def test_a_missing_column_is_named_beside_those_that_were_found(tmp_path: Path) -> None:
    row = {name: cell for name, cell in LETTERED.items() if name != "answer"}
    with pytest.raises(ConfigError, match=r"x\.tsv: MMBench needs the column 'answer', found: index, question, hint, "):
        imported("mmbench", tsv(tmp_path / "x.tsv", row), tmp_path / "out")


def test_a_cell_of_another_type_is_named_with_file_row_and_columns(tmp_path: Path) -> None:
    row: Row = {"question": ["?"], "options": ["a", "b"], "answer": "0", "image": stored(1)}
    source = parquet(tmp_path / "test.parquet", row)
    message = r"test\.parquet, row 1: column 'question': expected text, got list\. Found: question, options, answer, "
    with pytest.raises(SclvlmError, match=message):
        imported("ai2d", source, tmp_path / "out")


def test_no_sound_row_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    source = tsv(tmp_path / "x.tsv", {**LETTERED, "answer": ""})
    with pytest.raises(SclvlmError, match=r"none of 1 rows is a sound sample \(no answer 1\)"):
        imported("mmbench", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_picture_is_kept_once_with_its_bytes_under_its_hash_and_its_real_format(tmp_path: Path) -> None:
    jpeg = picture(3, "jpeg")
    row: Row = {"question": "?", "options": ["a", "b"], "answer": "0", "image": {"bytes": jpeg, "path": "wrong.png"}}
    (first, second), tally = imported("ai2d", parquet(tmp_path / "test.parquet", row, row), tmp_path / "out")
    assert first.images == second.images
    path = Path(first.images[0])
    assert path.read_bytes() == jpeg
    assert path.name == f"{file_hash(path)[:16]}.jpeg"
    assert tally.images == 1


def test_a_picture_that_many_rows_hold_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def name(content: bytes) -> str:
        decoded.append(content)
        return "x.png"

    monkeypatch.setattr(pictures, "file_name", name)
    rows = ({**LETTERED, "index": index} for index in range(3))
    imported("mmbench", tsv(tmp_path / "x.tsv", *rows), tmp_path / "out")
    assert decoded == [picture(1)]


def test_a_limit_reads_the_first_rows(tmp_path: Path) -> None:
    source = tsv(tmp_path / "x.tsv", *({**LETTERED, "index": index} for index in range(5)))
    samples, tally = imported("mmbench", source, tmp_path / "out", limit=2)
    assert (tally.read, [sample.id for sample in samples]) == (2, ["mmbench-0", "mmbench-1"])


def test_files_of_a_category_each_are_written_in_turn(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(picture(1))
    for name, count in {"adversarial": 2, "popular": 3, "random": 1}.items():
        rows = [{"question_id": at, "image": "1.png", "text": "Is it?", "label": "no"} for at in range(count)]
        lines(tmp_path / f"coco_pope_{name}.json", *rows)
    samples, _ = imported("pope", tmp_path, tmp_path / "out")
    assert [sample.id.removeprefix("pope-") for sample in samples] == [
        *("adversarial-0", "popular-0", "random-0"),
        *("adversarial-1", "popular-1"),
        "popular-2",
    ]


def test_an_import_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    source = tsv(tmp_path / "x.tsv", LETTERED, COPY)
    assert len(imported("mmbench", source, tmp_path / "out")[0]) == 2
    assert len(imported("mmbench", source, tmp_path / "out", limit=1)[0]) == 1
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"expected a folder of imported samples or none, got mine\.txt"):
        imported("mmbench", source, tmp_path / "out")


def test_the_card_states_licence_counts_and_what_the_commonest_answer_scores(tmp_path: Path) -> None:
    rows = [{**LETTERED, "index": index, "answer": answer} for index, answer in enumerate("BBA")]
    imported("mmbench", tsv(tmp_path / "x.tsv", *rows), tmp_path / "out")
    card = (tmp_path / "out" / "card.md").read_text()
    assert "Licence: Apache-2.0" in card
    assert "| samples | 3 |" in card
    assert "| images, each kept once | 1 |" in card
    assert "| groups | 3 |" in card
    assert "| choice | 3 | B: 2 / 3 (66.7 %) |" in card
    assert "| place | 3 |" in card
    assert "left out: 3 / 3 (100.0 %)" in card


def test_the_command_tells_counts_and_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tsv(tmp_path / "x.tsv", LETTERED, {**LETTERED, "index": 8, "answer": ""})
    assert main(["mmbench", str(source), "--out", str(tmp_path / "out")]) == 0
    assert "1 samples of 2 rows, 1 images, left out: no answer 1, see" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["mmbench", "x.tsv", "--strict"], 1, "row 2: no answer."),
        (["mmbench", "none.tsv"], 2, "none.tsv: no such file or folder."),
        (["puzzlevqa", "x.tsv"], 2, "PuzzleVQA needs the column 'options'"),
        (["mmbench", "x.csv"], 2, "x.csv: expected .tsv, .json, .jsonl, .parquet, a folder of these or a hub id"),
    ],
)
def test_the_command_fails_with_the_code_of_the_error(
    arguments: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    tsv(Path("x.tsv"), LETTERED, {**LETTERED, "index": 8, "answer": ""})
    Path("x.csv").write_text("a,b\n")
    assert main([*arguments, "--out", "out"]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_readme_lists_every_benchmark_with_its_licence(name: str) -> None:
    table = README.read_text(encoding="utf-8")
    assert f"| `{name}` |" in table
    (line,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    assert BENCHMARKS[name].licence in line


def test_build_refuses_a_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected \.tsv, \.json, \.jsonl, \.parquet files, got none"):
        build("mmbench", BENCHMARKS["mmbench"], str(tmp_path), tmp_path / "out")
