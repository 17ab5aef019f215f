"""The pairs in other trainers' formats: whole or not at all, pictures unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sclvlm.errors import SclvlmError
from sclvlm.export import EXPORTS, export_llamafactory, export_parquet, export_swift
from sclvlm.records import PreferencePair, text_message
from sclvlm.storage import write_records

datasets = pytest.importorskip("datasets")


def pair(name: str, *images: Path, text: str = "what is it?", **other: Any) -> PreferencePair:
    """A pair about these pictures."""
    sides = {
        "chosen": [text_message("assistant", "a cat")],
        "rejected": [text_message("assistant", "a dog")],
    }
    prompt = [text_message("user", text, images=len(images))]
    return PreferencePair.model_validate(
        {"id": name, "prompt": prompt, **sides, "images": tuple(map(str, images)), **other}
    )


def picture(path: Path, colour: tuple[int, int, int]) -> Path:
    """A small PNG with a corner of another colour."""
    image = Image.new("RGB", (5, 4), colour)
    image.putpixel((0, 0), (1, 2, 3))
    path.parent.mkdir(exist_ok=True)
    image.save(path)
    return path


@pytest.fixture(name="pictures")
def two_pictures(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "images"
    return [picture(folder / "red.png", (255, 0, 0)), picture(folder / "blue.png", (0, 0, 255))]


@pytest.fixture(name="file")
def pairs_file(tmp_path: Path, pictures: list[Path]) -> Path:
    """Three pairs: with one picture, with two, with none."""
    path = tmp_path / "pairs.jsonl"
    write_records(path, [pair("one", pictures[0]), pair("two", *pictures), pair("none")])
    return path


def write(path: Path, *pairs: PreferencePair) -> Path:
    """A pairs file beside `path`."""
    write_records(path, pairs)
    return path


def loaded(kind: str, path: Path, tmp_path: Path) -> Any:
    """The data set that `datasets` sees in a file."""
    return datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))


@pytest.fixture(name="parquet")
def exported_parquet(file: Path, tmp_path: Path) -> Any:
    export_parquet(file, tmp_path / "out" / "pairs.parquet")
    return loaded("parquet", tmp_path / "out" / "pairs.parquet", tmp_path)


def test_parquet_has_the_columns_trl_reads(parquet: Any) -> None:
    assert parquet.column_names == ["id", "prompt", "chosen", "rejected", "images"]


def test_parquet_keeps_every_pair_in_order(parquet: Any) -> None:
    assert parquet["id"][:] == ["one", "two", "none"]


def test_pictures_in_parquet_decode_to_the_same_pixels(parquet: Any, pictures: list[Path]) -> None:
    for found, path in zip(parquet[1]["images"], pictures, strict=True):
        assert (found.mode, found.tobytes()) == ("RGB", Image.open(path).tobytes())


def test_a_pair_without_pictures_beside_others_has_an_empty_list(parquet: Any) -> None:
    assert parquet[2]["images"] == []


def test_messages_in_parquet_are_conversational(parquet: Any) -> None:
    assert parquet[0]["chosen"] == [{"role": "assistant", "content": [{"type": "text", "text": "a cat"}]}]


def test_image_placeholders_in_parquet_carry_no_picture_of_their_own(parquet: Any) -> None:
    assert parquet[0]["prompt"][0]["content"][0] == {"type": "image", "text": None}


def test_parquet_opens_after_the_pictures_are_gone(file: Path, pictures: list[Path], tmp_path: Path) -> None:
    export_parquet(file, tmp_path / "p.parquet")
    pictures[0].unlink()
    assert loaded("parquet", tmp_path / "p.parquet", tmp_path)[0]["images"][0].size == (5, 4)


def test_text_only_pairs_in_parquet_have_no_images_column(tmp_path: Path) -> None:
    export_parquet(write(tmp_path / "t.jsonl", pair("t")), tmp_path / "t.parquet")
    assert "images" not in loaded("parquet", tmp_path / "t.parquet", tmp_path).column_names


def test_a_message_that_is_plain_text_becomes_a_part_in_parquet(tmp_path: Path) -> None:
    plain = pair("t", prompt=[{"role": "user", "content": "hello"}])
    export_parquet(write(tmp_path / "t.jsonl", plain), tmp_path / "t.parquet")
    message = loaded("parquet", tmp_path / "t.parquet", tmp_path)[0]["prompt"][0]
    assert message == {"role": "user", "content": [{"type": "text", "text": "hello"}]}


def test_more_pairs_than_a_row_group_are_all_kept(tmp_path: Path) -> None:
    names = [str(number) for number in range(600)]
    file = write(tmp_path / "t.jsonl", *(pair(name) for name in names))
    assert export_parquet(file, tmp_path / "t.parquet") == 600
    assert loaded("parquet", tmp_path / "t.parquet", tmp_path)["id"][:] == names


def test_the_pairs_file_itself_opens_with_datasets(file: Path, tmp_path: Path) -> None:
    rows = loaded("json", file, tmp_path)
    assert {"prompt", "chosen", "rejected", "images"} <= set(rows.column_names)
    assert rows[1]["images"] == ["images/red.png", "images/blue.png"]


@pytest.fixture(name="llamafactory")
def exported_llamafactory(file: Path, tmp_path: Path) -> Path:
    export_llamafactory(file, tmp_path / "lf")
    return tmp_path / "lf"


def test_llamafactory_has_one_ranked_conversation_a_pair(llamafactory: Path) -> None:
    assert json.loads((llamafactory / "pairs.json").read_text())[1] == {
        "conversations": [{"from": "human", "value": "<image><image>what is it?"}],
        "chosen": {"from": "gpt", "value": "a cat"},
        "rejected": {"from": "gpt", "value": "a dog"},
        "images": ["../images/red.png", "../images/blue.png"],
    }


def test_llamafactory_image_paths_lead_from_its_folder_to_the_pictures(llamafactory: Path) -> None:
    rows = json.loads((llamafactory / "pairs.json").read_text())
    assert all((llamafactory / image).is_file() for row in rows for image in row["images"])


def test_llamafactory_describes_its_file_and_columns(llamafactory: Path) -> None:
    assert json.loads((llamafactory / "dataset_info.json").read_text()) == {
        "sclvlm_pairs": {
            "file_name": "pairs.json",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {
                "messages": "conversations",
                "chosen": "chosen",
                "rejected": "rejected",
                "images": "images",
            },
        }
    }


def test_a_system_message_keeps_its_role_for_llamafactory(tmp_path: Path) -> None:
    told = pair("s", prompt=[text_message("system", "be brief"), text_message("user", "what?")])
    export_llamafactory(write(tmp_path / "s.jsonl", told), tmp_path / "lf")
    rows = json.loads((tmp_path / "lf" / "pairs.json").read_text())
    assert [turn["from"] for turn in rows[0]["conversations"]] == ["system", "human"]


def test_an_earlier_export_is_replaced(file: Path, llamafactory: Path) -> None:
    assert export_llamafactory(file, llamafactory) == 3


def test_a_folder_with_other_things_is_not_replaced(file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(SclvlmError, match=r"mine: holds something else already. Name another folder with --out."):
        export_llamafactory(file, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").is_file()


def test_swift_has_messages_up_to_the_chosen_answer_and_the_rejected_one_apart(file: Path, tmp_path: Path) -> None:
    export_swift(file, tmp_path / "s.jsonl")
    first = json.loads((tmp_path / "s.jsonl").read_text().splitlines()[0])
    assert first == {
        "messages": [
            {"role": "user", "content": "<image>what is it?"},
            {"role": "assistant", "content": "a cat"},
        ],
        "rejected_response": "a dog",
        "images": [str(tmp_path / "images" / "red.png")],
    }


@pytest.mark.parametrize("form", EXPORTS)
def test_missing_pictures_are_counted_in_one_message(form: str, file: Path, pictures: list[Path]) -> None:
    pictures[0].unlink()
    with pytest.raises(SclvlmError, match=r"images are missing \(2\), the first is .*red\.png of pair 'one'\."):
        EXPORTS[form](file, file.parent / "out")


@pytest.mark.parametrize("form", EXPORTS)
def test_what_breaks_off_leaves_nothing_behind(form: str, tmp_path: Path) -> None:
    odd = pair("odd", chosen=[{"role": "assistant", "content": "x", "tool_calls": []}])
    file = write(tmp_path / "pairs.jsonl", pair("good"), odd)
    with pytest.raises(SclvlmError, match="pair 'odd': only text and images can be exported"):
        EXPORTS[form](file, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


@pytest.mark.parametrize("form", EXPORTS)
def test_what_breaks_off_keeps_what_was_there(form: str, tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", pair("good"))
    bad = write(tmp_path / "bad.jsonl", pair("bad", chosen=[{"role": "assistant", "content": "x", "name": "y"}]))
    EXPORTS[form](good, tmp_path / "out")
    before = _content(tmp_path / "out")
    with pytest.raises(SclvlmError):
        EXPORTS[form](bad, tmp_path / "out")
    assert _content(tmp_path / "out") == before


def _content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.parametrize("form", EXPORTS)
def test_the_number_of_pairs_is_returned(form: str, file: Path, tmp_path: Path) -> None:
    assert EXPORTS[form](file, tmp_path / "out") == 3


@pytest.mark.parametrize("form", ["llamafactory", "swift"])
def test_text_that_holds_an_image_tag_is_refused_where_tags_stand_for_pictures(form: str, tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", pair("t", text="what is <image>?"))
    with pytest.raises(SclvlmError, match="would take for a picture"):
        EXPORTS[form](file, tmp_path / "out")


@pytest.mark.parametrize("form", ["llamafactory", "swift"])
def test_a_side_of_several_turns_is_refused_where_one_is_taken(form: str, tmp_path: Path) -> None:
    turns = [text_message("assistant", "a"), text_message("user", "b"), text_message("assistant", "c")]
    file = write(tmp_path / "t.jsonl", pair("t", chosen=turns))
    with pytest.raises(SclvlmError, match="one assistant message a side, got 3 messages"):
        EXPORTS[form](file, tmp_path / "out")


def test_a_side_of_several_turns_survives_in_parquet(tmp_path: Path) -> None:
    turns = [text_message("assistant", "a"), text_message("user", "b"), text_message("assistant", "c")]
    export_parquet(write(tmp_path / "t.jsonl", pair("t", chosen=turns)), tmp_path / "t.parquet")
    assert loaded("parquet", tmp_path / "t.parquet", tmp_path)[0]["chosen"] == turns
