"""What can be found wrong before a model is loaded and a stage has cost time."""

from __future__ import annotations

import dataclasses
import os
from array import array
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from sclvlm.config import AskSection, Config, EvaluateSection, TrainSection
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.fingerprints import READS
from sclvlm.keys import hashed, repeated
from sclvlm.named_models import asked_of, model_named
from sclvlm.prompts import load_prompt
from sclvlm.records import Demonstration, PreferencePair, Sample, UnpairedCompletion
from sclvlm.records.kinds import kind_of
from sclvlm.screening import Screen
from sclvlm.sections import NamedModel
from sclvlm.storage import count_records, read_records
from sclvlm.suites import is_suite, place_of, suite_samples


def check_inputs(config: Config, names: Iterable[str]) -> None:
    """Everything the stages `names` read from outside the run.

    Raises ConfigError for what the config names and isn't there, SclvlmError for what is wrong inside a file.
    """
    stages = set(names)
    for key in sorted({key for name in stages for key in READS[name][0]}):
        _check_exists(f"data.{key}", getattr(config.data, key))
    for name in ("infer", "evaluate"):
        if name in stages:
            _check_prompts(getattr(config, name))
            _check_server(name, getattr(config, name), trains=config.train is not None)
    if _loads_model(config, stages):
        _check_model(config)
    if config.evaluate is not None and "evaluate" in stages:
        _check_named(config, config.evaluate)
    if config.train is not None and "train" in stages:
        _check_arguments(config.train.args)
        _check_objective(config.train)
        _check_watching(config)
    _check_records(config, stages)


def _check_exists(key: str, path: str | None) -> None:
    if path is not None and not Path(path).is_file():
        raise ConfigError(f"{key}: {path} does not exist. Make it first, or name another file.")


def _check_prompts(ask: AskSection) -> None:
    load_prompt("initial", ask.initial, ask.marker)
    load_prompt("review", ask.review, ask.marker)


def _check_server(name: str, ask: AskSection, *, trains: bool) -> None:
    """What can be told before it is asked: `evaluate` may ask one that is started once there is something trained."""
    if ask.engine != "server":
        return
    from sclvlm.engines.addresses import api_key, base_url

    if not ask.server.urls:
        raise ConfigError(f"{name}.server.urls: name where a server answers, such as [http://localhost:8000/v1].")
    for url in ask.server.urls:
        base_url(url)
    api_key(ask.server.api_key_env)
    if name == "evaluate" and trains and ask.server.trained is None:
        raise ConfigError(
            "evaluate.server.trained: name by which the servers will serve what train makes, such as the name of its "
            "adapter (docs/servers.md): evaluate compares it with what there was before."
        )


def _loads_model(config: Config, stages: set[str]) -> bool:
    asks = [getattr(config, name) for name in ("infer", "evaluate") if name in stages]
    return "train" in stages or any(ask.engine != "server" for ask in asks)


def _check_model(config: Config) -> None:
    from sclvlm.models import check_model_path, resolve_device
    from sclvlm.models.quantization import check_quantization

    check_model_path(config.model.path)
    check_quantization(config.model.quantization, resolve_device(config.model.device))
    adapter = config.model.adapter
    if adapter is not None and not (Path(adapter) / "adapter_config.json").is_file():
        raise ConfigError(f"model.adapter {adapter!r}: no adapter_config.json there. Name a directory peft wrote.")


def _check_named(config: Config, evaluate: EvaluateSection) -> None:
    for name, entry in evaluate.models.items():
        try:
            _check_prompts(asked_of(entry, evaluate))
            other = entry.path is not None or entry.adapter is not None
            if evaluate.engine == "server":
                _check_served(entry, other=other)
            elif other:
                _check_model(config.model_copy(update={"model": model_named(entry, config.model)}))
        except ConfigError as error:
            raise ConfigError(f"evaluate.models.{name}: {error}") from None


def _check_served(entry: NamedModel, *, other: bool) -> None:
    if other and entry.served is None:
        raise ConfigError("served: say by which name the servers serve it.")


def _check_objective(settings: TrainSection) -> None:
    from sclvlm.training import objective_of

    objective_of(settings)


def _check_watching(config: Config) -> None:
    from sclvlm.trainer.watching import check_watching

    assert config.train is not None, "checked for a config that trains"
    held_out = config.data.held_out is not None or config.train.held_out_share > 0
    check_watching(config.train, held_out=held_out)


def _check_arguments(args: dict[str, Any]) -> None:
    from transformers import TrainingArguments

    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    if unknown := sorted(args.keys() - known):
        raise ConfigError(
            f"train.args.{unknown[0]}: transformers' TrainingArguments knows no such argument. Remove or rename it."
        )


def _check_records(config: Config, stages: set[str]) -> None:
    """Each data file once: every line, and every image that will be opened."""
    asked = {"samples": ("infer", config.infer), "test": ("evaluate", config.evaluate)}
    for key, (name, ask) in asked.items():
        path = getattr(config.data, key)
        if path is None or not any(key in READS[stage][0] for stage in stages):
            continue
        samples, missing = read_samples(path), list[_Missing]()
        for sample in islice(samples, ask.limit) if ask and name in stages else ():
            if name == "evaluate":
                check_judged_in(Path(path), sample)
            if ask and ask.max_failed_share == 0:
                missing += _missing_images([sample])
        for _ in samples:  # the other lines are only read
            pass
        _check_missing(Path(path), missing)
    for file in (config.data.pairs, config.data.held_out) if "train" in stages else ():
        if file is not None:
            _check_images(Path(file), _training_records(Path(file), strict=config.data.strict))


def check_judged_in(path: Path, sample: Sample) -> None:
    """Raise SclvlmError naming the file where a sample of `path` lacks what its answer will be judged by."""
    from sclvlm.metrics.official import check_judged

    try:
        check_judged(sample)
    except SclvlmError as error:
        lacking = str(error).removeprefix(f"sample {sample.id!r}: ")
        raise SclvlmError(
            f"{place_of(sample, path)} could not be judged: {lacking} Mend the sample, or take it out."
        ) from None


@dataclasses.dataclass(frozen=True)
class SampleFile:
    """The first `limit` samples of a file or suite, all without one, read anew each time they are gone through."""

    path: Path
    limit: int | None = None

    def __iter__(self) -> Iterator[Sample]:
        return islice(_samples(self.path), self.limit)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        count = sum(1 for _ in self) if is_suite(str(self.path)) else count_records(self.path)
        return count if self.limit is None else min(count, self.limit)


def read_samples(path: str) -> Iterator[Sample]:
    """The samples of a file, or of a suite.

    Raises SclvlmError for a broken line, and at the end for an id that stands twice.
    """
    ids = array("Q")
    for sample in _samples(Path(path)):
        ids.append(hashed(sample.id))
        yield sample
    if twice := repeated(ids):
        name = next(sample.id for sample in _samples(Path(path)) if hashed(sample.id) in twice)
        raise SclvlmError(f"{path}: id {name!r} stands twice. Every record needs an id of its own.")


def _samples(path: Path) -> Iterator[Sample]:
    return suite_samples(path) if is_suite(str(path)) else read_records(path, Sample)


def _training_records(
    path: Path, *, strict: bool
) -> Iterator[Sample | PreferencePair | Demonstration | UnpairedCompletion]:
    return read_records(path, kind_of(path), skip=Screen(strict).skips)


_Missing = tuple[str, str]  # the record's id and the image


def _check_images(path: Path, records: Iterable[Sample | PreferencePair | Demonstration | UnpairedCompletion]) -> None:
    _check_missing(path, _missing_images(records))


def _missing_images(
    records: Iterable[Sample | PreferencePair | Demonstration | UnpairedCompletion],
) -> list[_Missing]:
    return [(record.id, image) for record in records for image in record.images if not os.path.isfile(image)]


def _check_missing(path: Path, missing: list[_Missing]) -> None:
    if missing:
        name, image = missing[0]
        raise SclvlmError(
            f"{path}: images are missing ({len(missing)}), the first is {image} of record {name!r}. "
            "Put them there, or remove the records that name them."
        )
