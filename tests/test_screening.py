"""Training records that conflict with themselves: left out with a reason and a place, or the end of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sclvlm.config import LoraSection, ModelSection, TrainSection, load_config
from sclvlm.errors import SclvlmError
from sclvlm.preflight import check_inputs
from sclvlm.records import Demonstration, PreferencePair, text_message
from sclvlm.records.conflicts import Conflict, alternates, conflict_in
from sclvlm.screening import Screen, read_sound
from sclvlm.training import train

ASK = [text_message("user", "Which?")]
PAIR: dict[str, Any] = {
    "id": "sound",
    "prompt": ASK,
    "chosen": [text_message("assistant", "blue")],
    "rejected": [text_message("assistant", "teal")],
}
BROKEN: list[tuple[dict[str, Any], Conflict]] = [
    ({"prompt": []}, Conflict.NO_PROMPT),
    ({"prompt": [{"content": "Which?"}]}, Conflict.ROLE),
    ({"chosen": [text_message("narrator", "blue")]}, Conflict.ROLE),
    ({"chosen": []}, Conflict.EMPTY),
    ({"rejected": [text_message("assistant", " \n")]}, Conflict.EMPTY),
    ({"rejected": [{"role": "assistant", "content": ""}]}, Conflict.EMPTY),
    ({"rejected": PAIR["chosen"]}, Conflict.SAME),
    ({"images": ["a.png"]}, Conflict.IMAGES),
    ({"prompt": [text_message("user", "Which?", images=2)], "images": ["a.png"]}, Conflict.IMAGES),
    ({"chosen": [text_message("assistant", "blue", images=1)]}, Conflict.IMAGES),
    ({"prompt": [*ASK, *ASK]}, Conflict.TURNS),
    ({"prompt": [*ASK, text_message("assistant", "Well,")]}, Conflict.TURNS),
    ({"prompt": [text_message("system", "Be kind.")]}, Conflict.TURNS),
    ({"prompt": [*ASK, text_message("system", "Be kind.")]}, Conflict.TURNS),
    ({"rejected": [text_message("user", "teal")]}, Conflict.TURNS),
    ({"rejected": [text_message("assistant", "teal"), *ASK]}, Conflict.TURNS),
]


def file_of(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(("change", "expected"), BROKEN)
def test_a_conflict_is_named(change: dict[str, Any], expected: Conflict) -> None:
    assert conflict_in({**PAIR, **change}) is expected


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"prompt": [text_message("system", "Be kind."), *ASK]},
        {"prompt": [*ASK, text_message("assistant", "red"), text_message("user", "Sure?")]},
        {"prompt": [text_message("user", "Which?", images=2)], "images": ["a.png", "b.png"]},
        {"prompt": [{"role": "user", "content": "Which?"}]},
    ],
)
def test_a_sound_pair_has_no_conflict(change: dict[str, Any]) -> None:
    assert conflict_in({**PAIR, **change}) is None


def test_tools_speak_between_turns_of_the_assistant() -> None:
    said, tool = text_message("assistant", "Let me look."), text_message("tool", "blue")
    assert alternates(ASK, [said, tool, tool, said])
    assert not alternates(ASK, [tool, said])
    assert not alternates(ASK, [said, said])


def test_a_turn_that_calls_a_tool_needs_no_words() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "look"}]}
    turns = [call, text_message("tool", "blue"), text_message("assistant", "blue")]
    assert conflict_in({**PAIR, "chosen": turns}) is None


@pytest.mark.parametrize("change", [{"chosen": 3}, {"prompt": "Which?"}, {"chosen": ["blue"]}, {"images": 3}])
def test_a_field_of_another_type_is_no_conflict_but_an_error(change: dict[str, Any], tmp_path: Path) -> None:
    assert conflict_in({**PAIR, **change}) is None
    with pytest.raises(SclvlmError, match=rf"pairs\.jsonl:1: {next(iter(change))}"):
        list(read_sound(file_of(tmp_path, {**PAIR, **change}), PreferencePair, Screen()))


def test_a_single_completion_is_screened_too(tmp_path: Path) -> None:
    shown = {"id": "1", "prompt": ASK, "completion": PAIR["chosen"]}
    screen = Screen()
    file = file_of(tmp_path, shown, {**shown, "completion": [text_message("assistant", "")]})
    assert [each.id for each in read_sound(file, Demonstration, screen)] == ["1"]
    assert screen.places == {"empty completion": [f"{file}:2"]}


def test_what_is_left_out_is_counted_by_reason_and_named_by_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    same, empty = {**PAIR, "rejected": PAIR["chosen"]}, {**PAIR, "chosen": []}
    file, screen = file_of(tmp_path, same, PAIR, empty, same), Screen()
    assert [each.id for each in read_sound(file, PreferencePair, screen)] == ["sound"]
    assert screen.places == {
        "chosen equals rejected": [f"{file}:1", f"{file}:4"],
        "empty completion": [f"{file}:3"],
    }
    assert f"3 of 4 records of {file} are left out: chosen equals rejected 2, empty completion 1" in caplog.text


def test_strict_stops_at_the_first_and_names_it(tmp_path: Path) -> None:
    file = file_of(tmp_path, PAIR, {**PAIR, "rejected": PAIR["chosen"]})
    with pytest.raises(SclvlmError, match=r"pairs\.jsonl:2: chosen equals rejected\. Mend or remove it"):
        list(read_sound(file, PreferencePair, Screen(strict=True)))


def test_a_file_without_a_sound_record_is_an_error(tmp_path: Path) -> None:
    file = file_of(tmp_path, {**PAIR, "rejected": PAIR["chosen"]})
    with pytest.raises(SclvlmError, match=r"no record is sound \(chosen equals rejected 1\)"):
        list(read_sound(file, PreferencePair, Screen()))


def trained(file: Path, folder: Path, model: Path, **more: Any) -> None:
    settings = TrainSection(lora=LoraSection(rank=2), args={"max_steps": 1, "per_device_train_batch_size": 1})
    train(file, folder, model=ModelSection(path=str(model), device="cpu", dtype="float32"), settings=settings, **more)


def test_training_tells_what_it_left_out(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    same = {**PAIR, "rejected": PAIR["chosen"]}
    (tmp_path / "apart").mkdir()
    file, apart = file_of(tmp_path, PAIR, same), file_of(tmp_path / "apart", same, PAIR)
    trained(file, tmp_path / "run", tiny_model("llama"), seed=0, held_out=apart)
    assert json.loads((tmp_path / "run" / "data.json").read_text()) == {
        "records": 1,
        "too long": [],
        "left out": {"chosen equals rejected": [f"{file}:2", f"{apart}:1"]},
        "held out": ["sound"],
    }


def test_strict_training_ends_before_the_model_is_loaded(tmp_path: Path) -> None:
    file = file_of(tmp_path, PAIR, {**PAIR, "rejected": PAIR["chosen"]})
    with pytest.raises(SclvlmError, match=r"pairs\.jsonl:2: chosen equals rejected"):
        trained(file, tmp_path / "run", tmp_path / "no model", seed=0, strict=True)


@pytest.mark.parametrize("strict", [False, True])
def test_a_run_is_checked_as_strictly_as_it_is_asked_to_be(
    strict: bool, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    file = file_of(tmp_path, PAIR, {**PAIR, "rejected": PAIR["chosen"]})
    data = {"pairs": str(file), **({"strict": True} if strict else {})}
    config = {"run": {"dir": "run"}, "model": {"path": str(tiny_model("llama"))}, "data": data, "train": {}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    loaded = load_config(tmp_path / "run.yaml")
    if not strict:
        check_inputs(loaded, ["train"])
        return
    with pytest.raises(SclvlmError, match=r"pairs\.jsonl:2: chosen equals rejected"):
        check_inputs(loaded, ["train"])
