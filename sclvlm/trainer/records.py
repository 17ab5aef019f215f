"""The records of a training run: read, split, checked for length, told in data.json."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainingArguments

from sclvlm.collation import Size
from sclvlm.collators import Collates
from sclvlm.config import TrainSection
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.losses import NEEDS_KL, needs_pairs
from sclvlm.pictures import PictureError
from sclvlm.records import Demonstration, PreferencePair, UnpairedCompletion
from sclvlm.records.held_out import Split, hold_out, prompt_key
from sclvlm.records.kinds import kind_of
from sclvlm.records.mismatches import labels_of, mismatch
from sclvlm.screening import Screen, read_sound
from sclvlm.storage import write_json
from sclvlm.trainer.batching import TokenBatchSampler, TokenBudget
from sclvlm.trainer.watching import check_watching

log = logging.getLogger(__name__)

UNREADABLE = "unreadable picture"


class Fitting(NamedTuple):
    """Records that fit, and how long each one is."""

    kept: list[Any]
    sizes: list[Size]
    long: list[str]  # ids of those that don't fit

    @property
    def lengths(self) -> list[int]:
        """Of each one's longest row in tokens, images expanded."""
        return [sum(size) for size in self.sizes]


def split_records(pairs: Path, held_out: Path | None, settings: TrainSection, seed: int, screen: Screen) -> Split[Any]:
    """The records to train on, and those to measure on. Raises ConfigError for settings that ask for missing ones."""
    check_watching(settings, held_out=held_out is not None or settings.held_out_share > 0)
    records = hold_out(read_training_records(pairs, settings.loss, screen), settings.held_out_share, seed=seed)
    if held_out is not None:
        records = Split(records.training, list(read_training_records(held_out, settings.loss, screen)))
        _tell_of_known(records)
    if records.held_out:
        log.info("%d records to train on, %d held out", len(records.training), len(records.held_out))
    return records


def _tell_of_known(records: Split[Any]) -> None:
    """A share is set apart by whole prompts; a file of its own may ask what is trained on."""
    asked = {prompt_key(record) for record in records.training}
    if known := sum(prompt_key(record) in asked for record in records.held_out):
        log.warning("%d of %d held-out records have the prompt of one to train on", known, len(records.held_out))


def read_training_records(
    path: Path, loss: str, screen: Screen | None = None
) -> list[PreferencePair] | list[Demonstration] | list[UnpairedCompletion]:
    """The records of `path`: pairs, or for losses that need no rejected side demonstrations, for kto labelled ones.

    Such losses take a pair for a demonstration of its chosen side: the other would be computed for nothing. Records
    that conflict with themselves are noted in `screen` and left out. Raises SclvlmError for labelled completions where
    the loss reads no label.
    """
    screen, kind = screen or Screen(), kind_of(path)
    if kind is UnpairedCompletion:
        if loss not in NEEDS_KL:
            raise SclvlmError(
                f"{path}: holds completions with a label, of which train.loss={loss} reads none. Set train.loss to "
                f"{' or '.join(sorted(NEEDS_KL))}, or name another file."
            )
        return list(read_sound(path, UnpairedCompletion, screen))
    if not needs_pairs(loss) and kind is Demonstration:
        return list(read_sound(path, Demonstration, screen))
    pairs = list(read_sound(path, PreferencePair, screen))
    return pairs if needs_pairs(loss) else [_chosen_side(pair) for pair in pairs]


def _chosen_side(pair: PreferencePair) -> Demonstration:
    return Demonstration(
        id=pair.id,
        prompt=pair.prompt,
        completion=pair.chosen,
        images=pair.images,
        source=pair.source,
        weight=pair.weight,
        meta=pair.meta,
    )


def fitting_records(records: Sequence[Any], collator: Collates, max_length: int, screen: Screen) -> Fitting:
    """Records whose longest row fits; the others are dropped whole, since a cut image or answer teaches wrong.

    Those whose pictures can't be read are noted in `screen`.
    """
    sized = [(record, size) for record in records if (size := _size(record, collator, screen)) is not None]
    pairs = [(record, size) for record, size in sized if sum(size) <= max_length]
    long = [record.id for record, size in sized if sum(size) > max_length]
    if unreadable := len(records) - len(sized):
        log.warning("%d of %d records have pictures that can't be read and are left out", unreadable, len(records))
    if long:
        log.warning("%d of %d records are longer than train.max_length and left out", len(long), len(records))
    if records and not sized:
        raise SclvlmError(f"none of {len(records)} records has readable pictures. {screen.places[UNREADABLE][0]}")
    if records and not pairs:
        raise SclvlmError(f"all {len(sized)} records are longer than train.max_length={max_length}. Raise it.")
    return Fitting([record for record, _ in pairs], [size for _, size in pairs], long)


def _size(record: Any, collator: Collates, screen: Screen) -> Size | None:
    try:
        return collator.size(record)
    except PictureError as error:
        if screen.strict:
            raise SclvlmError(f"record {record.id!r}: {error}") from error
        screen.drop(f"{record.id}: {error}", UNREADABLE)
        return None


def check_estimate(arguments: TrainingArguments) -> None:
    """Raise ConfigError where kto would take one record for a mean."""
    if arguments.per_device_train_batch_size == 1:
        raise ConfigError(
            "train.args.per_device_train_batch_size: kto estimates the divergence from the reference as a mean over "
            "the records of a batch, and a batch of one has none to take it over. Set it to 2 or more."
        )


def mismatched(parts: Sequence[Fitting], collator: Collates, max_length: int, seed: int) -> Iterator[Fitting]:
    """The same with completions of other prompts, drawn from both parts: they are scored and not learnt."""
    records = [record for part in parts for record in part.kept]
    mixed = iter(mismatch(records, seed=seed, fits=lambda each: collator.length(each) <= max_length))
    for part in parts:
        kept = list(islice(mixed, len(part.kept)))
        yield Fitting(kept, [collator.size(record) for record in kept], part.long)


def token_batches(fitting: Fitting, shared: bool, settings: TrainSection, seed: int) -> TokenBatchSampler | None:
    """Batches that fill train.tokens_per_batch, if it is set. shared: whether rows hold all completions of a prompt."""
    if settings.tokens_per_batch is None:
        return None
    count = len(fitting.kept[0].completions)
    most = settings.args.get("per_device_train_batch_size")
    budget = TokenBudget(settings.tokens_per_batch, count, shared and count > 1, most)
    return TokenBatchSampler(fitting.sizes, budget, seed=seed, labels=labels_of(fitting.kept) or None)


def write_counts(file: Path, training: Fitting, watched: Fitting, screen: Screen) -> None:
    """Tell in `file` how many records there are to train on, which are too long, held out, or conflict, and where."""
    long = [*training.long, *watched.long]
    counts: dict[str, Any] = {"records": len(training.kept) + len(training.long), "too long": long}
    counts |= {"left out": screen.places} if screen.dropped else {}
    write_json(file, counts | ({"held out": [record.id for record in watched.kept]} if watched.kept else {}))
