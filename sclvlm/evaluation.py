"""The same questions to every model that is measured: traces, graded, and their figures. Needs no model itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sclvlm.config import Config
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.fingerprints import stage_inputs
from sclvlm.grading import grade_trace, questions
from sclvlm.metrics import summarize
from sclvlm.metrics.official import official_by_turn
from sclvlm.preflight import check_judged_in
from sclvlm.progress import console
from sclvlm.prompts import initial_message, load_prompt
from sclvlm.questions import Questions, measured_models, questions_of
from sclvlm.records import GradedTrace, Sample, Trace
from sclvlm.runs import Stage, locked
from sclvlm.scoreboard import Cell, cells_of, document, markdown, page, several
from sclvlm.self_correction.journal import merge, wanted
from sclvlm.storage import read_records, repair_torn_line, write_json, write_records, write_text


def grade_file(traces: Path, samples: Iterable[Sample], out: Path) -> None:
    """Grade `traces` into `out`, one at a time. Raises SclvlmError for a trace of no sample, or out of their order."""
    asked = questions(samples, read_records(traces, Trace), traces)
    write_records(out, (grade_trace(trace, sample) for sample, draws in asked for trace in draws))


def by_id(samples: Iterable[Sample]) -> dict[str, Sample]:
    """Samples under their ids, in order."""
    return {sample.id: sample for sample in samples}


def measured_questions(config: Config) -> dict[str, Questions]:
    """What evaluate asks, by the name of the model that is asked."""
    asked = questions_of(config)
    return {name: asked[f"evaluate {name}"] for name in measured_models(config)}


def score_all(measured: Mapping[str, Questions], folder: Path) -> dict[str, Any]:
    """Grade the traces of every model and write all figures beside them, and their table into `folder`.

    Every file is replaced as a whole. Returns each model's graded.jsonl, the table, and its text where there is more
    than one benchmark or model.
    """
    cells = [cell for name, asked in measured.items() for cell in _score(name, asked)]
    write_json(folder / "suite.json", document(cells))
    write_text(folder / "suite.md", page(cells))
    graded = {name: str(_graded(asked)) for name, asked in measured.items()}
    return graded | {"table": str(folder / "suite.md")} | ({"headline": markdown(cells)} if several(cells) else {})


def _score(name: str, asked: Questions) -> list[Cell]:
    out = _graded(asked)
    grade_file(asked.traces, asked.samples, out)
    graded, samples = list(read_records(out, GradedTrace)), by_id(asked.samples)
    write_json(out.with_name("summary.json"), summarize(graded).model_dump(mode="json"))
    file = out.with_name("official.json")
    if official := official_by_turn(graded, samples):
        write_json(file, official)
    else:
        file.unlink(missing_ok=True)
    return cells_of(name, graded, samples)


def _graded(asked: Questions) -> Path:
    return asked.traces.with_name("graded.jsonl")


def rescore(config: Config) -> dict[str, Any]:
    """Judge the traces of an evaluation again, of every model; no model is loaded and nothing is asked.

    data.test may have other answers, categories and meta since, and more questions behind; the results stand for the
    file as it is now. Questions that were not answered are counted, and `evaluate` goes on with them.
    Raises ConfigError where the evaluation was never answered to its end, SclvlmError for a question that was changed.
    """
    if config.evaluate is None:
        raise ConfigError("the config has no evaluate section. Add `evaluate:` and answer the questions first.")
    stage = Stage(config.folder, "evaluate", stage_inputs(config, "evaluate"))
    if not stage.begun:
        raise _unanswered(stage.folder)
    measured = measured_questions(config)
    missing = 0
    with locked(config.folder):
        for name, asked in measured.items():
            done = merge(asked.traces, asked.samples, asked.ask.draws)  # as several processes left it
            repair_torn_line(asked.traces)
            _check_asked(name, asked, changed=stage.made_with("data.test") != stage.inputs["data.test"])
            missing += sum(each not in done for each in wanted(asked.samples, asked.ask.draws))
        if missing and not (stage.folder / "facts.json").is_file():
            raise _unanswered(stage.folder, missing)
        facts = {"stage": "evaluate", **score_all(measured, stage.folder)}
        facts |= {"unanswered": missing} if missing else {}
        write_json(stage.folder / "facts.json", facts)
        stage.adopt("data.test", done=not missing)
    if missing:
        console.print(f"Answers still to be had: {missing:,}. `sclvlm evaluate CONFIG` asks for them alone.")
    return facts


def _unanswered(folder: Path, missing: int = 0) -> ConfigError:
    lacking = f" (answers still to be had: {missing:,})" if missing else ""
    return ConfigError(f"{folder}: nothing to score again{lacking}. Run `sclvlm evaluate CONFIG` to its end first.")


def _check_asked(name: str, asked: Questions, *, changed: bool) -> None:
    """Traces are there, and, where the samples were changed, still about the questions as they stand."""
    for sample in asked.samples:
        check_judged_in(asked.samples.path, sample)
    if not asked.traces.is_file():
        raise ConfigError(
            f"evaluate.models.{name}: {asked.traces} does not exist. Answer it: `sclvlm evaluate CONFIG`."
        )
    if not changed:
        return
    prompt = load_prompt("initial", asked.ask.initial, asked.ask.marker)
    for sample, draws in questions(asked.samples, read_records(asked.traces, Trace), asked.traces):
        if any(
            said and said[-1] != initial_message(prompt, sample) for said in (draw.turns[0].prompt for draw in draws)
        ):
            raise SclvlmError(
                f"{asked.samples.path}: question {sample.id!r} was changed after it was answered, so its answer can't "
                "be judged. Ask anew: `sclvlm evaluate CONFIG --redo`."
            )
