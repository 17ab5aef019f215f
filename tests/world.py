"""A whole run in small: a tiny model, questions it gets right and wrong, and the config of every stage."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from sclvlm.answers import extract
from sclvlm.engines import Opening
from sclvlm.engines.hf import HFEngine
from sclvlm.records import Sample, text_message
from sclvlm.storage import write_records
from tests import tiny

Sides = tuple[str, str]


def build(folder: Path, policy: Any) -> Path:
    """Write words.yaml, samples.jsonl and run.yaml for `policy` into `folder`: some refinements mend, some spoil."""
    colours = ["red", "blue", "lime", "yellow"]
    paths = [tiny.picture(folder / f"{name}.png", name, (4, 4, 9 * n + 9, 40)) for n, name in enumerate(colours)]
    openings = [(f"q{n}", f"question {n}?", paths[n % 4]) for n in range(32)]
    said = [_reply(policy, *opening) for opening in openings]
    write_records(
        folder / "samples.jsonl",
        [_sample(*opening, sides, n) for n, (opening, sides) in enumerate(zip(openings, said, strict=True))],
    )
    words = {"plain": {"initial": "{question}", "review": "again?"}}
    (folder / "words.yaml").write_text(yaml.safe_dump(words))
    ask = {"initial": f"{folder}/words.yaml:plain", "review": f"{folder}/words.yaml:plain"}
    ask |= {"max_new_tokens": 24, "batch_size": 1}  # figures differ in the last place between batch mates
    steps = {"max_steps": 8, "save_steps": 2, "logging_steps": 2}  # what was measured since a log dies with the process
    config = {
        "run": {"dir": "run"},
        "model": {"path": policy.ref.path, "attention": "eager", "device": "cpu", "dtype": "float32"},
        "data": dict.fromkeys(("samples", "test"), f"{folder}/samples.jsonl"),
        "infer": ask,
        "label": None,
        "train": {"args": {**steps, "per_device_train_batch_size": 2, "learning_rate": 1e-3}},
        "evaluate": ask,
        "report": {"resamples": 100},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


def _reply(policy: Any, name: str, question: str, picture: str) -> Sides:
    opening = Opening(name, 0, text_message("user", question, images=1), (picture,))
    engine = HFEngine(policy, seed=0, max_new_tokens=24)
    first, last = engine.converse([opening], [text_message("user", "again?")])[0]
    return (first.text, last.text)


def _sample(name: str, question: str, picture: str, said: Sides, number: int) -> Sample:
    """A question whose options are words out of the replies, so that there is something to read."""
    options = _options(said) or ("nothing", "else")
    answer = "AB"[number % 2]
    return Sample.model_validate(
        {
            "id": name,
            "images": [picture],
            "question": question,
            "kind": "choice",
            "choices": options,
            "answer": answer,
        }
    )


def _options(said: Sides) -> Sides | None:
    first, last = (sorted(set(re.findall(r"[A-Za-z]{2,}|[0-9]{2,}", text))) for text in said)
    for mended in last:
        for spoilt in first:
            read = [extract(text, kind="choice", choices=[mended, spoilt]).value for text in said]
            if read == ["B", "A"]:
                return (mended, spoilt)
    return None
