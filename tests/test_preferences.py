"""Public preference data as our pairs: each published layout says the same pairs, and what is broken is counted."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_pipelines import preferences
from data_pipelines.preference_layouts import LAYOUTS, recognised
from data_pipelines.preferences import build, main
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.export import EXPORTS
from sclvlm.records import Message, PreferencePair, text_message
from sclvlm.storage import read_records, write_records

datasets = pytest.importorskip("datasets")

Row = dict[str, Any]


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (shade, 7, 9)).save(buffer, "png")
    return buffer.getvalue()


def user(text: str, images: int = 0) -> Message:
    return text_message("user", text, images=images)


def said(text: str) -> Message:
    return text_message("assistant", text)


def plain(role: str, content: str) -> Row:
    return {"role": role, "content": content}


@pytest.fixture(name="folder")
def folder_with_pictures(tmp_path: Path) -> Path:
    """A folder with images/1.png and images/2.png."""
    (tmp_path / "source" / "images").mkdir(parents=True)
    for number in (1, 2):
        (tmp_path / "source" / "images" / f"{number}.png").write_bytes(picture(number))
    return tmp_path / "source"


def file_of(folder: Path, *rows: Row, name: str = "rows.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def imported(source: Path, **settings: Any) -> list[PreferencePair]:
    """The pairs that come of a source."""
    out = source.parent / "out"
    build(str(source), out, **settings)
    return list(read_records(out / "pairs.jsonl", PreferencePair))


def words(pair: PreferencePair) -> tuple[list[Message], list[Message], list[Message], list[bytes]]:
    """What a pair says and shows."""
    return pair.prompt, pair.chosen, pair.rejected, [Path(image).read_bytes() for image in pair.images]


# One pair in words alone, and one about two pictures, in every layout that has a place for it.
IN_WORDS = ([user("Which?")], [said("blue")], [said("teal")], [])
ABOUT_TWO = (
    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "or "}, *user("this?", 1)["content"]]}],
    *IN_WORDS[1:3],
    [picture(1), picture(2)],
)
TWO: Row = {"images": ["images/1.png", "images/2.png"]}
BLUE, TEAL = plain("assistant", "blue"), plain("assistant", "teal")
TURNS = {"chosen": {"from": "gpt", "value": "blue"}, "rejected": {"from": "gpt", "value": "teal"}}
PARTS = [{"type": "image"}, {"type": "text", "text": "or "}, {"type": "image"}, {"type": "text", "text": "this?"}]
SAME_WORDS: dict[str, tuple[str, Row]] = {
    "TRL standard, prompt apart": ("trl", {"prompt": "Which?", "chosen": "blue", "rejected": "teal"}),
    "TRL standard, prompt within": ("trl", {"chosen": "Which? blue", "rejected": "Which? teal"}),
    "TRL messages, prompt apart": (
        "trl",
        {"prompt": [plain("user", "Which?")], "chosen": [BLUE], "rejected": [TEAL]},
    ),
    "TRL messages, prompt within": (
        "trl",
        {"chosen": [plain("user", "Which?"), BLUE], "rejected": [plain("user", "Which?"), TEAL]},
    ),
    "HH-RLHF": (
        "hh",
        {"chosen": "\n\nHuman: Which?\n\nAssistant: blue", "rejected": "\n\nHuman: Which?\n\nAssistant: teal"},
    ),
    "UltraFeedback-binarized": (
        "ultrafeedback",
        {
            "prompt": "Which?",
            "prompt_id": "c0ffee",
            "messages": [plain("user", "Which?"), BLUE],
            "chosen": [plain("user", "Which?"), BLUE],
            "rejected": [plain("user", "Which?"), TEAL],
            "score_chosen": 8.5,
            "score_rejected": 3.0,
        },
    ),
    "LLaMA-Factory, ShareGPT": (
        "llama_factory",
        {"conversations": [{"from": "human", "value": "Which?"}], **TURNS},
    ),
    "LLaMA-Factory, Alpaca": (
        "llama_factory",
        {"instruction": "Which?", "input": "", "chosen": "blue", "rejected": "teal"},
    ),
    "ms-swift": ("ms_swift", {"messages": [plain("user", "Which?"), BLUE], "rejected_response": "teal"}),
    "ms-swift, both in full": (
        "ms_swift",
        {"messages": [plain("user", "Which?"), BLUE], "rejected_messages": [plain("user", "Which?"), TEAL]},
    ),
    "ms-swift, query and response": ("ms_swift", {"query": "Which?", "response": "blue", "rejected_response": "teal"}),
}
SAME_PICTURES: dict[str, tuple[str, Row]] = {
    "TRL with markers": ("trl", {"prompt": "<image>or <image>this?", "chosen": "blue", "rejected": "teal", **TWO}),
    "TRL with placeholders": (
        "trl",
        {"prompt": [{"role": "user", "content": PARTS}], "chosen": [BLUE], "rejected": [TEAL], **TWO},
    ),
    "TRL, prompt within": (
        "trl",
        {
            "chosen": [
                {"role": "user", "content": PARTS},
                {"role": "assistant", "content": [{"type": "text", "text": "blue"}]},
            ],
            "rejected": [
                {"role": "user", "content": PARTS},
                {"role": "assistant", "content": [{"type": "text", "text": "teal"}]},
            ],
            **TWO,
        },
    ),
    "LLaMA-Factory": (
        "llama_factory",
        {"conversations": [{"from": "human", "value": "<image>or <image>this?"}], **TURNS, **TWO},
    ),
    "ms-swift": (
        "ms_swift",
        {"messages": [plain("user", "<image>or <image>this?"), BLUE], "rejected_response": "teal", **TWO},
    ),
}


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


def drops(source: Path, **settings: Any) -> dict[str, int]:
    """How many rows are left out for each reason."""
    tally = build(str(source), source.parent / "out", **settings)
    return {why: len(places) for why, places in tally.screen.places.items()}


SOUND: Row = {"prompt": [plain("user", "Which?")], "chosen": [BLUE], "rejected": [TEAL], "images": []}
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
    "broken image": {"prompt": [plain("user", "<image>?")], "images": ["images/torn.png"]},
    "a part that is video, neither text nor image": {"prompt": [{"role": "user", "content": [{"type": "video"}]}]},
}


@pytest.fixture(name="torn")
def torn_picture(folder: Path) -> Path:
    (folder / "images" / "torn.png").write_bytes(picture(1)[:40])
    return folder


@pytest.mark.parametrize(("reason", "change"), BROKEN.items(), ids=BROKEN)
def test_a_broken_row_is_left_out_with_its_reason(reason: str, change: Row, torn: Path) -> None:
    source = file_of(torn, {**SOUND, **change}, SOUND)
    assert drops(source) == {reason: 1}
    assert [words(pair) for pair in read_records(torn / "out" / "pairs.jsonl", PreferencePair)] == [IN_WORDS]
    assert os.listdir(torn / "out" / "images") == []
    assert f"| {reason} | 1 |" in (torn / "out" / "card.md").read_text()


@pytest.mark.parametrize(("reason", "change"), BROKEN.items(), ids=BROKEN)
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
    assert preferences._named(picture(1))[0] == Path(first.images[0]).name


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
