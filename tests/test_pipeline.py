"""Stages of a run in order, each once, each from what the one before made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sclvlm import pipeline
from sclvlm.config import Config, load_config
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.fingerprints import stage_inputs
from sclvlm.pipeline import made_pairs, run_stages
from sclvlm.questions import Questions
from sclvlm.records import ModelRef, PreferencePair, Sample, Trace, Turn, text_message
from sclvlm.self_correction.journal import Answered, answered
from sclvlm.storage import read_records, write_json, write_records

ROOT = Path(__file__).parents[1]
NUMBER = 6  # samples, half of which a refinement mends, the other half it spoils


def sample(number: int, image: str = "") -> Sample:
    """What colour is it? A, blue."""
    return Sample.model_validate(
        {
            "id": f"q{number}",
            "images": [image] if image else [],
            "question": "what colour is it?",
            "kind": "choice",
            "choices": ["blue", "teal"],
            "answer": "A",
        }
    )


def trace(number: int, first: str, last: str) -> Trace:
    """Two turns with these answers."""
    turn: dict[str, Any] = {"prompt": [text_message("user", "q")], "num_tokens": 3, "finish_reason": "stop"}
    turns = (
        Turn(role="initial", response=f"Because. ## {first} ##", **turn),
        Turn(role="refined", response=f"Indeed. ## {last} ##", **turn),
    )
    model = ModelRef(path="m")
    return Trace(id=f"q{number}", turns=turns, model=model, sampling={}, prompts={}, seed=0)


@pytest.fixture(name="file")
def run_yaml(tmp_path: Path) -> Path:
    """A config of all stages, its samples, and a model directory that holds no model."""
    write_records(tmp_path / "samples.jsonl", [sample(number) for number in range(NUMBER)])
    write_records(tmp_path / "test.jsonl", [sample(number) for number in range(NUMBER)])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    data = {"samples": str(tmp_path / "samples.jsonl"), "test": str(tmp_path / "test.jsonl")}
    sections: dict[str, Any] = {"infer": {}, "label": {}, "train": {}, "evaluate": {}, "report": {"resamples": 100}}
    run = {"run": {"dir": str(tmp_path / "run")}, "model": {"path": str(tmp_path / "model")}, "data": data}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**run, **sections}))
    return path


Load = Callable[..., Config]


@pytest.fixture(name="load")
def loader(file: Path) -> Load:
    """The config with overrides."""
    return lambda *overrides: load_config(file, list(overrides))


@pytest.fixture(name="asked")
def stubs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models are stubbed: infer mends even questions and spoils odd ones; what was asked is listed."""
    asked: list[str] = []

    def ask(questions: Questions) -> Answered:
        asked.append(questions.what)
        sides = (("B", "A"), ("A", "B"))
        write_records(questions.traces, [trace(n, *sides[n % 2]) for n in range(len(questions.samples))])
        return answered(questions.traces)

    def fine_tune(job: pipeline.Job) -> pipeline.Facts:
        asked.append("train")
        write_json(job.stage.folder / "history.json", [])
        return {"adapter": str(job.stage.folder / "adapter")}

    monkeypatch.setattr(pipeline, "_ask", ask)
    monkeypatch.setitem(pipeline.STAGE_FUNCTIONS, "train", fine_tune)
    monkeypatch.setattr("sclvlm.preflight._check_model", lambda config: None)
    monkeypatch.setattr("sclvlm.preflight._check_arguments", lambda args: None)
    return asked


ALL = ["infer", "train", "evaluate before", "evaluate after"]


def test_a_run_executes_every_stage_in_order(load: Load, asked: list[str]) -> None:
    config = load()
    facts = run_stages(config, config.stages)
    assert [each["stage"] for each in facts] == ["infer", "label", "train", "evaluate", "report"]
    assert asked == ALL


def test_a_run_that_is_done_does_nothing_again(load: Load, asked: list[str]) -> None:
    config = load()
    first = run_stages(config, config.stages)
    assert run_stages(config, config.stages) == first
    assert asked == ALL


def test_stages_one_by_one_are_the_run(load: Load, asked: list[str]) -> None:
    config = load()
    for stage in config.stages:
        run_stages(config, (stage,))
    assert asked == ALL
    assert (config.folder / "report" / "report.json").is_file()


def test_redo_makes_the_stage_and_those_behind_it_anew(load: Load, asked: list[str]) -> None:
    config = load()
    run_stages(config, config.stages)
    run_stages(config, config.stages, redo="train")
    assert asked == [*ALL, "train", "evaluate before", "evaluate after"]


def test_redo_takes_other_settings(load: Load, asked: list[str]) -> None:
    run_stages(load(), load().stages)
    run_stages(load("train.beta=0.2"), load().stages, redo="train")
    assert load_config(load().folder / "config.yaml").train.beta == 0.2  # type: ignore[union-attr]


def test_redo_of_one_stage_removes_what_was_made_of_it(load: Load, asked: list[str]) -> None:
    run_stages(load(), load().stages)
    run_stages(load(), ("label",), redo="label")
    assert not (load().folder / "report").exists()


def test_redo_of_no_stage_is_an_error_and_removes_nothing(load: Load, asked: list[str]) -> None:
    run_stages(load(), load().stages)
    with pytest.raises(ConfigError, match=r"--redo: expected one of infer, .*, got 'trian'"):
        run_stages(load(), load().stages, redo="trian")
    assert (load().folder / "train").is_dir()


def test_redo_removes_nothing_when_an_input_is_missing(load: Load, asked: list[str], tmp_path: Path) -> None:
    run_stages(load(), load().stages)
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"data\.test: .* does not exist"):
        run_stages(load(), load().stages, redo="infer")
    assert (load().folder / "report" / "report.json").is_file()


def test_other_settings_are_told_before_anything_is_written(load: Load, asked: list[str]) -> None:
    run_stages(load(), load().stages)
    with pytest.raises(ConfigError, match=r"train: made with train\.beta = 0\.1, asked for now: 0\.2"):
        run_stages(load("train.beta=0.2"), load().stages)
    assert load_config(load().folder / "config.yaml") == load()


def test_a_difference_is_told_where_it_began(load: Load, asked: list[str]) -> None:
    run_stages(load(), load().stages)
    with pytest.raises(ConfigError, match=r"infer: made with infer\.temperature = 0\.0, asked for now: 0\.5"):
        run_stages(load("infer.temperature=0.5"), ("report",))


@pytest.mark.parametrize(
    ("stage", "before"), [("label", "infer"), ("train", "label"), ("evaluate", "train"), ("report", "label")]
)
def test_a_stage_before_its_turn_names_the_one_to_run_first(
    load: Load, asked: list[str], stage: str, before: str
) -> None:
    with pytest.raises(ConfigError, match=f"reads what {before} makes.* Run `sclvlm {before} CONFIG` first"):
        run_stages(load(), (stage,))


def test_a_stage_that_was_killed_is_not_taken_for_done(load: Load, asked: list[str]) -> None:
    run_stages(load(), ("infer",))
    state = load().folder / "infer" / "stage.json"
    state.write_text(state.read_text().replace('"done"', '"running"'))
    with pytest.raises(ConfigError, match="infer is not done"):
        run_stages(load(), ("label",))


def test_a_config_without_stages_says_so(load: Load) -> None:
    nothing = load("infer=null", "label=null", "train=null", "evaluate=null", "report=null")
    with pytest.raises(ConfigError, match=r"no stage to run\. Add a section: infer, label"):
        run_stages(nothing, nothing.stages)


def test_a_stage_the_config_lacks_says_how_to_add_it(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"no report section. Add `report:`"):
        run_stages(load("report=null"), ("report",))


def test_evaluate_without_training_answers_once(load: Load, asked: list[str]) -> None:
    config = load("label=null", "train=null", "report=null")
    run_stages(config, config.stages)
    assert asked == ["infer", "evaluate before"]


def test_the_resolved_config_and_the_environment_are_kept(load: Load, asked: list[str]) -> None:
    run_stages(load(), ("infer",))
    assert load_config(load().folder / "config.yaml") == load()
    assert "torch" in json.loads((load().folder / "environment.json").read_text())["packages"]


def test_labeling_makes_a_pair_of_each_change(load: Load, asked: list[str]) -> None:
    run_stages(load(), ("infer", "label"))
    pairs = list(read_records(made_pairs(load()), PreferencePair))
    assert [pair.source for pair in pairs] == ["i->c", "c->i"] * (NUMBER // 2)


def test_labeling_counts_every_trace(load: Load, asked: list[str]) -> None:
    facts = run_stages(load("label.sources=[i->c]"), ("infer", "label"))
    assert facts[-1]["outcomes"] == {"pairs i->c": NUMBER // 2, "dropped c->i": NUMBER // 2}


def test_labeling_without_a_pair_fails_and_says_what_became_of_them(load: Load, asked: list[str]) -> None:
    run_stages(load(), ("infer",))
    write_records(load().folder / "infer" / "traces.jsonl", (trace(n, "A", "A") for n in range(NUMBER)))
    with pytest.raises(SclvlmError, match=r"none of 6 traces became a pair \(6 dropped c->c\)"):
        run_stages(load(), ("label",))


def test_the_report_tells_before_and_after(load: Load, asked: list[str]) -> None:
    config = load()
    headline = run_stages(config, config.stages)[-1]["headline"]
    assert "50" in headline  # every second first answer is correct


def test_label_and_report_load_no_torch(load: Load, asked: list[str], file: Path) -> None:
    run_stages(load(), ("infer", "label", "train", "evaluate"))
    code = (
        "import sys; from pathlib import Path; from sclvlm.config import load_config\n"
        "from sclvlm.pipeline import run_stages\n"
        "config = load_config(Path(sys.argv[1]))\n"
        "run_stages(config, ('report',))\n"
        "run_stages(config, ('label',), redo='label')\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], cwd=ROOT, check=True, capture_output=True)


# What makes a stage stale.


@pytest.mark.parametrize(
    ("stage", "override"),
    [
        ("infer", "infer.temperature=0.5"),
        ("infer", "run.seed=1"),
        ("infer", "infer.review=again"),
        ("infer", "infer.review=oracle"),
        ("infer", "infer.marker=<a> </a>"),
        ("label", "infer.temperature=0.5"),
        ("label", "label.unparsed=rejected"),
        ("train", "label.unparsed=rejected"),
        ("train", "train.lora.rank=4"),
        ("train", "model.dtype=bfloat16"),
        ("evaluate", "train.lora.rank=4"),
        ("evaluate", "evaluate.limit=3"),
        ("report", "report.title=x"),
        ("report", "evaluate.limit=3"),
    ],
)
def test_a_setting_that_decides_a_result_makes_the_stage_stale(load: Load, stage: str, override: str) -> None:
    assert stage_inputs(load(override), stage) != stage_inputs(load(), stage)


@pytest.mark.parametrize(
    "override", ["infer.batch_size=3", "infer.continue_cache=false", "infer.max_failed_share=0.1", "run.dir=elsewhere"]
)
def test_a_setting_that_only_changes_the_pace_does_not(load: Load, override: str) -> None:
    config, changed = load(), load(override)
    assert all(stage_inputs(changed, stage) == stage_inputs(config, stage) for stage in config.stages)


def test_a_later_stage_does_not_make_an_earlier_one_stale(load: Load) -> None:
    assert stage_inputs(load("train.beta=0.2"), "label") == stage_inputs(load(), "label")


@pytest.mark.parametrize("stage", ["infer", "label", "train", "evaluate", "report"])
def test_other_weights_make_every_stage_stale(load: Load, stage: str, tmp_path: Path) -> None:
    before = stage_inputs(load(), stage)
    weights = tmp_path / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[5000] ^= 1
    weights.write_bytes(data)
    assert stage_inputs(load(), stage) != before


def test_another_chat_template_makes_answers_stale(load: Load, tmp_path: Path) -> None:
    before = stage_inputs(load(), "infer")
    (tmp_path / "model" / "chat_template.jinja").write_text("x")
    assert stage_inputs(load(), "infer") != before


@pytest.mark.parametrize("stage", ["infer", "label", "train"])
def test_other_samples_make_what_was_made_of_them_stale(load: Load, stage: str, tmp_path: Path) -> None:
    before = stage_inputs(load(), stage)
    write_records(tmp_path / "samples.jsonl", [sample(1)])
    assert stage_inputs(load(), stage) != before


def test_a_prompt_with_other_words_under_the_same_name_makes_answers_stale(load: Load, tmp_path: Path) -> None:
    words = tmp_path / "words.yaml"
    words.write_text("mine: {initial: '{question}'}")
    before = stage_inputs(load(f"infer.initial={words}:mine"), "infer")
    words.write_text("mine: {initial: '{question} Be brief.'}")
    assert stage_inputs(load(f"infer.initial={words}:mine"), "infer") != before


# What is found before a model is loaded.


def test_broken_test_questions_are_found_before_the_training_questions_are_asked(
    load: Load, asked: list[str], tmp_path: Path
) -> None:
    with (tmp_path / "test.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(SclvlmError, match=r"test\.jsonl:7: id: field required"):
        run_stages(load(), load().stages)
    assert asked == []


def test_a_broken_line_behind_the_limit_is_found(load: Load, asked: list[str], tmp_path: Path) -> None:
    with (tmp_path / "samples.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(SclvlmError, match=r"samples\.jsonl:7"):
        run_stages(load("infer.limit=1"), ("infer",))


def test_an_id_that_stands_twice_is_found(load: Load, asked: list[str], tmp_path: Path) -> None:
    write_records(tmp_path / "samples.jsonl", [sample(1), sample(1)])
    with pytest.raises(SclvlmError, match=r"id 'q1' stands twice"):
        run_stages(load(), ("infer",))


@pytest.fixture(name="imageless")
def samples_without_their_images(tmp_path: Path) -> Path:
    records = [sample(number, str(tmp_path / f"{number}.png")) for number in range(3)]
    (tmp_path / "0.png").write_bytes(b"")
    write_records(tmp_path / "samples.jsonl", records)
    return tmp_path


def test_missing_images_are_counted_in_one_message(load: Load, asked: list[str], imageless: Path) -> None:
    with pytest.raises(SclvlmError, match=r"images are missing \(2\), the first is .*/1\.png of record 'q1'"):
        run_stages(load(), ("infer",))


def test_missing_images_behind_the_limit_do_not_matter(load: Load, asked: list[str], imageless: Path) -> None:
    run_stages(load("infer.limit=1"), ("infer",))
    assert asked == ["infer"]


def test_missing_images_are_left_to_the_engine_when_some_may_fail(
    load: Load, asked: list[str], imageless: Path
) -> None:
    run_stages(load("infer.max_failed_share=0.5"), ("infer",))
    assert asked == ["infer"]


def test_nothing_is_written_when_an_input_is_broken(load: Load, asked: list[str], imageless: Path) -> None:
    with pytest.raises(SclvlmError):
        run_stages(load(), load().stages)
    assert not load().folder.exists()


@pytest.mark.parametrize("override", ["train.args.lr=1e-4", "train.loss_options.lr=1e-4"])
def test_a_setting_that_does_not_exist_is_found_before_the_questions_are_asked(
    override: str, load: Load, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("sclvlm.preflight._check_model", lambda config: None)
    with pytest.raises(ConfigError, match=r"\.lr: .* no such"):
        run_stages(load(override), load().stages)
