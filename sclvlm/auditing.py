"""The audit of what a run trains on, against what it is tested on: figures, remarks, and a warning where it matters.

It advises; nothing that it finds or can't read ends a run.
"""

from __future__ import annotations

import json
import logging
import os
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from sclvlm.audit import Audit, concluded
from sclvlm.audit.overlap import Asked, measure_overlap, normalised
from sclvlm.audit.schema import Overlap, Twin
from sclvlm.audit.sides import measure_balance, measure_lengths
from sclvlm.audit.style import Sides, measure_shortcut
from sclvlm.config import Config
from sclvlm.errors import SclvlmError
from sclvlm.fingerprints import content_hash, prompt_hashes
from sclvlm.likeness import look, pixels
from sclvlm.preflight import read_samples
from sclvlm.prompts import initial_message, load_prompt
from sclvlm.records import Demonstration, Message, PreferencePair, UnpairedCompletion, message_text
from sclvlm.records.held_out import prompt_key
from sclvlm.records.kinds import kind_of
from sclvlm.screening import Screen
from sclvlm.storage import read_records

log = logging.getLogger(__name__)

Audited = PreferencePair | Demonstration | UnpairedCompletion

AGENT = "sclvlm_agent"
"""The model type of `agents.AgentConfig`."""

STYLED = 20_000
"""Pairs drawn for the classifier of style: its accuracy is then known to less than a point."""


def audit_run(config: Config, training: Path) -> Audit:
    """The audit of the records in the file `training` against the questions of data.test."""
    sides = _read_sides(_records(training), config.run.seed)
    return concluded(
        audited(config, training),
        overlap=_overlap(config, training),
        style=None if _acts(config) else measure_shortcut(sides.styled, of=sides.count, seed=config.run.seed),
        balance=measure_balance(sides.sources) if sides.count else None,
        lengths=measure_lengths(sides.chosen, sides.rejected),
    )


def audited(config: Config, training: Path) -> dict[str, str | int | None]:
    """What decides an audit, hashes and a limit: one that was made of the same holds still. None of what isn't read."""
    asked = config.evaluate
    return {
        "training": content_hash(str(training)),
        "test": _readable(lambda: content_hash(config.data.test)),
        "samples": _readable(lambda: content_hash(config.data.samples)) if _made(config) else None,
        "prompt": _readable(lambda: prompt_hashes(asked)["initial"]) if asked else None,
        "limit": asked.limit if asked else None,
    }


def _readable(hashed: Callable[[], str | None]) -> str | None:
    try:
        return hashed()
    except SclvlmError:  # the stage that reads it tells why
        return None


def audit_of(path: Path) -> Audit | None:
    """The audit in `path`; None where there is none, or one of another version."""
    if not path.is_file():
        return None
    try:
        return Audit.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError:
        log.info("%s: not an audit of this version", path)
        return None


def audit_kept(config: Config, training: Path, path: Path) -> Audit:
    """The audit in `path` if it was made of the same records and questions, else a new one, with its warning."""
    kept = audit_of(path)
    if kept is not None and kept.inputs == audited(config, training):
        return kept
    audit = audit_run(config, training)
    warn(audit)
    return audit


def warn(audit: Audit) -> None:
    """One warning with all that calls for something to be done, if there is any."""
    if told := [f"{remark.verdict} {remark.remedy}" for remark in audit.remarks if remark.warns]:
        log.warning("audit of the training records: %s", "\n".join(told))


@dataclass
class _AllSides:
    """Of all pairs the lengths and sources, of at most STYLED the texts."""

    count: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    chosen: array[int] = field(default_factory=lambda: array("q"))
    rejected: array[int] = field(default_factory=lambda: array("q"))
    styled: list[Sides] = field(default_factory=list)


def _records(training: Path) -> Iterator[Audited]:
    return read_records(training, kind_of(training), skip=Screen().skips)


def _read_sides(records: Iterable[Audited], seed: int) -> _AllSides:
    """The pairs among `records`. Which texts are kept is drawn by `seed` (Vitter 1985, ACM TOMS 11:37, algorithm R)."""
    draw, found = random.Random(seed), _AllSides()
    for pair in (record for record in records if isinstance(record, PreferencePair)):
        sides = Sides(_said(pair.chosen), _said(pair.rejected), str(prompt_key(pair)))
        found.chosen.append(len(sides.chosen))
        found.rejected.append(len(sides.rejected))
        found.sources[pair.source] += 1
        found.count += 1
        if len(found.styled) < STYLED:
            found.styled.append(sides)
        elif (place := draw.randrange(found.count)) < STYLED:
            found.styled[place] = sides
    return found


def _said(messages: list[Message]) -> str:
    return "\n".join(message_text(message) for message in messages if message["role"] == "assistant")


def _acts(config: Config) -> bool:
    """Whether the policy is an agent, whose completions are actions and have no style. Read without loading torch."""
    path = Path(config.model.path) / "config.json"
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("model_type") == AGENT)
    except (OSError, ValueError, AttributeError):
        return False


def _overlap(config: Config, training: Path) -> Overlap | None:
    """None where no test questions are named, and where they can't be read: the stage that asks them tells why."""
    if not config.data.test:
        return None
    try:
        found = measure_overlap(_taught(config, training), _tested(config), look=look, pixels=pixels)
    except SclvlmError as error:
        log.info("no overlap with test questions was measured: %s", error)
        return None
    folders = Path(config.data.test).absolute().parent, training.absolute().parent
    return found.model_copy(update={"twins": tuple(_portable(twin, *folders) for twin in found.twins)})


def _portable(twin: Twin, tested: Path, taught: Path) -> Twin:
    places = {"picture": os.path.relpath(twin.picture, tested), "training": os.path.relpath(twin.training, taught)}
    return twin.model_copy(update=places)


def _taught(config: Config, training: Path) -> Iterator[Asked]:
    """What each record asks: its sample's question where there are samples, else all its prompt says."""
    samples = read_samples(str(config.data.samples)) if _made(config) else ()
    questions = {sample.id: sample.question for sample in samples}
    for record in _records(training):
        text = questions.get(record.id) or _prompt_text(record.prompt)
        yield Asked(record.id, frozenset({normalised(text)}), record.images)


def _made(config: Config) -> bool:
    """Whether the training records were made of samples."""
    return config.label is not None and config.data.samples is not None


def _prompt_text(prompt: list[Message]) -> str:
    return "\n".join(message_text(message) for message in prompt if message["role"] == "user")


def _tested(config: Config) -> Iterator[Asked]:
    """Each test question, bare and as it is put to the model."""
    prompt = load_prompt("initial", config.evaluate.initial, config.evaluate.marker) if config.evaluate else None
    limit = config.evaluate.limit if config.evaluate else None
    for sample in islice(read_samples(str(config.data.test)), limit):
        wordings = {sample.question} | ({message_text(initial_message(prompt, sample))} if prompt else set())
        yield Asked(sample.id, frozenset(map(normalised, wordings)), sample.images)
