"""Public preference data as our pairs: what is broken is counted, and what is wrong is one error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_pipelines.pictures import file_name
from data_pipelines.preference_layouts import recognised
from data_pipelines.preferences import build, main
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.records import PreferencePair
from sclvlm.storage import read_records
from tests.published import (
    BLUE,
    IN_WORDS,
    SAME_PICTURES,
    SAME_WORDS,
    SOUND,
    Row,
    drops,
    file_of,
    folder_in,
    imported,
    picture,
    plain,
    words,
)

datasets = pytest.importorskip("datasets")


@pytest.fixture(name="folder")
def folder_with_pictures(tmp_path: Path) -> Path:
    return folder_in(tmp_path)


BROKEN: dict[str, Row] = {
    "chosen equals rejected": {"rejected": [BLUE]},
    "missing or unknown role": {"chosen": [{"content": "blue"}]},
    "images and placeholders differ in number": {
        "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "image"}]}],
        "images": ["images/1.png"],
    },
    "empty completion": {"rejected": [plain("assistant", " ")]},
    "roles don't alternate": {"prompt": [plain("user", "Which?"), plain("user", "Which?")]},
    "no prompt": {"prompt": []},
    "missing image": {"prompt": [plain("user", "<image>?")], "images": ["images/3.png"]},
    "missing image, too long for a path": {"prompt": [plain("user", "<image>?")], "images": ["iVBOR" * 1000]},
    "broken image": {"prompt": [plain("user", "<image>?")], "images": ["images/torn.png"]},
    "a part that is video, neither text nor image": {"prompt": [{"role": "user", "content": [{"type": "video"}]}]},
}


@pytest.fixture(name="torn")
def torn_picture(folder: Path) -> Path:
    (folder / "images" / "torn.png").write_bytes(picture(1)[:45])  # behind its header: it opens, and does not decode
    return folder


REASONS = [pytest.param(name.partition(", too")[0], change, id=name) for name, change in BROKEN.items()]


@pytest.mark.parametrize(("reason", "change"), REASONS)
def test_a_broken_row_is_left_out_with_its_reason(reason: str, change: Row, torn: Path) -> None:
    source = file_of(torn, {**SOUND, **change}, SOUND)
    assert drops(source) == {reason: 1}
    assert [words(pair) for pair in read_records(torn / "out" / "pairs.jsonl", PreferencePair)] == [IN_WORDS]
    assert os.listdir(torn / "out" / "images") == []
    assert f"| {reason} | 1 |" in (torn / "out" / "card.md").read_text()


@pytest.mark.parametrize(("reason", "change"), REASONS)
def test_strict_ends_at_the_broken_row_and_writes_nothing(reason: str, change: Row, torn: Path) -> None:
    source = file_of(torn, SOUND, {**SOUND, **change})
    with pytest.raises(SclvlmError, match=rf"rows\.jsonl, row 2: {reason}\."):
        build(str(source), torn / "out", strict=True)
    assert {path.name for path in torn.iterdir()} == {"images", "rows.jsonl"}


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ("blue", "missing or unknown role"),
        ("Well\n\nHuman: Which?\n\nAssistant: blue", "missing or unknown role"),
        ("\n\nHuman: Which?\n\nAssistant:", "empty completion"),
        ("\n\nHuman: Which?\n\nHuman: blue", "roles don't alternate"),
        ("\n\nHuman: Which?\n\nAssistant: teal", "chosen equals rejected"),
    ],
)
def test_a_broken_transcript_is_left_out_with_its_reason(chosen: str, reason: str, folder: Path) -> None:
    sound = SAME_WORDS["HH-RLHF"][1]
    assert drops(file_of(folder, sound, {**sound, "chosen": chosen})) == {reason: 1}


def test_sides_about_different_pictures_are_no_pair(folder: Path) -> None:
    row = {"messages": [plain("user", "<image>?"), BLUE], "images": ["images/1.png"], "rejected_response": "teal"}
    source = file_of(folder, {**row, "rejected_images": ["images/2.png"]}, {**row, "rejected_images": ["images/1.png"]})
    assert drops(source) == {"sides with different images": 1}


def test_a_picture_too_large_to_decode_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    row = {**SOUND, "prompt": [plain("user", "<image>?")], "images": ["images/1.png"]}
    assert drops(file_of(folder, row, SOUND)) == {"image too large to be decoded safely": 1}


def test_no_sound_row_is_an_error_and_writes_nothing(folder: Path) -> None:
    source = file_of(folder, {**SOUND, "rejected": [BLUE]})
    with pytest.raises(SclvlmError, match=r"none of 1 rows is a sound pair \(chosen equals rejected 1\)"):
        build(str(source), folder / "out")
    assert not (folder / "out").exists()


def test_a_picture_that_rows_share_is_kept_once_under_the_hash_of_its_bytes(folder: Path) -> None:
    row = {**SOUND, "prompt": [plain("user", "<image> or <image>?")], "images": ["images/1.png", "images/1.png"]}
    first, second = imported(file_of(folder, row, row))
    assert first.images == second.images
    assert first.images[0] == first.images[1]
    assert [Path(first.images[0]).name] == os.listdir(folder / "out" / "images")
    assert file_name(picture(1)) == Path(first.images[0]).name


def test_columns_beside_the_pair_go_into_meta_or_are_told(folder: Path) -> None:
    (pair,) = imported(file_of(folder, SAME_WORDS["UltraFeedback-binarized"][1]))
    assert pair.meta == {"prompt_id": "c0ffee", "score_chosen": 8.5, "score_rejected": 3.0}
    assert "| left out | messages |" in (folder / "out" / "card.md").read_text()


def test_a_limit_reads_the_first_rows(folder: Path) -> None:
    tally = build(str(file_of(folder, *[SOUND] * 5)), folder / "out", limit=2)
    assert (tally.read, tally.kept) == (2, 2)


def test_an_import_replaces_an_earlier_one_and_nothing_else(folder: Path) -> None:
    source = file_of(folder, SOUND, SOUND)
    assert len(imported(source)) == 2
    assert len(imported(source, limit=1)) == 1
    (folder / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"expected a folder of imported pairs or none, got mine\.txt"):
        imported(source)


@pytest.mark.parametrize(
    ("row", "layout", "message"),
    [
        ({"question": "Which?"}, "auto", r"no known layout has these columns: question\. Known ones need ms_swift: "),
        (
            {"prompt": "Which?", "chosen": "blue"},
            "trl",
            r"layout trl needs the column 'rejected', found: prompt, chosen\.",
        ),
        (
            {"chosen": "a", "rejected": "b"},
            "rlhf_v",
            r"layout rlhf_v needs the column 'image', found: chosen, rejected\.",
        ),
    ],
)
def test_a_missing_column_is_named_beside_what_was_found(row: Row, layout: str, message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        imported(file_of(folder, row), layout=layout)


@pytest.mark.parametrize(
    ("row", "layout", "message"),
    [
        ({"chosen": [BLUE], "rejected": "x"}, "hh", "column 'chosen': expected text, got list"),
        ({"image": "images/1.png", "text": "Which?"}, "auto", "column 'text': expected JSON with question"),
        (
            {"image": "images/1.png", "text": '{"question": "Which?"}'},
            "auto",
            "column 'text': .*, got none of 'chosen'",
        ),
        ({"prompt": "x", "chosen": 3, "rejected": "x"}, "auto", "column 'chosen': expected text, got int"),
        ({"messages": "Which?", "rejected_response": "x"}, "auto", "column 'messages': expected a list of messages"),
        ({**SOUND, "weight": -1.0}, "auto", "weight: input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_cell_is_named_with_its_row(row: Row, layout: str, message: str, folder: Path) -> None:
    with pytest.raises(SclvlmError, match=rf"rows\.jsonl, row 1: {message}"):
        imported(file_of(folder, row), layout=layout)


def test_a_source_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl: no such file or folder"):
        build(str(folder / "none.jsonl"), folder / "out")


def test_a_file_of_another_format_is_refused(folder: Path) -> None:
    (folder / "rows.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"expected \.json, \.jsonl, \.parquet, a folder of these or a hub id, got"):
        build(str(folder / "rows.txt"), folder / "out")


def test_a_hub_id_out_of_reach_is_one_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"nobody/nothing, split train: can't be opened as a data set: "):
        build("nobody/nothing", folder / "out")


def test_a_hub_id_is_opened_with_its_split_and_licence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(name: str, **options: Any) -> Any:
        asked.append((name, options["split"]))
        rows = datasets.Dataset.from_list([SAME_WORDS["HH-RLHF"][1]]).to_iterable_dataset()
        rows.info.license = "cc-by-4.0"
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load)
    build("someone/pairs", folder / "out", split="test")
    assert asked == [("someone/pairs", "test")]
    card = (folder / "out" / "card.md").read_text()
    assert "Source: someone/pairs, split test" in card
    assert "Licence: cc-by-4.0" in card
    assert "Layout: hh, recognised by its columns" in card


def test_the_command_tells_counts_and_reasons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = file_of(folder, SOUND, {**SOUND, "rejected": [BLUE]})
    assert main([str(source), "--out", str(folder / "out")]) == 0
    assert "1 pairs of 2 rows (layout trl), left out: chosen equals rejected 1, see" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "code"), [(["--strict"], 1), (["--layout", "ms_swift"], 2)])
def test_the_command_fails_with_the_code_of_the_error(
    options: list[str], code: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = file_of(folder, {**SOUND, "rejected": [BLUE]})
    assert main([str(source), "--out", str(folder / "out"), *options]) == code
    assert "rows.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_of_no_row_is_refused(limit: str, folder: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(file_of(folder, SOUND)), "--out", str(folder / "out"), "--limit", limit])


def test_a_file_that_is_no_json_is_one_error(folder: Path) -> None:
    (folder / "rows.jsonl").write_text('{"chosen": ')
    with pytest.raises(ConfigError, match=r"rows\.jsonl, split train: can't be opened as a data set: "):
        build(str(folder / "rows.jsonl"), folder / "out")


def test_nothing_is_recognised_by_columns_of_something_else() -> None:
    assert recognised(("prompt", "completion"), {"prompt": "x", "completion": "y"}) is None


def test_imported_pairs_train(folder: Path, tiny_model: Callable[[str], Path]) -> None:
    from sclvlm.config import LoraSection, ModelSection, TrainSection
    from sclvlm.training import train

    imported(file_of(folder, SAME_PICTURES["TRL with markers"][1]))
    model = ModelSection(path=str(tiny_model("llava")), device="cpu", dtype="float32")
    settings = TrainSection(lora=LoraSection(rank=2), args={"max_steps": 1})
    train(folder / "out" / "pairs.jsonl", folder / "run", model=model, settings=settings, seed=0, strict=True)
    assert (folder / "run" / "adapter").is_dir()
