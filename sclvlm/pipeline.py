"""The stages of a run, each from one record file to the next, each done once and resumed where it was killed.

Stages import what they need inside: labeling and reporting never load torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sclvlm.config import STAGES, AskSection, Config
from sclvlm.errors import ConfigError
from sclvlm.progress import console
from sclvlm.prompts import load_prompt
from sclvlm.records import GradedTrace, Sample, Trace
from sclvlm.runs import Stage, environment, locked
from sclvlm.storage import file_hash, read_records, unique_by, write_json, write_records, write_text

NEUTRAL = {
    "batch_size",
    "continue_cache",
    "max_failed_share",
}  # they change how long it takes, not what comes out
BLOCK = 4096

READS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # files of the data section, stages before
    "infer": (("samples",), ()),
    "label": (("samples",), ("infer",)),
    "train": (("pairs",), ("label",)),
    "evaluate": (("test",), ("train",)),
    "report": (("test",), ("label", "train", "evaluate")),
}

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
        """The job of stage `name`. Raises ConfigError when the config has no such section."""
        if getattr(config, name) is None:
            raise ConfigError(f"the config has no {name} section. Add `{name}: {{}}` to run it with its defaults.")
        return cls(config, name, Stage(config.folder, name, stage_inputs(config, name)))


def run_stages(config: Config, names: tuple[str, ...], redo: str | None = None) -> list[Facts]:
    """Execute stages in order, skipping those that are done; `redo` names the first to make anew."""
    with locked(config.folder):
        _forget(config, redo)
        _check_files(config, names)
        write_text(config.folder / "config.yaml", config.to_yaml())
        write_json(config.folder / "environment.json", environment())
        return [_run_stage(Job.of(config, name), number, len(names)) for number, name in enumerate(names, start=1)]


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
    config = job.config
    traces = job.stage.folder / "traces.jsonl"
    ask = _section(config.infer)
    _ask(
        config,
        ask,
        _samples(config.data.samples, ask.limit),
        traces,
        adapter=config.model.adapter,
        what="infer",
    )
    return {"traces": str(traces), "count": sum(1 for _ in read_records(traces, Trace))}


def label(job: Job) -> Facts:
    """Grades and pairs: graded.jsonl, pairs.jsonl, counts.json."""
    from sclvlm.evaluation import by_id, grade_file
    from sclvlm.labeling import label_pairs
    from sclvlm.metrics import summarize

    config, folder = job.config, job.stage.folder
    settings = _section(config.label)
    samples = by_id(_samples(config.data.samples, _section(config.infer).limit))
    graded = grade_file(config.folder / "infer" / "traces.jsonl", samples, folder / "graded.jsonl")
    labeled = label_pairs(graded, samples, **settings.model_dump(), seed=config.run.seed)
    write_json(folder / "counts.json", labeled.counts)
    write_records(folder / "pairs.jsonl", labeled.pairs)
    write_json(folder / "summary.json", summarize(graded).model_dump(mode="json"))
    return {"pairs": str(folder / "pairs.jsonl"), "count": len(labeled.pairs), "outcomes": labeled.counts}


def train(job: Job) -> Facts:
    """Preference fine-tuning: adapter/, history.json."""
    from sclvlm.training import train as fine_tune

    config, folder = job.config, job.stage.folder
    settings = _section(config.train)
    fine_tune(_pairs(config), folder, model=config.model, settings=settings, seed=config.run.seed)
    return {"adapter": str(folder / "adapter")} | ({"model": str(folder / "model")} if settings.merge else {})


def evaluate(job: Job) -> Facts:
    """The test questions before and, if there is a train section, after: before/, after/."""
    from sclvlm.evaluation import by_id, grade_file
    from sclvlm.metrics import summarize

    config, ask = job.config, _section(job.config.evaluate)
    samples = _samples(config.data.test, ask.limit)
    adapters = {"before": config.model.adapter}
    if config.train is not None:
        adapters["after"] = str(config.folder / "train" / "adapter")
    facts: Facts = {}
    for name, adapter in adapters.items():
        folder = job.stage.folder / name
        _ask(config, ask, samples, folder / "traces.jsonl", adapter=adapter, what=f"evaluate {name}")
        graded = grade_file(folder / "traces.jsonl", by_id(samples), folder / "graded.jsonl")
        write_json(folder / "summary.json", summarize(graded).model_dump(mode="json"))
        facts[name] = str(folder / "graded.jsonl")
    return facts


def report(job: Job) -> Facts:
    """What changed: report.json, report.md, report.html."""
    from sclvlm.evaluation import by_id
    from sclvlm.reporting import build_report, headline, write_report

    config, folder = job.config, job.stage.folder
    settings = _section(config.report)
    run = config.folder
    before, after = (
        list(read_records(run / "evaluate" / name / "graded.jsonl", GradedTrace)) for name in ("before", "after")
    )
    built = build_report(
        samples=by_id(_samples(config.data.test, _section(config.evaluate).limit)),
        before=before,
        after=after,
        pair_counts=_read_json(run / "label" / "counts.json"),
        training=_read_json(run / "train" / "history.json"),
        provenance=_provenance(config),
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


def _ask(
    config: Config, ask: AskSection, samples: list[Sample], traces: Path, *, adapter: str | None, what: str
) -> None:
    """Hold the conversations that `traces` lacks."""
    from sclvlm.engines.hf import HFEngine
    from sclvlm.models import load_policy
    from sclvlm.self_correction import Dialogue, Origin, collect_traces

    policy = load_policy(**{**config.model.model_dump(), "adapter": adapter})
    sampling = ask.model_dump(include={"temperature", "top_p", "max_new_tokens"})
    collect_traces(
        samples,
        traces,
        engine=HFEngine(policy, seed=config.run.seed, continue_cache=ask.continue_cache, **sampling),
        dialogue=Dialogue(load_prompt("initial", ask.initial), load_prompt("review", ask.review), ask.turns),
        origin=Origin(policy.ref, sampling, config.run.seed),
        draws=ask.draws,
        batch_size=ask.batch_size,
        max_failed_share=ask.max_failed_share,
        what=what,
    )


def stage_inputs(config: Config, name: str) -> dict[str, Any]:
    """Everything that decides what stage `name` makes: when it changes, what was made is stale."""
    files, stages = READS[name]
    section = getattr(config, name).model_dump(mode="json")
    inputs = {
        "seed": config.run.seed,
        name: {key: value for key, value in section.items() if key not in NEUTRAL},
    }
    if name in ("infer", "train", "evaluate"):
        inputs["model"] = _model_facts(config)
    inputs |= {f"data.{file}": _hash(getattr(config.data, file)) for file in files}
    present = [stage for stage in stages if getattr(config, stage) is not None]
    return inputs | {f"{stage} stage": _digest(stage_inputs(config, stage)) for stage in present}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _hash(path: str | None) -> str | None:
    return file_hash(Path(path))[:16] if path and Path(path).is_file() else None


def _model_facts(config: Config) -> dict[str, Any]:
    model = config.model
    return {
        **model.model_dump(include={"path", "revision", "adapter", "dtype"}),
        "weights": _weights_hash(Path(model.path)),
        "adapter weights": _weights_hash(Path(model.adapter)) if model.adapter else None,
    }


def _weights_hash(folder: Path) -> str | None:
    """A quick content hash of a model directory's weights: their sizes and 64 blocks of each file."""
    files = sorted(folder.glob("*.safetensors"))
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(size // 64, BLOCK)):
                file.seek(start)
                digest.update(file.read(BLOCK))
    return digest.hexdigest()[:16] if files else None


def _forget(config: Config, redo: str | None) -> None:
    """Remove what `redo` and the stages behind it made."""
    if redo is None:
        return
    if redo not in STAGES:
        raise ConfigError(f"--redo: expected one of {', '.join(STAGES)}, got {redo!r}.")
    for name in STAGES[STAGES.index(redo) :]:
        Stage(config.folder, name, {}).remove()


def _check_files(config: Config, names: tuple[str, ...]) -> None:
    """Every stage's own input files, before any stage has cost time."""
    wanted = {"infer": "samples", "evaluate": "test", "train": "pairs"}
    for key in (wanted[name] for name in names if name in wanted):
        path = getattr(config.data, key)
        if path is not None and not Path(path).is_file():
            raise ConfigError(f"data.{key}: {path} does not exist. Make it first, or name another file.")
    if set(names) & {"infer", "train", "evaluate"}:
        from sclvlm.models import check_model_path

        check_model_path(config.model.path)


def _samples(path: str | None, limit: int | None) -> list[Sample]:
    file = Path(str(path))
    return list(islice(unique_by(read_records(file, Sample), lambda sample: sample.id, file), limit))


def _pairs(config: Config) -> Path:
    return Path(config.data.pairs) if config.data.pairs else config.folder / "label" / "pairs.jsonl"


def _section(section: Any) -> Any:
    assert section is not None, "a job exists only for a config that has its section"
    return section


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _provenance(config: Config) -> dict[str, Any]:
    return {
        "command": f"sclvlm run {config.folder / 'config.yaml'}",
        "config": config.model_dump(mode="json", exclude_none=True),
        "environment": _read_json(config.folder / "environment.json"),
        "weights": {"base": _weights_hash(Path(config.model.path))},
    }
