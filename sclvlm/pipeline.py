"""The stages of a run, each from one record file to the next, each done once and resumed where it was killed.

Stages import what they need inside: labeling and reporting never load torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sclvlm.asking import answer, dialogue_of
from sclvlm.config import STAGES, Config
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.fingerprints import stage_inputs, stages_before, weights_hash
from sclvlm.launch import count, is_main
from sclvlm.preflight import check_inputs
from sclvlm.progress import console
from sclvlm.questions import Questions, questions_of
from sclvlm.records import GradedTrace
from sclvlm.runs import Stage, environment, locked, parts
from sclvlm.self_correction.journal import Answered, answered, merge, wanted
from sclvlm.storage import read_records, repair_torn_line, write_json, write_text

Facts = dict[str, Any]
"""What a stage says when it ends: file paths and counts."""


@dataclass(frozen=True)
class Job:
    """One stage of one config."""

    config: Config
    name: str
    stage: Stage

    @classmethod
    def of(cls, config: Config, name: str) -> Job:
        """The job of stage `name`, as the config stands now."""
        return cls(config, name, Stage(config.folder, name, stage_inputs(config, name)))


def run_stages(config: Config, names: tuple[str, ...], redo: str | None = None) -> list[Facts]:
    """Execute stages in order, skipping those that are done; `redo` names the first to make anew.

    Nothing is written or removed before everything that can be checked was found well. Of several processes the main
    one does that, and calls the others to asking and training; they return nothing.
    """
    if count() == 1:
        return _run_stages(config, names, redo)
    from sclvlm.processes import leading, loss_told, tasks
    from sclvlm.trainer.joining import join, part

    join(config.model.device)
    facts: list[Facts] = []
    with loss_told():
        if is_main():
            with leading():
                facts = _run_stages(config, names, redo)
        else:
            for task in tasks():
                _take_part(config, task)
    part()
    return facts


def _take_part(config: Config, task: str) -> None:
    """What a process other than the main one does for a task."""
    if task == "train":
        train(Job.of(config, task))
    else:
        answer(questions_of(config)[task])


def _run_stages(config: Config, names: tuple[str, ...], redo: str | None) -> list[Facts]:
    if not names:
        raise ConfigError(f"the config has no stage to run. Add a section: {', '.join(STAGES)}.")
    anew = _from(redo)
    _check_sections(config, names)
    check_inputs(config, names)
    with locked(config.folder):
        _check_stages(config, names, anew)
        for name in anew:
            Stage(config.folder, name, {}).remove()
        write_text(config.folder / "config.yaml", config.to_yaml())
        write_json(config.folder / "environment.json", environment())
        return [_run_stage(Job.of(config, name), number, len(names)) for number, name in enumerate(names, start=1)]


def _check_sections(config: Config, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(config, name) is None:
            raise ConfigError(f"the config has no {name} section. Add `{name}:` to run it with its defaults.")


def _from(redo: str | None) -> tuple[str, ...]:
    """The stage `redo` and those behind it."""
    if redo is None:
        return ()
    if redo not in STAGES:
        raise ConfigError(f"--redo: expected one of {', '.join(STAGES)}, got {redo!r}.")
    return STAGES[STAGES.index(redo) :]


def _check_stages(config: Config, names: tuple[str, ...], anew: tuple[str, ...]) -> None:
    """What is there already must come from these inputs, and what is read must be there.

    In order of the stages, so that a difference is told where it began.
    """
    needed_by = {before: name for name in names for before in stages_before(config, name)}
    for name in STAGES:
        if name in anew or name not in _with_all_before(config, names):
            continue
        stage = Job.of(config, name).stage
        if not stage.done and name in needed_by and name not in names:
            raise ConfigError(
                f"{stage.folder}: {needed_by[name]} reads what {name} makes, and {name} is not done. "
                f"Run `sclvlm {name} CONFIG` first."
            )


def _with_all_before(config: Config, names: tuple[str, ...]) -> set[str]:
    return set(names).union(*(_with_all_before(config, stages_before(config, name)) for name in names))


def _run_stage(job: Job, number: int, total: int) -> Facts:
    facts = job.stage.folder / "facts.json"
    label = f"[{number}/{total}] {job.name}"
    if job.stage.done:
        console.print(f"{label}: done before")
        done: Facts = json.loads(facts.read_text(encoding="utf-8"))
        return done
    console.print(f"{label}: starts")
    with job.stage.running():
        found = {"stage": job.name, **STAGE_FUNCTIONS[job.name](job)}
        write_json(facts, found)
    console.print(f"{label}: done")
    return found


def infer(job: Job) -> Facts:
    """Both turns on the training questions: traces.jsonl."""
    questions = questions_of(job.config)["infer"]
    found = _ask(questions)
    return {"traces": str(questions.traces), "count": len(found), "failed": len(found.failed)}


def label(job: Job) -> Facts:
    """Grades and pairs: graded.jsonl, pairs.jsonl, counts.json, audit.json."""
    from sclvlm.auditing import audit_run, warn
    from sclvlm.evaluation import grade_file
    from sclvlm.labeling import label_file
    from sclvlm.metrics import summarize

    config, graded, pairs = job.config, job.stage.folder / "graded.jsonl", job.stage.folder / "pairs.jsonl"
    questions = questions_of(config)["infer"]
    grade_file(questions.traces, questions.samples, graded)
    settings = _section(config.label).model_dump()
    outcomes = label_file(graded, questions.samples, pairs, **settings, seed=config.run.seed)
    write_json(job.stage.folder / "counts.json", outcomes)
    made = sum(outcomes[each] for each in outcomes if each.startswith("pairs "))
    if not made:
        raise SclvlmError(
            f"{job.stage.folder}: none of {sum(outcomes.values())} traces became a pair ("
            + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
            + "). Infer on more samples, with a higher temperature or more draws, or label with other settings."
        )
    audit = audit_run(config, pairs)
    write_json(job.stage.folder / "audit.json", audit.model_dump(mode="json"))
    warn(audit)
    summary = summarize(read_records(graded, GradedTrace))
    write_json(job.stage.folder / "summary.json", summary.model_dump(mode="json"))
    return {"pairs": str(pairs), "count": made, "outcomes": outcomes}


def train(job: Job) -> Facts:
    """Preference fine-tuning: adapter/ or model/, history.json."""
    from sclvlm.training import train as fine_tune

    config, folder = job.config, job.stage.folder
    settings = _section(config.train)
    held_out = Path(config.data.held_out) if config.data.held_out else None
    with _all_processes("train"):
        fine_tune(
            pairs_file(config),
            folder,
            model=config.model,
            settings=settings,
            seed=config.run.seed,
            held_out=held_out,
            strict=config.data.strict,
        )
    whole = settings.merge or not settings.writes_adapter
    adapter = {"adapter": str(folder / "adapter")} if settings.writes_adapter else {}
    return adapter | ({"model": str(folder / "model")} if whole else {})


def _all_processes(task: str) -> AbstractContextManager[None]:
    if count() == 1:
        return nullcontext()
    from sclvlm.processes import joint

    return joint(task)


def evaluate(job: Job) -> Facts:
    """The test questions to every measured model: before/, after/ and one folder for each further one, suite.md."""
    from sclvlm.evaluation import measured_questions, score_all

    measured = measured_questions(job.config)
    for questions in measured.values():
        _ask(questions)
    return score_all(measured, job.stage.folder)


def report(job: Job) -> Facts:
    """What changed: report.json, report.md, report.html."""
    from sclvlm.auditing import audit_kept
    from sclvlm.evaluation import by_id
    from sclvlm.reporting import build_report, headline, write_report

    config, folder = job.config, job.stage.folder
    settings = _section(config.report)
    run = config.folder
    before, after = (
        list(read_records(run / "evaluate" / name / "graded.jsonl", GradedTrace)) for name in ("before", "after")
    )
    built = build_report(
        samples=by_id(questions_of(config)["evaluate before"].samples),
        before=before,
        after=after,
        pair_counts=read_json(run / "label" / "counts.json"),
        audit=audit_kept(config, pairs_file(config), run / "label" / "audit.json"),
        training=read_json(run / "train" / "history.json"),
        provenance=provenance(config),
        seed=config.run.seed,
        **settings.model_dump(),
    )
    write_report(built, folder)
    return {
        "headline": headline(built),
        "report": str(folder / "report.html"),
        "json": str(folder / "report.json"),
    }


STAGE_FUNCTIONS: dict[str, Callable[[Job], Facts]] = {
    "infer": infer,
    "label": label,
    "train": train,
    "evaluate": evaluate,
    "report": report,
}


def preview(config: Config, name: str) -> list[Any]:
    """What stage `name` (infer or evaluate) would ask, an example of each kind; nothing is generated or written."""
    from sclvlm.models.outline import load_outline
    from sclvlm.self_correction.preview import previews

    _check_sections(config, (name,))
    check_inputs(config, (name,))
    questions = questions_of(config)["infer" if name == "infer" else "evaluate before"]
    ask = questions.ask
    policy = load_outline(**config.model.model_dump(include={"path", "revision", "trust_remote_code"}))
    return previews(questions.samples, policy, dialogue_of(ask), max_new_tokens=ask.max_new_tokens)


def _ask(questions: Questions) -> Answered:
    """Hold the conversations that are missing, by all processes; a model is loaded only if there are any.

    Returns what is there then, in order. The traces are read once before, and again if anything was asked or is to be
    brought into order.
    """
    done = _found(questions)
    if not _is_all(done, questions):
        with _all_processes(questions.what):
            answer(questions, done)
    elif done.ordered:
        return done
    done = merge(questions.traces, questions.samples, questions.ask.draws)
    if count() > 1 and not _is_all(done, questions):
        raise SclvlmError(
            f"{questions.traces}: answers of other processes are missing. Put run.dir where all machines see it."
        )
    return done


def _found(questions: Questions) -> Answered:
    for file in (questions.traces, *parts(questions.traces)):  # before another process appends to it
        repair_torn_line(file)
    return answered(questions.traces, questions.samples, questions.ask.draws)


def _is_all(done: Answered, questions: Questions) -> bool:
    asked = wanted(questions.samples, questions.ask.draws)
    return len(done) > 0 and all(each in done for each in asked)


def pairs_file(config: Config) -> Path:
    """The pairs the run trains on."""
    return Path(config.data.pairs) if config.data.pairs else config.folder / "label" / "pairs.jsonl"


def made_pairs(config: Config) -> Path:
    """The same, once they are there. Raises ConfigError when the config makes none or they are not made yet."""
    if config.data.pairs is None:
        _check_sections(config, ("label",))
        _check_stages(config, ("label",), ())
        if not Job.of(config, "label").stage.done:
            raise ConfigError(f"{pairs_file(config)}: not made yet. Run `sclvlm label CONFIG` first.")
    return pairs_file(config)


def _section(section: Any) -> Any:
    assert section is not None, "a job exists only for a config that has its section"
    return section


def read_json(path: Path) -> Any:
    """What the JSON file `path` holds; None where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def provenance(config: Config) -> dict[str, Any]:
    """How the run of `config` was made, and how to make it again."""
    from sclvlm.reporting.repeating import commands

    environment = read_json(config.folder / "environment.json")
    return {
        "command": f"sclvlm run {config.folder / 'config.yaml'}",
        "to make it again": commands(config.folder, environment),
        "config": config.resolved(),
        "environment": environment,
        "weights": {"base": weights_hash(Path(config.model.path))},
    }
