"""The door: help is instant, results go to stdout, everything else to stderr, an error is one message."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from sclvlm import __version__
from sclvlm.cli import app
from sclvlm.config import STAGES
from sclvlm.errors import SclvlmError
from sclvlm.questions import Questions
from sclvlm.records import ModelRef, PreferencePair, Trace, Turn, text_message
from sclvlm.self_correction.journal import Answered, answered
from sclvlm.storage import write_records

ROOT = Path(__file__).parents[1]
VERBS = ("run", *STAGES, "export", "view")
GOOD = {"id": "1", "question": "which?", "kind": "choice", "choices": ["blue", "teal"], "answer": "A"}


def invoke(*arguments: str | Path) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def config(tmp_path: Path, **sections: Any) -> Path:
    """A YAML file with these sections beside run and model (a folder that looks like one)."""
    (tmp_path / "model").mkdir(exist_ok=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    whole = {"run": {"dir": str(tmp_path / "run")}, "model": {"path": str(tmp_path / "model")}, **sections}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(whole))
    return path


def asking(tmp_path: Path, *lines: Any, **infer: Any) -> Path:
    """A config that answers samples: records, or lines as they are."""
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    (tmp_path / "samples.jsonl").write_text(text)
    return config(tmp_path, data={"samples": str(tmp_path / "samples.jsonl")}, infer=infer)


def error(result: Result, code: int) -> str:
    """The message of a run that ended with `code`: all that was said, on one line, on stderr."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def python(code: str) -> str:
    """What `code` prints in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_shows_an_example(verb: str) -> None:
    result = invoke(verb, "--help")
    assert result.exit_code == 0
    assert f"sclvlm {verb} configs/" in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_stands_in_the_help(verb: str) -> None:
    assert f" {verb} " in invoke("--help").stdout


@pytest.mark.parametrize("arguments", [["--help"], ["label", "--help"], ["export", "--help"], ["--version"]])
def test_help_loads_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from sclvlm.cli import app\n"
        f"app({arguments!r}, standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)))"
    )
    assert python(code).splitlines()[-1] == "[]"


def test_the_version_is_printed() -> None:
    assert invoke("--version").stdout == f"{__version__}\n"


def test_the_package_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "sclvlm", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_a_verb_that_does_not_exist_is_bad_usage() -> None:
    result = invoke("trian", "x.yaml")
    assert (result.exit_code, result.stdout) == (2, "")


# Bad instructions: exit code 2.


def test_a_missing_config_is_named() -> None:
    assert error(invoke("run", "nowhere.yaml"), 2) == "nowhere.yaml: cannot read the config: No such file or directory."


def test_an_unknown_key_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    found = error(invoke("run", config(tmp_path, data={"sample": "x"})), 2)
    assert found.endswith(
        "data.sample: extra inputs are not permitted, got 'x'. "
        "Known keys there: samples, pairs, held_out, test, strict."
    )


def test_a_wrong_type_names_what_was_expected_and_found(tmp_path: Path) -> None:
    found = error(invoke("run", asking(tmp_path, GOOD, turns="two")), 2)
    assert found.endswith("run.yaml: infer.turns: input should be a valid integer, got 'two'.")


def test_a_bad_override_is_answered_with_the_form(tmp_path: Path) -> None:
    found = error(invoke("run", config(tmp_path), "seed:1"), 2)
    assert found == "override 'seed:1': expected section.key=value, such as train.beta=0.2."


def test_a_config_without_stages_says_what_to_add(tmp_path: Path) -> None:
    assert error(invoke("run", config(tmp_path)), 2).startswith("the config has no stage to run. Add a section:")


@pytest.mark.parametrize("verb", STAGES)
def test_a_verb_without_its_section_says_what_to_add(tmp_path: Path, verb: str) -> None:
    found = error(invoke(verb, config(tmp_path)), 2)
    assert found == f"the config has no {verb} section. Add `{verb}:` to run it with its defaults."


def test_a_model_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    found = error(invoke("infer", asking(tmp_path, GOOD), "model.path=./nowhere/model"), 2)
    assert found.startswith("model.path './nowhere/model': no such directory. Name a transformers model directory")


def test_an_adapter_that_does_not_exist_is_named(tmp_path: Path) -> None:
    found = error(invoke("infer", asking(tmp_path, GOOD), "model.adapter=nowhere"), 2)
    assert found == "model.adapter 'nowhere': no adapter_config.json there. Name a directory peft wrote."


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    path = config(tmp_path, data={"samples": "none.jsonl"}, infer={})
    assert error(invoke("infer", path), 2) == (
        "data.samples: none.jsonl does not exist. Make it first, or name another file."
    )


def test_an_unknown_prompt_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    found = error(invoke("infer", asking(tmp_path, GOOD, review="harsh")), 2)
    assert found.startswith("review prompt: expected one of critique, details, context, complete, again, oracle, or ")


def test_redo_of_no_stage_is_answered_with_the_stages(tmp_path: Path) -> None:
    found = error(invoke("run", asking(tmp_path, GOOD), "--redo", "trian"), 2)
    assert found == "--redo: expected one of infer, label, train, evaluate, report, got 'trian'."


def test_a_stage_before_its_turn_says_what_to_run_first(tmp_path: Path) -> None:
    found = error(invoke("label", asking(tmp_path, GOOD), "label.balance=false"), 2)
    assert found.endswith("label reads what infer makes, and infer is not done. Run `sclvlm infer CONFIG` first.")


# Bad data: exit code 1.


def test_an_answer_that_is_no_choice_names_file_line_law_and_remedy(tmp_path: Path) -> None:
    found = error(invoke("infer", asking(tmp_path, GOOD, {**GOOD, "id": "2", "answer": "C"})), 1)
    assert found == (
        f"{tmp_path}/samples.jsonl:2: answer must be one of A, B (2 choices), got 'C'. Fix the line or remove it."
    )


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    found = error(invoke("infer", asking(tmp_path)), 1)
    assert found == f"{tmp_path}/samples.jsonl: the file is empty, expected at least one Sample record a line."


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    found = error(invoke("infer", asking(tmp_path, {**GOOD, "images": ["a.png"]})), 1)
    assert found.startswith(
        f"{tmp_path}/samples.jsonl: images are missing (1), the first is {tmp_path}/a.png of record '1'"
    )


@pytest.mark.parametrize("lines", [[], [{**GOOD, "answer": "C"}], [{**GOOD, "images": ["a.png"]}], ["{\n"]])
def test_bad_data_leaves_no_run_directory(tmp_path: Path, lines: list[Any]) -> None:
    error(invoke("infer", asking(tmp_path, *lines)), 1)
    assert not (tmp_path / "run").exists()


def test_a_run_directory_that_cannot_be_made_is_told(tmp_path: Path, asked: None) -> None:
    (tmp_path / "file").write_text("")
    found = error(invoke("infer", asking(tmp_path, GOOD), f"run.dir={tmp_path}/file/run"), 1)
    assert found == f"{tmp_path}/file/run: Not a directory."


@pytest.fixture(name="truncated")
def config_with_a_truncated_png(tmp_path: Path, tiny_model: Callable[[str], Path], pictures: list[str]) -> Path:
    whole = Path(pictures[0]).read_bytes()
    (tmp_path / "whole.png").write_bytes(whole)
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    lines = [{**GOOD, "id": "good", "images": ["whole.png"]}, {**GOOD, "id": "bad", "images": ["cut.png"]}]
    path = asking(tmp_path, *lines, max_new_tokens=3)
    settings = yaml.safe_load(path.read_text())
    settings["model"] = {"path": str(tiny_model("fast_vlm")), "attention": "eager"}
    path.write_text(yaml.safe_dump(settings))
    return path


def test_a_truncated_png_is_named_after_what_was_answered_before(truncated: Path) -> None:
    result = invoke("infer", truncated)
    assert (result.exit_code, result.stdout) == (1, "")
    message = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(message) == 1
    assert "sample 'bad': " in message[0]
    assert "cut.png: expected a readable image" in message[0]


def test_a_truncated_png_leaves_only_whole_records(truncated: Path, tmp_path: Path) -> None:
    invoke("infer", truncated)
    lines = (tmp_path / "run" / "infer" / "traces.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["good"]
    assert json.loads((tmp_path / "run" / "infer" / "stage.json").read_text())["status"] == "running"


def test_a_truncated_png_is_kept_with_its_reason_when_some_may_fail(truncated: Path, tmp_path: Path) -> None:
    result = invoke("infer", truncated, "infer.max_failed_share=0.5", "--json")
    assert (result.exit_code, json.loads(result.stdout)[0]["failed"]) == (0, 1)


# What is said where.


def two_turns(name: str) -> Trace:
    """From B to A."""
    turn: dict[str, Any] = {"prompt": [text_message("user", "q")], "num_tokens": 3, "finish_reason": "stop"}
    turns = (
        Turn(role="initial", response="## B ##", **turn),
        Turn(role="refined", response="Yes, ## A ##", **turn),
    )
    return Trace(id=name, turns=turns, model=ModelRef(path="m"), sampling={}, prompts={}, seed=0)


@pytest.fixture(name="asked")
def stub_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sample is answered wrong, then right."""

    def ask(questions: Questions) -> Answered:
        write_records(questions.traces, [two_turns(sample.id) for sample in questions.samples])
        return answered(questions.traces)

    monkeypatch.setattr("sclvlm.pipeline._ask", ask)
    monkeypatch.setattr("sclvlm.preflight._check_model", lambda config: None)


def test_results_are_told_on_stdout(tmp_path: Path, asked: None) -> None:
    assert invoke("infer", asking(tmp_path, GOOD)).stdout == (
        f"traces: {tmp_path}/run/infer/traces.jsonl\ncount: 1\nfailed: 0\n"
    )


def test_progress_is_told_on_stderr(tmp_path: Path, asked: None) -> None:
    assert invoke("infer", asking(tmp_path, GOOD)).stderr == "[1/1] infer: starts\n[1/1] infer: done\n"


def test_a_stage_done_before_is_told(tmp_path: Path, asked: None) -> None:
    invoke("infer", asking(tmp_path, GOOD))
    assert invoke("infer", tmp_path / "run.yaml").stderr == "[1/1] infer: done before\n"


def test_json_is_all_that_stands_on_stdout(tmp_path: Path, asked: None) -> None:
    result = invoke("run", asking(tmp_path, GOOD), "label.balance=false", "--json")
    assert [facts["stage"] for facts in json.loads(result.stdout)] == ["infer", "label"]


def test_redo_makes_a_stage_anew(tmp_path: Path, asked: None) -> None:
    invoke("infer", asking(tmp_path, GOOD))
    assert "infer: starts" in invoke("infer", tmp_path / "run.yaml", "--redo").stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = invoke("infer", asking(tmp_path), "--debug")
    assert isinstance(result.exception, SclvlmError)
    done = subprocess.run(
        [sys.executable, "-m", "sclvlm", "run", "nowhere.yaml", "--debug"], cwd=ROOT, capture_output=True, text=True
    )
    assert "Traceback (most recent call last)" in done.stderr


def test_a_bug_is_not_dressed_up_as_an_error(tmp_path: Path, asked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sclvlm.pipeline._ask", broken)
    assert isinstance(invoke("infer", asking(tmp_path, GOOD)).exception, ZeroDivisionError)


def test_brackets_in_a_message_are_printed_as_they_are(tmp_path: Path) -> None:
    assert "[red]" in error(invoke("run", tmp_path / "[red].yaml"), 2)


# Export.


@pytest.fixture(name="paired")
def config_with_pairs(tmp_path: Path) -> Path:
    pair = PreferencePair(
        id="1",
        prompt=[text_message("user", "q")],
        chosen=[text_message("assistant", "a")],
        rejected=[text_message("assistant", "b")],
    )
    write_records(tmp_path / "pairs.jsonl", [pair])
    return config(tmp_path, data={"pairs": str(tmp_path / "pairs.jsonl")})


@pytest.mark.parametrize(
    ("form", "name"),
    [("parquet", "pairs.parquet"), ("llamafactory", "llamafactory/pairs.json"), ("swift", "swift.jsonl")],
)
def test_export_writes_into_the_run_by_itself(paired: Path, tmp_path: Path, form: str, name: str) -> None:
    result = invoke("export", paired, "--format", form)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "export" / name).is_file()


def test_export_is_parquet_unless_said_otherwise(paired: Path, tmp_path: Path) -> None:
    assert invoke("export", paired).stdout == f"pairs: {tmp_path}/run/export/pairs.parquet\ncount: 1\n"


def test_export_writes_where_it_is_told(paired: Path, tmp_path: Path) -> None:
    result = invoke("export", paired, "--format", "swift", "--out", tmp_path / "x" / "y.jsonl", "--json")
    assert json.loads(result.stdout)["pairs"] == str(tmp_path / "x" / "y.jsonl")
    assert (tmp_path / "x" / "y.jsonl").is_file()


def test_export_of_labelled_pairs_takes_those_of_the_run(tmp_path: Path, asked: None) -> None:
    invoke("run", asking(tmp_path, GOOD), "label.balance=false")
    result = invoke("export", tmp_path / "run.yaml", "label.balance=false", "--json")
    assert json.loads(result.stdout)["count"] == 1


def test_export_before_labeling_says_what_to_run_first(tmp_path: Path, asked: None) -> None:
    invoke("infer", asking(tmp_path, GOOD))
    found = error(invoke("export", tmp_path / "run.yaml", "label.balance=false"), 2)
    assert found.endswith("label/pairs.jsonl: not made yet. Run `sclvlm label CONFIG` first.")


def test_export_of_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    found = error(invoke("export", config(tmp_path, data={"pairs": "none.jsonl"})), 1)
    assert found.startswith("none.jsonl: no such file.")
