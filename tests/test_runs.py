"""A run directory knows what is done, from what it was made, and who works in it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.runs import PACKAGES, Stage, environment, locked

INPUTS: dict[str, Any] = {"seed": 0, "train": {"beta": 0.1, "lora": {"rank": 8}}, "data.pairs": None}


def state(run: Path, name: str = "train") -> dict[str, Any]:
    """What stage.json says."""
    found: dict[str, Any] = json.loads((run / name / "stage.json").read_text())
    return found


def finish(run: Path, inputs: dict[str, Any] = INPUTS) -> Stage:
    """A stage that was done before."""
    stage = Stage(run, "train", inputs)
    with stage.running() as folder:
        (folder / "result").write_text("x")
    return stage


def break_off(run: Path, *files: str) -> None:
    """A stage that wrote these files, then failed."""
    with suppress(RuntimeError), Stage(run, "train", INPUTS).running() as folder:
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("x")
        raise RuntimeError


def test_a_stage_nobody_began_is_not_done(tmp_path: Path) -> None:
    assert not Stage(tmp_path, "train", INPUTS).done


def test_a_stage_that_ended_well_is_done(tmp_path: Path) -> None:
    finish(tmp_path)
    assert Stage(tmp_path, "train", INPUTS).done


def test_stage_json_is_written_before_the_work(tmp_path: Path) -> None:
    with Stage(tmp_path, "train", INPUTS).running():
        assert (state(tmp_path)["status"], state(tmp_path)["inputs"]) == ("running", INPUTS)


def test_a_stage_that_broke_off_is_not_done(tmp_path: Path) -> None:
    break_off(tmp_path)
    assert not Stage(tmp_path, "train", INPUTS).done


def test_a_stage_that_broke_off_keeps_what_it_made(tmp_path: Path) -> None:
    break_off(tmp_path, "half")
    with Stage(tmp_path, "train", INPUTS).running() as folder:
        assert (folder / "half").is_file()


def test_every_start_is_counted(tmp_path: Path) -> None:
    break_off(tmp_path)
    finish(tmp_path)
    assert state(tmp_path)["starts"] == 2


def test_the_seconds_of_all_starts_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 100.0, 105.0])
    monkeypatch.setattr("sclvlm.runs.time.monotonic", lambda: next(clock))
    break_off(tmp_path)
    finish(tmp_path)
    assert state(tmp_path)["seconds"] == 2.0 + 5.0


def test_what_a_killed_process_was_writing_is_swept_away(tmp_path: Path) -> None:
    break_off(tmp_path, "before/.graded.jsonl.77.partial", ".model.partial/.x.partial")
    with Stage(tmp_path, "train", INPUTS).running() as folder:
        assert not list(folder.rglob("*.partial"))


def test_a_stale_stage_names_the_first_key_that_differs_both_values_and_the_remedy(tmp_path: Path) -> None:
    finish(tmp_path)
    changed = {**INPUTS, "seed": 1, "train": {"beta": 0.2, "lora": {"rank": 8}}}
    with pytest.raises(ConfigError) as caught:
        Stage(tmp_path, "train", changed).check()
    assert str(caught.value) == (
        f"{tmp_path}/train: made with seed = 0, asked for now: 1. Give run.dir another folder to keep both, or "
        "make this one anew: `sclvlm run CONFIG --redo train`."
    )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({**INPUTS, "train": {"beta": 0.1, "lora": {"rank": 4}}}, "train.lora.rank = 8, asked for now: 4"),
        ({**INPUTS, "data.pairs": "abc"}, 'data.pairs = null, asked for now: "abc"'),
        ({**INPUTS, "more": 1}, "more = null, asked for now: 1"),
        ({"seed": 0, "train": INPUTS["train"]} | {"data.pairs": None, "train": None}, "asked for now: null"),
    ],
)
def test_a_difference_is_told_where_it_is(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    finish(tmp_path)
    with pytest.raises(ConfigError) as caught:
        Stage(tmp_path, "train", changed).check()
    assert told in str(caught.value)


def test_a_stale_stage_is_not_taken_for_done(tmp_path: Path) -> None:
    finish(tmp_path)
    with pytest.raises(ConfigError):
        _ = Stage(tmp_path, "train", {**INPUTS, "seed": 1}).done


def test_a_stage_begun_with_other_inputs_is_not_gone_on_with(tmp_path: Path) -> None:
    break_off(tmp_path)
    with pytest.raises(ConfigError), Stage(tmp_path, "train", {**INPUTS, "seed": 1}).running():
        pass


def test_inputs_that_json_writes_alike_are_alike(tmp_path: Path) -> None:
    finish(tmp_path, {"targets": ("a", "b")})
    assert Stage(tmp_path, "train", {"targets": ["a", "b"]}).done


def test_files_of_unknown_origin_are_not_worked_on(tmp_path: Path) -> None:
    (tmp_path / "infer").mkdir()
    (tmp_path / "infer" / "traces.jsonl").write_text("{}")
    with pytest.raises(ConfigError, match=r"infer: holds files, but no stage.json .* --redo infer`"):
        Stage(tmp_path, "infer", INPUTS).check()


def test_a_folder_left_by_a_kill_before_stage_json_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / ".stage.json.77.partial").write_text("{")
    finish(tmp_path)
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["result", "stage.json"]


def test_a_removed_stage_leaves_nothing(tmp_path: Path) -> None:
    finish(tmp_path).remove()
    assert list(tmp_path.iterdir()) == []


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    Stage(tmp_path, "train", INPUTS).remove()
    assert list(tmp_path.iterdir()) == []


def test_a_removal_that_was_killed_is_ended_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".train.going.partial").mkdir()
    (tmp_path / ".train.going.partial" / "result").write_text("x")
    finish(tmp_path).remove()
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sclvlm.runs import locked\n"
        "try:\n"
        "    with locked(Path(sys.argv[1])): print('in')\n"
        "except Exception as error: print(error)"
    )
    with locked(tmp_path):
        found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "another process works in this run directory" in found.stdout


def test_a_lock_that_was_left_is_free(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_lock_refuses_within_one_process_too(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(SclvlmError, match="another process"), locked(tmp_path):
        pass


def test_the_environment_names_python_and_every_package() -> None:
    found = environment()
    assert found["python"] == sys.version.split()[0]
    assert list(found["packages"]) == list(PACKAGES)


def test_a_package_that_is_not_installed_is_recorded_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sclvlm.runs.PACKAGES", ("surely-not-installed",))
    assert environment()["packages"] == {"surely-not-installed": None}
