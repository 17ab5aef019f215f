"""A suite: several benchmarks answered and judged as one run, each by its own official metric.

    benchmarks:
      MMStar: {samples: data/mmstar/samples.jsonl, limit: 200}

A config names it in place of a samples file: `data.test: benchmarks/suites/quick.yaml`. Paths in it are, as in the
config, relative to where the command is run. A sample's `meta.suite` is the entry it came by and its `meta.benchmark`
whose metric judges it; it stands under `<name>/<id>`, so that neither ids nor groups of different benchmarks meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations, islice
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sclvlm.errors import ConfigError
from sclvlm.records import Sample
from sclvlm.storage import describe, read_records

SUFFIXES = (".yaml", ".yml")
METRICS = frozenset(
    (
        *("mmbench", "mmstar", "seedbench", "mmtbench", "realworldqa", "scienceqa", "mmmu", "mathvista", "ai2d"),
        *("aokvqa", "vqav2", "okvqa", "textvqa", "pope", "mme", "hallusionbench", "chartqa", "docvqa", "infovqa"),
        *("infographicvqa", "mmevalpro", "blink", "nlvr", "nlvr2", "easyvqa", "blindtest", "puzzlevqa"),
    )
)
"""Benchmarks with an official metric, by their `benchmark_key`; the functions stand in `sclvlm.metrics.official`."""

_NO_LETTER = re.compile(r"[\W_]")


class Entry(BaseModel):
    """One benchmark of a suite."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: str
    """Its samples.jsonl."""
    metric: str = ""
    """Whose official metric judges it; by default its own, or where its name is no benchmark's, that of its samples."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only so many of its questions, the first ones."""

    @field_validator("metric")
    @classmethod
    def _is_known(cls, metric: str) -> str:
        if metric and benchmark_key(metric) not in METRICS:
            raise ValueError(f"expected one of {', '.join(sorted(METRICS))}, got {metric!r}")
        return metric


class Suite(BaseModel):
    """Benchmarks by name, in the order in which they are asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: dict[str, Entry] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Self:
        for one, other in combinations(self.benchmarks, 2):
            if spelled_alike(one, other):
                raise ValueError(f"{one!r} and {other!r} are one name but for case and marks: give one another name")
        return self


def benchmark_key(name: object) -> str:
    """`name` as METRICS lists it: letters and digits alone, lower case; empty for none."""
    return re.sub(r"[^a-z0-9]", "", str(name).casefold()) if name else ""


def spelled_alike(one: str, other: str) -> bool:
    """Whether two names differ in nothing but case, spaces and marks."""
    return _NO_LETTER.sub("", one.casefold()) == _NO_LETTER.sub("", other.casefold())


def is_suite(path: str) -> bool:
    """Whether a config's samples are those of a suite, by the ending of the file's name."""
    return path.endswith(SUFFIXES)


def load_suite(path: Path) -> Suite:
    """The suite in `path`. Raises ConfigError naming file, key, rule and what was found."""
    try:
        return Suite.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the suite: {error.strerror}.") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}. Expected benchmarks: NAME: {{samples: FILE}}.") from None


def suite_files(path: Path) -> list[Path]:
    """The samples files of a suite. Raises ConfigError for one that is missing, with how it is made."""
    files = {name: Path(entry.samples) for name, entry in load_suite(path).benchmarks.items()}
    for name, file in files.items():
        if not file.is_file():
            raise ConfigError(
                f"{path}: {name}: {file} does not exist. Make it (see data_pipelines/README.md), or take {name} "
                "out of the suite."
            )
    return list(files.values())


def place_of(sample: Sample, path: Path) -> str:
    """Where a sample of `path`, a file or a suite, is written: its file and its id there."""
    if not is_suite(str(path)):
        return f"{path}: sample {sample.id!r}"
    name = str(sample.meta["suite"])
    return f"{load_suite(path).benchmarks[name].samples}: sample {sample.id.removeprefix(f'{name}/')!r}"


def suite_samples(path: Path) -> Iterator[Sample]:
    """The questions of every benchmark, one after the other. Raises what `suite_files` and `read_records` raise."""
    suite_files(path)
    for name, entry in load_suite(path).benchmarks.items():
        file = Path(entry.samples)
        for sample in islice(read_records(file, Sample), entry.limit):
            yield sample.model_copy(update=_placed(sample, name, entry))


def _placed(sample: Sample, name: str, entry: Entry) -> dict[str, Any]:
    return {
        "id": f"{name}/{sample.id}",
        "group": f"{name}/{sample.group}" if sample.group else "",
        "meta": {**sample.meta, "benchmark": _metric(sample, name, entry), "suite": name},
    }


def _metric(sample: Sample, name: str, entry: Entry) -> str:
    own = "" if benchmark_key(name) in METRICS else str(sample.meta.get("benchmark") or "")
    return entry.metric or own or name
