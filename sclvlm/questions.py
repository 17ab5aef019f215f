"""What a config asks of which model, and where the answers go."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sclvlm.config import AskSection, Config, ModelSection, TrainSection
from sclvlm.preflight import SampleFile


class Questions(NamedTuple):
    """Questions to one model, and the file for its answers. `what` is the name of the task among processes."""

    config: Config  # its model is the one that is asked
    ask: AskSection
    samples: SampleFile
    traces: Path
    what: str


def questions_of(config: Config) -> dict[str, Questions]:
    """All that `config` asks, by name: infer, evaluate before, evaluate after."""
    asked: list[Questions] = []
    if config.infer:
        samples = SampleFile(Path(str(config.data.samples)), config.infer.limit)
        asked.append(Questions(config, config.infer, samples, config.folder / "infer" / "traces.jsonl", "infer"))
    if config.evaluate:
        samples = SampleFile(Path(str(config.data.test)), config.evaluate.limit)
        for name, model in measured_models(config).items():
            traces = config.folder / "evaluate" / name / "traces.jsonl"
            asking = config.model_copy(update={"model": model})
            ask = config.evaluate if name == "before" else _of_trained(config.evaluate)
            asked.append(Questions(asking, ask, samples, traces, f"evaluate {name}"))
    return {questions.what: questions for questions in asked}


def _of_trained(ask: AskSection) -> AskSection:
    """The same by servers that serve what train has made."""
    return ask.model_copy(update={"server": ask.server.model_copy(update={"model": ask.server.trained})})


def measured_models(config: Config) -> dict[str, ModelSection]:
    """The model before training, and the one after it if there is a train section."""
    return {"before": config.model} | ({"after": trained_model(config, config.train)} if config.train else {})


def trained_model(config: Config, settings: TrainSection) -> ModelSection:
    """Where and how to load what the train stage makes."""
    folder = config.folder / "train"
    adapted = {"adapter": str(folder / "adapter")}
    whole = {"path": str(folder / "model"), "revision": None, "adapter": None}
    return config.model.model_copy(update=adapted if settings.writes_adapter else whole)
