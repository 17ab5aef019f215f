"""Each published layout says the same pairs, and what is exported is imported as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_pipelines.preference_layouts import LAYOUTS
from sclvlm.errors import ConfigError
from sclvlm.export import EXPORTS
from sclvlm.records import PreferencePair, text_message
from sclvlm.storage import read_records, write_records
from tests.published import (
    ABOUT_TWO,
    BLUE,
    IN_WORDS,
    SAME_PICTURES,
    SAME_WORDS,
    TEAL,
    Row,
    drops,
    file_of,
    folder_in,
    imported,
    picture,
    plain,
    said,
    user,
    words,
)

datasets = pytest.importorskip("datasets")


@pytest.fixture(name="folder")
def folder_with_pictures(tmp_path: Path) -> Path:
    return folder_in(tmp_path)


@pytest.mark.parametrize(("layout", "row"), SAME_WORDS.values(), ids=SAME_WORDS)
def test_every_layout_says_the_same_pair(layout: str, row: Row, folder: Path) -> None:
    (pair,) = imported(file_of(folder, row))
    assert words(pair) == IN_WORDS
    assert pair.source == layout


@pytest.mark.parametrize(("layout", "row"), SAME_PICTURES.values(), ids=SAME_PICTURES)
def test_every_layout_shows_the_same_pictures(layout: str, row: Row, folder: Path) -> None:
    (pair,) = imported(file_of(folder, row))
    assert words(pair) == ABOUT_TWO
    assert pair.source == layout


@pytest.mark.parametrize("kind", ["json", "parquet"])
@pytest.mark.parametrize("sort", ["RLHF-V", "RLAIF-V"])
def test_rlhf_v_and_rlaif_v_show_a_picture_before_the_question(sort: str, kind: str, folder: Path) -> None:
    texts = {"question": "Which?", "chosen": "blue", "rejected": "teal"}
    row: Row = {"ds_name": "RLHF-V", **({"text": json.dumps(texts)} if sort == "RLHF-V" else texts), "idx": 4}
    if kind == "json":
        source = file_of(folder, {**row, "image": "images/1.png"})
    else:
        source = folder / "rows.parquet"
        table = datasets.Dataset.from_list([{**row, "image": {"bytes": picture(1), "path": "1.png"}}])
        table.cast_column("image", datasets.Image()).to_parquet(source)
    (pair,) = imported(source)
    assert words(pair) == ([user("Which?", 1)], *IN_WORDS[1:3], [picture(1)])
    assert (pair.source, pair.meta) == ("rlhf_v", {"ds_name": "RLHF-V", "idx": 4})


def test_every_layout_has_an_example_here() -> None:
    assert {layout for layout, _ in (*SAME_WORDS.values(), *SAME_PICTURES.values())} | {"rlhf_v"} == set(LAYOUTS)


def test_pictures_without_placeholder_stand_before_the_first_request() -> None:
    row = {"prompt": [plain("system", "Hi"), plain("user", "Which?")], "chosen": [BLUE], "rejected": [TEAL]}
    found = LAYOUTS["trl"]({**row, "images": [b"1", b"2"]})
    assert found.prompt == [text_message("system", "Hi"), user("Which?", 2)]


def test_a_marker_beside_placeholders_is_text() -> None:
    content = [{"type": "image"}, {"type": "text", "text": "What does <image> mean?"}]
    row = {"prompt": [{"role": "user", "content": content}], "chosen": [BLUE], "rejected": [TEAL], "image": b"1"}
    assert LAYOUTS["trl"](row).prompt == [{"role": "user", "content": content}]


def test_a_marker_without_pictures_is_text_to_trl_and_a_missing_picture_to_ms_swift(folder: Path) -> None:
    asked = "What does <image> mean?"
    (pair,) = imported(file_of(folder, {"prompt": asked, "chosen": "blue", "rejected": "teal"}))
    assert pair.prompt == [user(asked)]
    row = {"messages": [plain("user", asked), BLUE], "rejected_response": "teal"}
    assert drops(file_of(folder, row, {**row, "messages": [plain("user", "Which?"), BLUE]})) == {
        "images and placeholders differ in number": 1
    }


def test_an_implicit_prompt_of_text_ends_with_a_word() -> None:
    found = LAYOUTS["trl"]({"chosen": "The sky is blue.", "rejected": "The sky is black."})
    assert (found.prompt, found.chosen, found.rejected) == ([user("The sky is")], [said("blue.")], [said("black.")])


def test_an_implicit_prompt_is_the_whole_common_conversation() -> None:
    lines = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Which?\n\nAssistant:"
    found = LAYOUTS["hh"]({"chosen": f"{lines} blue", "rejected": f"{lines} teal"})
    assert found.prompt == [user("Hi"), said("Hello"), user("Which?")]
    assert (found.chosen, found.rejected) == ([said("blue")], [said("teal")])


def test_turns_of_tools_stay_in_the_completion(folder: Path) -> None:
    calls, others = ([{"function": {"name": name, "arguments": {name: 1}}}] for name in ("look", "ask"))
    call = {"role": "assistant", "content": None, "tool_calls": calls}
    tool = {"role": "tool", "name": "look", "content": "teal"}
    row = {"prompt": [plain("user", "Which?")], "chosen": [call, tool, BLUE], "rejected": [TEAL]}
    other = {**row, "chosen": [{**call, "tool_calls": others}, tool, BLUE]}
    pair, _ = imported(file_of(folder, row, other))
    assert pair.chosen == [
        {**said(""), "tool_calls": calls},
        {**text_message("tool", "teal"), "name": "look"},
        said("blue"),
    ]


def test_turns_of_sharegpt_and_ms_swift_tools_are_known_by_their_names() -> None:
    roles = ["human", "function_call", "observation", "gpt"]
    row = {"conversations": [{"from": role, "value": role} for role in roles], "chosen": "x", "rejected": "y"}
    assert [each["role"] for each in LAYOUTS["llama_factory"](row).prompt] == ["user", "assistant", "tool", "assistant"]
    swift = [plain(role, role) for role in ("user", "tool_call", "tool_response", "assistant")]
    found = LAYOUTS["ms_swift"]({"messages": swift, "rejected_response": "y"})
    assert [each["role"] for each in found.prompt] == ["user", "assistant", "tool"]


def test_ms_swift_has_a_system_beside_the_messages_of_both_sides() -> None:
    row = {"system": "S", **SAME_WORDS["ms-swift, both in full"][1]}
    assert LAYOUTS["ms_swift"](row).prompt == [text_message("system", "S"), *IN_WORDS[0]]


def test_ultrafeedback_may_have_pictures() -> None:
    row = {**SAME_WORDS["UltraFeedback-binarized"][1], "images": [b"1"]}
    assert LAYOUTS["ultrafeedback"](row)[::3] == ([user("Which?", 1)], [b"1"])


def test_alpaca_has_system_history_and_input() -> None:
    row = {"instruction": "Add", "input": "1 2", "system": "S", "history": [["q", "a"]], "chosen": "3", "rejected": "4"}
    assert LAYOUTS["llama_factory"](row).prompt == [text_message("system", "S"), user("q"), said("a"), user("Add\n1 2")]


def test_a_dataset_info_names_the_file_its_columns_and_its_roles(folder: Path) -> None:
    file_of(
        folder, {"talk": [plain("U", "Which?")], "good": plain("A", "blue"), "bad": plain("A", "teal")}, name="a.json"
    )
    file_of(folder, {"instruction": "Hi"}, name="b.json")
    columns = {"messages": "talk", "chosen": "good", "rejected": "bad"}
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "U", "assistant_tag": "A"}
    entry = {"file_name": "a.json", "formatting": "sharegpt", "ranking": True, "columns": columns, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps({"a": entry, "b": {"file_name": "b.json"}}))
    (pair,) = imported(folder)
    assert words(pair) == IN_WORDS


def test_several_files_with_ranking_have_to_be_told_apart(folder: Path) -> None:
    entries = {name: {"file_name": f"{name}.json", "ranking": True} for name in "ab"}
    (folder / "dataset_info.json").write_text(json.dumps(entries))
    with pytest.raises(ConfigError, match=r"describes 2 files with ranking: a\.json, b\.json\. Name one"):
        imported(folder)


OURS = [
    PreferencePair(id="words", prompt=IN_WORDS[0], chosen=IN_WORDS[1], rejected=IN_WORDS[2]),
    PreferencePair(
        id="again",
        prompt=[text_message("system", "Be kind."), user("Hi"), said("Hello"), user("Which?")],
        chosen=IN_WORDS[1],
        rejected=IN_WORDS[2],
    ),
]


def our_pairs(folder: Path) -> Path:
    paths = [str(folder / "images" / f"{number}.png") for number in (1, 2)]
    one = PreferencePair(
        id="one", prompt=[user("What?", 1)], chosen=[said("a")], rejected=[said("b")], images=(paths[0],)
    )
    prompt, chosen, rejected, _ = ABOUT_TWO
    two = PreferencePair(id="two", prompt=prompt, chosen=chosen, rejected=rejected, images=tuple(paths))
    write_records(folder / "ours.jsonl", [*OURS, one, two])
    return folder / "ours.jsonl"


@pytest.mark.parametrize(
    ("export", "name"), [("parquet", "p.parquet"), ("llamafactory", "folder"), ("swift", "s.jsonl")]
)
def test_what_is_exported_is_imported_as_the_same_pairs(export: str, name: str, folder: Path) -> None:
    file, away = our_pairs(folder), folder.parent / "away"
    EXPORTS[export](file, away / name)
    expected = [words(pair) for pair in read_records(file, PreferencePair)]
    assert [words(pair) for pair in imported(away / name)] == expected


def test_our_own_pairs_are_imported_with_all_their_fields(folder: Path) -> None:
    pair = OURS[0].model_copy(update={"weight": 0.5, "source": "i->c", "meta": {"page": 3}})
    write_records(folder / "ours.jsonl", [pair])
    assert imported(folder / "ours.jsonl") == [pair]


def test_a_trl_data_set_comes_back_as_it_was(folder: Path) -> None:
    text = datasets.Value("string")
    messages = datasets.List({"role": text, "content": datasets.List({"type": text, "text": text})})
    columns = {"id": text, "prompt": messages, "chosen": messages, "rejected": messages}
    row = {
        "id": "x",
        "prompt": [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "Which?"}]}],
        "chosen": [said("blue")],
        "rejected": [said("teal")],
        "images": [{"bytes": picture(5), "path": None}],
    }
    features = datasets.Features({**columns, "images": datasets.List(datasets.Image())})
    datasets.Dataset.from_list([row], features=features).to_parquet(folder / "trl.parquet")
    imported(folder / "trl.parquet")
    EXPORTS["parquet"](folder / "out" / "pairs.jsonl", folder / "back.parquet")
    before, back = (
        datasets.Dataset.from_parquet(str(folder / f"{name}.parquet"), cache_dir=str(folder / "cache"))
        for name in ("trl", "back")
    )
    assert back.features == before.features
    (expected,), (found,) = list(before), list(back)
    assert [image.tobytes() for image in found.pop("images")] == [image.tobytes() for image in expected.pop("images")]
    assert found == expected
