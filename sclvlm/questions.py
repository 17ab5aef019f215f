"""What a config asks of which model, and where the answers go."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sclvlm.config import AskSection, Config, ModelSection, TrainSection
from sclvlm.named_models import asked_of, model_named
from sclvlm.preflight import SampleFile


class Questions(NamedTuple):
    """Questions to one model, and the file for its answers. `what` is the name of the task among processes."""

    config: Config  # its model is the one that is asked
    ask: AskSection
    samples: SampleFile
    traces: Path
    what: str


def questions_of(config: Config) -> dict[str, Questions]:
    """All that `config` asks, by name: infer, evaluate before, evaluate after, and evaluate NAME of further models."""
    asked: list[Questions] = []
    if config.infer:
        samples = SampleFile(Path(str(config.data.samples)), config.infer.limit)
        asked.append(Questions(config, config.infer, samples, config.folder / "infer" / "traces.jsonl", "infer"))
    if config.evaluate:
        samples = SampleFile(Path(str(config.data.test)), config.evaluate.limit)
        for name, (model, ask) in measured_models(config).items():
            traces = config.folder / "evaluate" / name / "traces.jsonl"
            asking = config.model_copy(update={"model": model})
            asked.append(Questions(asking, ask, samples, traces, f"evaluate {name}"))
    return {questions.what: questions for questions in asked}


def _of_trained(ask: AskSection) -> AskSection:
    """The same by servers that serve what train has made."""
    return ask.model_copy(update={"server": ask.server.model_copy(update={"model": ask.server.trained})})


class Measured(NamedTuple):
    """A model that evaluate measures, and how it is asked."""

    model: ModelSection
    ask: AskSection


def measured_models(config: Config) -> dict[str, Measured]:
    """The model before training, the one after it if there is a train section, and those the evaluate section names.

    Empty without an evaluate section.
    """
    if config.evaluate is None:
        return {}
    own = {"before": Measured(config.model, config.evaluate)}
    if config.train:
        own["after"] = Measured(trained_model(config, config.train), _of_trained(config.evaluate))
    further = {
        name: Measured(model_named(entry, own[entry.of].model), asked_of(entry, own[entry.of].ask))
        for name, entry in config.evaluate.models.items()
    }
    return own | further


def trained_model(config: Config, settings: TrainSection) -> ModelSection:
    """Where and how to load what the train stage makes."""
    folder = config.folder / "train"
    adapted = {"adapter": str(folder / "adapter")}
    whole = {"path": str(folder / "model"), "revision": None, "adapter": None}
    return config.model.model_copy(update=adapted if settings.writes_adapter else whole)
