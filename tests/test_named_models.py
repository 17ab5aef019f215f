"""Several models, adapters and prompts in one evaluation, and their judgement again."""

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
from sclvlm.evaluation import rescore
from sclvlm.fingerprints import stage_inputs
from sclvlm.pipeline import run_stages
from sclvlm.preflight import check_inputs
from sclvlm.prompts import initial_message, load_prompt
from sclvlm.questions import Questions, measured_models, questions_of
from sclvlm.records import GradedTrace, ModelRef, Sample, Trace, Turn
from sclvlm.storage import read_records, write_records

Load = Callable[..., Config]
ROOT = Path(__file__).parents[1]


def sample(number: int, answer: str = "A", **fields: Any) -> Sample:
    said = {"id": f"q{number}", "question": "?", "kind": "choice", "choices": ("x", "y"), "answer": answer}
    return Sample.model_validate({**said, "meta": {"benchmark": "AI2D"}, **fields})


@pytest.fixture(name="load")
def loader(tmp_path: Path) -> Load:
    """A config of two more models, with overrides."""
    write_records(tmp_path / "test.jsonl", [sample(number) for number in range(2)])
    config = {
        "run": {"dir": str(tmp_path / "run")},
        "model": {"path": "own", "adapter": "its"},
        "data": {"test": str(tmp_path / "test.jsonl")},
        "evaluate": {"temperature": 0.5, "models": {"direct": {"initial": "direct", "turns": 1}}},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    return lambda *overrides: load_config(tmp_path / "run.yaml", list(overrides))


@pytest.fixture(name="asked")
def stub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models are stubbed: all say A; what was asked is listed."""
    asked: list[str] = []

    def ask(questions: Questions) -> None:
        asked.append(questions.what)
        prompt = load_prompt("initial", questions.ask.initial)
        write_records(questions.traces, [_trace(each, initial_message(prompt, each)) for each in questions.samples])

    monkeypatch.setattr(pipeline, "_ask", ask)
    monkeypatch.setattr("sclvlm.preflight._check_model", lambda config: None)
    return asked


def _trace(one: Sample, message: Any) -> Trace:
    turn = Turn(role="initial", prompt=[message], response="## A ##", num_tokens=1, finish_reason="stop")
    return Trace(id=one.id, turns=(turn,), model=ModelRef(path="m"), sampling={}, prompts={}, seed=0)


def test_a_direct_prompt_is_an_entry_of_the_same_model(load: Load) -> None:
    measured = measured_models(load())
    assert list(measured) == ["before", "direct"]
    assert measured["direct"].model == measured["before"].model
    said = measured["direct"].ask
    assert (said.initial, said.turns, said.temperature, said.review) == ("direct", 1, 0.5, "complete")


def test_another_path_leaves_the_adapter_of_the_run_behind(load: Load) -> None:
    config = load("evaluate.models.b.path=other", "evaluate.models.c.adapter=new", "evaluate.models.b.draws=3")
    models = {name: (each.model.path, each.model.adapter) for name, each in measured_models(config).items()}
    assert models == {
        "before": ("own", "its"),
        "direct": ("own", "its"),
        "b": ("other", None),
        "c": ("own", "new"),
    }
    assert measured_models(config)["b"].ask.draws == 3


def test_an_entry_may_be_of_what_train_makes(load: Load, tmp_path: Path) -> None:
    config = load("evaluate.models.direct.of=after", "train.beta=0.1", f"data.pairs={tmp_path}/p.jsonl")
    measured = measured_models(config)
    assert measured["direct"].model.adapter == measured["after"].model.adapter == f"{tmp_path}/run/train/adapter"


def test_servers_are_asked_for_the_name_they_serve_it_by(load: Load) -> None:
    config = load("evaluate.engine=server", "evaluate.server.model=own", "evaluate.models.direct.served=tuned")
    assert [each.ask.server.model for each in measured_models(config).values()] == ["own", "tuned"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("evaluate.models.after={}", "a model's name is that of its folder"),
        ("evaluate.models={'../x': {}}", "a model's name is that of its folder"),
        ("evaluate.models.direct.paths=x", "Known keys there: of, path"),
        ("evaluate.models.direct.of=after", "add a train section"),
        ("evaluate.models.x={of: after, path: y}", "remove path, revision and adapter"),
        ("evaluate.models.x.draws=0", "evaluate.models.x.draws"),
    ],
)
def test_an_entry_that_can_not_be_is_told(load: Load, override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(override)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("evaluate.models.b.path=./nowhere",), "evaluate.models.b: model.path"),
        (("evaluate.models.direct.initial=dirct",), "evaluate.models.direct: initial prompt: expected one of"),
    ],
)
def test_what_an_entry_names_is_checked_before_anything_runs(
    load: Load, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("sclvlm.preflight._loads_model", lambda config, stages: False)
    with pytest.raises(ConfigError, match=f"^{said}"):
        check_inputs(load("model.adapter=null", *overrides), ["evaluate"])


def test_servers_need_a_name_for_another_model(load: Load) -> None:
    config = load("evaluate.engine=server", "evaluate.server.urls=[http://h]", "evaluate.models.b.path=x")
    with pytest.raises(ConfigError, match=r"^evaluate\.models\.b: served: say by which name"):
        check_inputs(config, ["evaluate"])


def test_each_model_is_asked_and_scored_in_a_folder_of_its_own(load: Load, asked: list[str]) -> None:
    config = load("evaluate.models.b.path=other")
    (facts,) = run_stages(config, ("evaluate",))
    assert asked == ["evaluate before", "evaluate direct", "evaluate b"]
    for name in ("before", "direct", "b"):
        assert json.loads((config.folder / "evaluate" / name / "official.json").read_text()) == {
            "first": {"ai2d": {"accuracy": 1.0}}
        }
    assert facts["headline"].splitlines()[0] == "| benchmark | figure | n | before | direct | b |"
    assert facts["headline"] in (config.folder / "evaluate" / "suite.md").read_text()


def test_one_model_on_one_benchmark_prints_no_table(load: Load, asked: list[str]) -> None:
    config = load("evaluate.models={}")
    (facts,) = run_stages(config, ("evaluate",))
    assert asked == ["evaluate before"]
    assert "headline" not in facts
    assert (config.folder / "evaluate" / "suite.json").is_file()


def test_entries_are_part_of_what_the_evaluation_is_made_from(load: Load) -> None:
    alone = stage_inputs(load("evaluate.models={}"), "evaluate")
    assert "models" not in alone
    assert "models" not in alone["evaluate"]  # what was made before there were any is no staler for it
    first, other = (stage_inputs(load(*more), "evaluate") for more in ((), ("evaluate.models.direct.turns=2",)))
    assert first["models"] != other["models"]


def nobody(questions: Questions) -> None:
    raise AssertionError(f"{questions.what} was asked")


def test_judging_again_follows_the_samples_and_asks_no_engine(
    load: Load, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load()
    run_stages(config, ("evaluate",))
    monkeypatch.setattr(pipeline, "_ask", nobody)
    monkeypatch.setattr("sclvlm.asking.answer", nobody)
    write_records(tmp_path / "test.jsonl", [sample(0), sample(1, "B")])
    facts = rescore(config)
    for name in ("before", "direct"):
        found = json.loads((config.folder / "evaluate" / name / "official.json").read_text())
        assert found == {"first": {"ai2d": {"accuracy": 0.5}}}
        assert json.loads((config.folder / "evaluate" / name / "summary.json").read_text())["n"] == 2
    assert "50.0 (50.0; 0.0)" in facts["headline"]
    assert asked == ["evaluate before", "evaluate direct"]
    assert run_stages(config, ("evaluate",)) == [facts]  # done, for the samples as they are now


def test_a_question_that_was_changed_is_told_before_anything_is_written(
    load: Load, asked: list[str], tmp_path: Path
) -> None:
    config = load()
    run_stages(config, ("evaluate",))
    before = {path: path.read_bytes() for path in config.folder.rglob("*.json*")}
    write_records(tmp_path / "test.jsonl", [sample(0), sample(1, choices=("y", "x"))])
    with pytest.raises(SclvlmError, match=r"question 'q1' was changed after it was answered.*--redo"):
        rescore(config)
    assert before == {path: path.read_bytes() for path in config.folder.rglob("*.json*")}
    assert len(asked) == 2


def test_a_benchmark_without_metric_any_more_loses_its_official_figures(
    load: Load, asked: list[str], tmp_path: Path
) -> None:
    config = load()
    run_stages(config, ("evaluate",))
    assert len(asked) == 2
    write_records(tmp_path / "test.jsonl", [sample(number, meta={}) for number in range(2)])
    rescore(config)
    assert not (config.folder / "evaluate" / "before" / "official.json").is_file()


def test_what_was_not_finished_is_not_judged_again(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"nothing to score again\. Run `sclvlm evaluate CONFIG`"):
        rescore(load())
    assert not load().folder.exists()


def broken_off(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation whose questions were all asked, and that failed before its end."""
    with monkeypatch.context() as patched:
        patched.setattr("sclvlm.evaluation.score_all", lambda *_: (_ for _ in ()).throw(SclvlmError("broken off")))
        with pytest.raises(SclvlmError, match="broken off"):
            run_stages(config, ("evaluate",))


def test_all_that_was_asked_is_judged_where_the_evaluation_failed_behind_it(
    load: Load, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load()
    broken_off(config, monkeypatch)
    traces = config.folder / "evaluate" / "direct" / "traces.jsonl"
    traces.rename(traces.with_name("traces.part-0.jsonl"))  # as one of several processes leaves it
    with (config.folder / "evaluate" / "before" / "traces.jsonl").open("a") as file:
        file.write('{"id": "q')  # as a kill leaves it
    write_records(tmp_path / "test.jsonl", [sample(0), sample(1, "B")])
    facts = rescore(config)
    assert "50.0 (50.0; 0.0)" in facts["headline"]
    assert run_stages(config, ("evaluate",)) == [facts]
    assert len(asked) == 2


def test_what_could_not_be_judged_is_told_before_anything_is_judged_again(
    load: Load, asked: list[str], tmp_path: Path
) -> None:
    config = load()
    run_stages(config, ("evaluate",))
    write_records(tmp_path / "test.jsonl", [sample(0), sample(1, meta={"benchmark": "MMBench", "index": "first"})])
    with pytest.raises(SclvlmError, match=r"test\.jsonl: sample 'q1' could not be judged: meta\.index must be"):
        rescore(config)
    assert len(asked) == 2


def test_an_evaluation_that_was_killed_while_it_asked_is_not_judged(
    load: Load, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load()
    broken_off(config, monkeypatch)
    traces = config.folder / "evaluate" / "direct" / "traces.jsonl"
    traces.write_text(traces.read_text().splitlines(keepends=True)[0])
    with pytest.raises(ConfigError, match=r"nothing to score again \(answers still to be had: 1\)\. Run"):
        rescore(config)
    assert len(asked) == 2


def test_questions_that_came_behind_are_counted_and_asked_next(load: Load, asked: list[str], tmp_path: Path) -> None:
    config = load()
    run_stages(config, ("evaluate",))
    write_records(tmp_path / "test.jsonl", [sample(number) for number in range(3)])
    for _ in range(2):
        facts = rescore(config)
        assert facts["unanswered"] == 2  # one by each model
        assert "| AI2D | accuracy | 2 |" in facts["headline"]
    (facts,) = run_stages(config, ("evaluate",))
    assert "unanswered" not in facts
    assert "| AI2D | accuracy | 3 |" in facts["headline"]
    assert asked == ["evaluate before", "evaluate direct"] * 2


def test_samples_that_were_changed_are_told_with_the_way_to_judge_them(
    load: Load, asked: list[str], tmp_path: Path
) -> None:
    run_stages(load(), ("evaluate",))
    write_records(tmp_path / "test.jsonl", [sample(0, "B")])
    with pytest.raises(
        ConfigError, match=r"made with data\.test = .*`sclvlm evaluate CONFIG --rescore`\. Give run\.dir"
    ):
        run_stages(load(), ("evaluate",))
    write_records(tmp_path / "test.jsonl", [sample(number) for number in range(2)])
    with pytest.raises(ConfigError, match=r"made with evaluate\.draws = 1, asked for now: 2\. Give run\.dir"):
        run_stages(load("evaluate.draws=2"), ("evaluate",))
    assert len(asked) == 2


def test_a_model_without_traces_is_named(load: Load, asked: list[str]) -> None:
    run_stages(load(), ("evaluate",))
    with pytest.raises(ConfigError, match=r"evaluate\.models\.b: .*traces\.jsonl does not exist"):
        rescore(load("evaluate.models.b.path=other"))
    assert len(asked) == 2


def test_the_verb_judges_again_without_torch_or_the_model(load: Load, asked: list[str], tmp_path: Path) -> None:
    run_stages(load(), ("evaluate",))
    graded = tmp_path / "run" / "evaluate" / "direct" / "graded.jsonl"
    graded.unlink()
    code = (
        "import sys; from sclvlm.cli import app\n"
        f"app(['evaluate', {str(tmp_path / 'run.yaml')!r}, '--rescore'], standalone_mode=False)\n"
        "print('loaded', sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert "| AI2D | accuracy | 2 | 100.0 (100.0; 0.0) | 100.0 (100.0; 0.0) |" in done.stdout
    assert len(list(read_records(graded, GradedTrace))) == 2
    assert len(asked) == 2


def test_every_model_has_questions_of_its_own(load: Load) -> None:
    traces = {name: each.traces.parent.name for name, each in questions_of(load()).items()}
    assert traces == {"evaluate before": "before", "evaluate direct": "direct"}
