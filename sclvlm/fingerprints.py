"""What decides the result of each stage, as a dictionary: when it changes, what was made is stale."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sclvlm.config import AskSection, Config, EvaluateSection
from sclvlm.named_models import asked_of
from sclvlm.prompts import load_prompt
from sclvlm.storage import file_hash
from sclvlm.suites import is_suite, suite_files

# They change how long it takes, not what comes out.
NEUTRAL = {"batch_size", "tokens_per_batch", "continue_cache", "max_failed_share", "server"}
SPOKEN = {"marker"}  # part of the prompts
SERVED = ("model", "trained", "extra")  # of the server section: the rest is where and how fast
BLOCK = 4096
DESCRIPTIONS = ("*.json", "*.jinja", "*.txt", "*.model")  # configs, tokenizer, chat template beside the weights

READS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # files of the data section, stages before
    "infer": (("samples",), ()),
    "label": (("samples",), ("infer",)),
    "train": (("pairs", "held_out"), ("label",)),
    "evaluate": (("test",), ("train",)),
    "report": (("test",), ("label", "train", "evaluate")),
}


def stages_before(config: Config, name: str) -> tuple[str, ...]:
    """The stages of `config` whose results stage `name` reads."""
    return tuple(stage for stage in READS[name][1] if getattr(config, stage) is not None)


def stage_inputs(config: Config, name: str) -> dict[str, Any]:
    """Everything that decides what stage `name` makes."""
    section = getattr(config, name).model_dump(mode="json")
    inputs: dict[str, Any] = {
        "seed": config.run.seed,
        name: {key: value for key, value in section.items() if key not in NEUTRAL | SPOKEN | {"models"}},
    }
    if name in ("infer", "evaluate"):
        inputs["prompts"] = prompt_hashes(getattr(config, name))
    if models := section.get("models"):
        inputs["models"] = {each: _named_facts(config.evaluate, each) for each in models}
    if name in ("infer", "evaluate") and section["engine"] == "server":
        inputs["served"] = {key: section["server"][key] for key in SERVED}
    elif name in ("infer", "train", "evaluate"):
        inputs["model"] = _model_facts(config)
    inputs |= {f"data.{file}": content_hash(getattr(config.data, file)) for file in READS[name][0]}
    return inputs | {f"{stage} stage": _digest(stage_inputs(config, stage)) for stage in stages_before(config, name)}


def weights_hash(folder: Path) -> str | None:
    """A quick content hash of a model directory: small files in full, of the weights sizes and 64 blocks a file.

    None for what is no local directory of weights, such as a hub id.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return None
    digest = hashlib.sha256()
    for path in weights:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(size // 64, BLOCK)):
                file.seek(start)
                digest.update(file.read(BLOCK))
    for path in sorted(path for pattern in DESCRIPTIONS for path in folder.glob(pattern)):
        digest.update(f"{path.name} {file_hash(path)}".encode())
    return digest.hexdigest()[:16]


def prompt_hashes(ask: AskSection) -> dict[str, str]:
    """Of the words of its prompts, by role. Raises what `load_prompt` raises."""
    spoken = {"initial": ask.initial, "review": ask.review}
    return {role: _digest(load_prompt(role, spec, ask.marker).words) for role, spec in spoken.items()}


def content_hash(path: str | None) -> str | None:
    """Of a file, of a suite that of itself and of its files; None where there is none. Raises as `suite_files` does."""
    if path and is_suite(path) and Path(path).is_file():
        return _digest([file_hash(file)[:16] for file in (Path(path), *suite_files(Path(path)))])
    return file_hash(Path(path))[:16] if path and Path(path).is_file() else None


def _named_facts(evaluate: EvaluateSection | None, name: str) -> dict[str, Any]:
    """Of what train makes only that it is that: the train stage stands for it."""
    assert evaluate is not None, "it names the model"
    entry = evaluate.models[name]
    weights = {key: weights_hash(Path(path)) for key in ("path", "adapter") if (path := getattr(entry, key))}
    said = entry.model_dump(mode="json", exclude_none=True, exclude=SPOKEN)
    return {**said, "prompts": prompt_hashes(asked_of(entry, evaluate)), "weights": weights}


def _model_facts(config: Config) -> dict[str, Any]:
    model = config.model
    return {
        **model.model_dump(include={"path", "revision", "adapter", "dtype", "quantization"}),
        "weights": weights_hash(Path(model.path)),
        "adapter weights": weights_hash(Path(model.adapter)) if model.adapter else None,
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
