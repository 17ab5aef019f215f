"""The reference's log-probabilities of the training records: scored once, before the first step, and kept on disk.

The reference is the policy as it is before its first step, whatever it started from: a bare model, fresh adapters or
trained ones. A run that goes on from a checkpoint reads what was kept, so its reference is the one it began with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from pydantic import Field

from sclvlm.collation import Logps, cut, logps, moved
from sclvlm.collation import Record as TrainingRecord
from sclvlm.collators import Collates
from sclvlm.launch import count, index, is_main
from sclvlm.models import scoring
from sclvlm.processes import gathered, told
from sclvlm.progress import progress
from sclvlm.records import Record
from sclvlm.storage import RecordAppender, file_hash, read_records, repair_torn_line


class Reference(Record):
    """What the reference gives the completions of one training record, in nats, summed over tokens."""

    id: str
    key: str = Field(min_length=1)
    logps: tuple[float, ...] = Field(min_length=1)


def record_key(record: TrainingRecord, origin: str) -> str:
    """A hash of what decides the reference's log-probabilities of `record`: words, images' bytes, and `origin`."""
    digest = hashlib.sha256(origin.encode())
    words = {"prompt": True, "chosen": True, "rejected": True, "completion": True}
    digest.update(record.model_dump_json(include={**words, "record": words, "mate": True}).encode())
    for image in record.images:
        digest.update(file_hash(Path(image)).encode())
    return digest.hexdigest()[:24]


def reference_logps(
    path: Path,
    records: Sequence[TrainingRecord],
    lengths: Sequence[int],
    collator: Collates,
    *,
    origin: str,
    batch_size: int,
    surplus_weight: float = 1.0,
) -> list[tuple[float, ...]]:
    """The reference's logps of each of `records`: read from `path`, or scored now and appended to it.

    The collator's policy must be the reference, that is, not have made a step yet. lengths: of the records' longest
    rows in tokens. origin: a content hash of the model, its adapter and what else changes its scores.
    """
    known = told(_read(path) if is_main() else {})
    keys = [record_key(record, f"{origin} {surplus_weight}") for record in records]
    missing = sorted((i for i, key in enumerate(keys) if key not in known), key=lambda i: -lengths[i])
    if missing:
        scored = _scored(collator, records, list(cut(missing, batch_size)), surplus_weight)
        with (
            RecordAppender(path) if is_main() else nullcontext() as file,
            progress("reference", len(missing)) as advance,
        ):
            for i, sums in scored:
                known[keys[i]] = tuple(sums)
                if file is not None:
                    file.append(Reference(id=records[i].id, key=keys[i], logps=known[keys[i]]))
                advance(1)
    return [known[key] for key in keys]


def _scored(
    collator: Collates, records: Sequence[TrainingRecord], batches: Sequence[Sequence[int]], surplus_weight: float
) -> Iterator[tuple[int, list[float]]]:
    """Index and sums of each record in `batches`, which the processes share: each scores one, then all hear of all."""
    for round_ in cut(batches, count()):
        rows = round_[index()] if index() < len(round_) else ()
        sums = _score(collator, [records[i] for i in rows], surplus_weight).sums.tolist() if rows else []
        for found in gathered(list(zip(rows, sums, strict=True))):
            yield from found


def _read(path: Path) -> dict[str, tuple[float, ...]]:
    repair_torn_line(path)
    if not path.is_file() or not path.stat().st_size:
        return {}
    return {each.key: each.logps for each in read_records(path, Reference)}


def _score(collator: Collates, records: Sequence[TrainingRecord], surplus_weight: float) -> Logps:
    policy = collator.policy
    with scoring(policy.model):
        return logps(policy.model, moved(collator(records), policy.device), surplus_weight=surplus_weight)
