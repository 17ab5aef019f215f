"""The preference stage: pairs in, an adapter or a model out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainingArguments

from sclvlm.collation import PromptBatch
from sclvlm.collators import Collates, laid_out, plain_collator
from sclvlm.config import ModelSection, TrainSection
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.fingerprints import weights_hash
from sclvlm.launch import is_main
from sclvlm.losses import NEEDS_KL
from sclvlm.models import Policy, computing_dtype, load_policy
from sclvlm.models.saving import write_model
from sclvlm.objective import Objective
from sclvlm.processes import told, wait
from sclvlm.progress import Advance, console, progress
from sclvlm.records.mismatches import labels_of
from sclvlm.references import reference_logps
from sclvlm.rollouts import Rollouts, rollouts_of
from sclvlm.screening import Screen
from sclvlm.storage import describe, remove_folder, write_json
from sclvlm.trainer import PreferenceTrainer
from sclvlm.trainer.batching import TokenBatchSampler
from sclvlm.trainer.joining import check_checkpoint, join
from sclvlm.trainer.records import (
    Fitting,
    check_estimate,
    fitting_records,
    mismatched,
    split_records,
    token_batches,
    write_counts,
)
from sclvlm.trainer.watching import check_best_is_saved, watchers, watching_arguments
from sclvlm.tuning import Lora, frozen_copy, tune

OWN_ARGUMENTS = {
    "logging_steps": 10,
    "save_steps": 20,
    "save_total_limit": 1,
    "learning_rate": 5e-5,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 8,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.03,
    "max_grad_norm": 1.0,
    "report_to": "none",
}


def train(
    pairs: Path,
    folder: Path,
    *,
    model: ModelSection,
    settings: TrainSection,
    seed: int,
    held_out: Path | None = None,
    strict: bool = False,
) -> None:
    """Fine-tune `model` on `pairs`; write `folder`/history.json and /adapter, or /model where no adapter holds all.

    With train.merge there is /model too.

    held_out: records to measure on. strict: a record that conflicts with itself is an error, and not left out. A run
    that was killed goes on from its last whole checkpoint.
    """
    join(model.device)
    torch.manual_seed(seed)  # fresh adapters are random
    objective = objective_of(settings)
    screen = Screen(strict)
    records = split_records(pairs, held_out, settings, seed, screen)
    policy = load_policy(**{**model.model_dump(), "adapter": None})
    arguments = _arguments(folder / "checkpoints", settings, policy, seed, held_out=bool(records.held_out))
    adapted = _tuned(policy, settings, model.adapter)
    plain = plain_collator(
        adapted, settings.features, [*records.training, *records.held_out], limit_gb=settings.features_gb
    )
    fitting, apart = (fitting_records(side, plain, settings.max_length, screen) for side in records)
    if is_main():
        write_counts(folder / "data.json", fitting, apart, screen)
    if objective.loss in NEEDS_KL:
        check_estimate(arguments)
        fitting, apart = mismatched([fitting, apart], plain, settings.max_length, seed)
    collator = laid_out(plain, settings.layout, fitting.kept)
    scored = objective.needs_reference and settings.reference == "cached"
    score = _scorer(collator, folder / "reference.jsonl", arguments, model, settings) if scored else _unscored
    rollouts = rollouts_of(collator, settings.online, seed) if objective.needs_samples else None
    train_set, held_out_set = score(fitting), score(apart) if apart.kept else None
    trainer = PreferenceTrainer(
        model=adapted.model,
        args=arguments,
        train_dataset=train_set,
        eval_dataset=held_out_set,
        lengths=fitting.lengths,
        labels=labels_of(fitting.kept) or None,
        batches=token_batches(fitting, collator.layout == "shared", settings, seed),
        data_collator=partial(_collated, collator, rollouts),
        rollouts=rollouts,
        objective=objective,
        surplus_weight=settings.surplus_weight,
        reference_model=_reference_model(adapted.model, settings, model.adapter, objective),
        company=_company(train_set, held_out_set),
    )
    for watcher in watchers(settings) if apart.kept else []:
        trainer.add_callback(watcher)
    checkpoint = told(last_checkpoint(folder / "checkpoints"))
    check_checkpoint(checkpoint)
    _train_with_progress(trainer, checkpoint)
    weights = trainer.whole_weights()
    if is_main():
        write_json(folder / "history.json", trainer.state.log_history)
        _write_trained(adapted, weights, folder, model, settings)
        remove_folder(folder / "checkpoints")
    wait()


def _write_trained(
    policy: Policy, weights: Mapping[str, Any] | None, folder: Path, model: ModelSection, settings: TrainSection
) -> None:
    """weights: all that the policy has, if its own are shards of them."""
    if settings.writes_adapter:
        policy.model.save_pretrained(folder / "adapter", state_dict=weights)
        if settings.merge:
            merge(model, folder / "adapter", folder / "model")
        return
    if weights is not None:
        plainly = {"adapter": None, "dtype": str(computing_dtype(policy.model)).removeprefix("torch."), "device": "cpu"}
        policy = _tuned(load_policy(**{**model.model_dump(), **plainly}), settings, model.adapter)
        policy.model.load_state_dict(weights)
    write_model(policy.model, policy.processor, folder / "model")


def objective_of(settings: TrainSection) -> Objective:
    """What `settings` ask to minimise. Raises ConfigError for an option that the loss does not have."""
    return Objective(
        loss=settings.loss,
        beta=settings.beta,
        options=settings.loss_options,
        loss_weight=settings.loss_weight,
        nll_weight=settings.nll_weight,
        wpo=settings.pair_weights == "wpo",
    )


def origin(model: ModelSection) -> str:
    """What tells the scores of one model from those of another: its source, its weights, its number type."""
    folders = [Path(path) for path in (model.path, model.adapter) if path]
    described = model.model_dump_json(include={"path", "revision", "adapter", "dtype", "quantization"})
    return " ".join([described, *(weights_hash(folder) or "" for folder in folders)])


def _tuned(policy: Policy, settings: TrainSection, adapter: str | None) -> Policy:
    asked = settings.lora
    lora = None
    if asked is not None:
        lora = Lora(asked.rank, asked.alpha, asked.dropout, asked.targets, asked.dora, asked.rslora)
    return Policy(tune(policy.model, lora, **settings.ways, adapter=adapter), policy.processor, policy.ref)


def _reference_model(model: Any, settings: TrainSection, adapter: str | None, objective: Objective) -> Any | None:
    """A copy of the policy as it begins, if there will be need of one: fresh adapters can be switched off instead.

    What the policy will say itself can't be scored before.
    """
    live = (settings.reference == "live" or objective.needs_samples) and objective.needs_reference
    fresh = settings.writes_adapter and adapter is None
    return frozen_copy(model) if live and not fresh else None


def _arguments(folder: Path, settings: TrainSection, policy: Policy, seed: int, *, held_out: bool) -> TrainingArguments:
    """train.args over our defaults; what the stage itself decides can't be set there."""
    decided = {
        "output_dir": str(folder),
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "seed": seed,
        "use_cpu": policy.device.type == "cpu",
        "dataloader_pin_memory": policy.device.type != "cpu",
        "bf16": policy.model.dtype is torch.bfloat16,
        "fp16": policy.model.dtype is torch.float16,
    }
    # Not all layers of an image encoder need to have a part in what the projector reads of it.
    pictures = {"ddp_find_unused_parameters": {settings.projector, settings.vision} != {"frozen"}}
    if taken := sorted(decided.keys() & settings.args.keys()):
        raise ConfigError(f"train.args.{taken[0]}: set by the training stage itself. Remove it.")
    given = {key: _checked(key, value) for key, value in settings.args.items()}
    watched = watching_arguments(settings, OWN_ARGUMENTS, held_out=held_out)
    try:
        arguments = TrainingArguments(**{**OWN_ARGUMENTS, **pictures, **watched, **given, **decided})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"train.args: {error}") from None
    check_best_is_saved(arguments)
    return arguments


def _checked(key: str, value: Any) -> Any:
    """`value` in the type that TrainingArguments declares for `key`, and does not check itself."""
    hints = get_type_hints(TrainingArguments)
    if key not in {field.name for field in fields(TrainingArguments) if field.init}:
        near = get_close_matches(key, hints, n=3)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"train.args.{key}: transformers' TrainingArguments has no such argument.{meant}")
    try:
        return TypeAdapter(hints[key]).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"train.args.{key}: {describe(error)}.") from None


class _Example(NamedTuple):
    """A training record, and what the reference gives its completions if that was scored before."""

    record: Any
    ref_logps: tuple[float, ...] | None


class _Examples(torch.utils.data.Dataset[_Example]):
    """What the Trainer indexes; the collator does the work."""

    def __init__(self, records: Sequence[Any], references: Sequence[tuple[float, ...] | None]) -> None:
        self.records, self.references = records, references

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> _Example:
        return _Example(self.records[index], self.references[index])


def _unscored(part: Fitting) -> _Examples:
    return _Examples(part.kept, [None] * len(part.kept))


def _scorer(
    collator: Collates, file: Path, arguments: TrainingArguments, model: ModelSection, settings: TrainSection
) -> Callable[[Fitting], _Examples]:
    """What gives records the log-probabilities of the reference, scored before; the model is hashed here, once."""
    scored = partial(
        reference_logps,
        file,
        collator=collator,
        origin=origin(model),
        batch_size=arguments.per_device_train_batch_size,
        surplus_weight=settings.surplus_weight,
    )
    return lambda part: _Examples(part.kept, scored(part.kept, part.lengths))


def _company(*parts: _Examples | None) -> _Example:
    """The first example with pictures, if any has some, else the first of all."""
    examples = [part[index] for part in parts if part is not None for index in range(len(part))]
    return next((each for each in examples if each.record.images), examples[0])


def _collated(collator: Collates, rollouts: Rollouts | None, examples: Sequence[_Example]) -> PromptBatch:
    batch = collator([example.record for example in examples])
    if rollouts is not None:
        batch["asked"] = rollouts.asked([example.record for example in examples])
    scored = [example.ref_logps for example in examples if example.ref_logps is not None]
    return {**batch, "ref_logps": torch.tensor(scored)} if scored else batch


def _train_with_progress(trainer: PreferenceTrainer, checkpoint: str | None) -> None:
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    callback = _Progress()
    trainer.add_callback(callback)
    with callback.line, _memory_told(trainer.args, trainer.batches):  # the line is closed also when training fails
        trainer.train(resume_from_checkpoint=checkpoint)


@contextmanager
def _memory_told(args: TrainingArguments, batches: TokenBatchSampler | None) -> Iterator[None]:
    """What to lower when the memory does not suffice."""
    try:
        yield
    except RuntimeError as error:  # the CPU's allocator raises a bare one
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        size, steps = (
            f"args.per_device_train_batch_size={args.per_device_train_batch_size}",
            args.gradient_accumulation_steps,
        )
        size = f"tokens_per_batch={batches.budget.tokens}" if batches else size
        raise SclvlmError(
            f"out of memory in training, with train.{size}. Halve it and set "
            f"train.args.gradient_accumulation_steps={2 * steps}, which trains the same; or set "
            "train.args.gradient_checkpointing=true, or lower train.max_length."
        ) from error


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Steps on the progress line, figures beside it. The line begins with training and ends with `line`."""

    def __init__(self) -> None:
        self.line = ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._advance: Advance = self.line.enter_context(progress("train", state.max_steps, state.global_step))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._advance()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        shown = ("loss", "rewards/margins", "rewards/accuracies", "nll", "exact", "kl")
        for prefix, place in (("", ""), ("eval_", ", held out")):
            figures = ", ".join(f"{name} {logs[prefix + name]:.3f}" for name in shown if prefix + name in logs)
            if figures:
                console.print(f"  step {state.global_step}{place}: {figures}")


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: the Trainer writes its state file last."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def merge(model: ModelSection, adapter: Path, out: Path) -> None:
    """Write `model` with `adapter` folded in, in float32, as an ordinary model directory `out`."""
    plainly = {"dtype": "float32", "quantization": "none", "device": "cpu"}
    whole = load_policy(**{**model.model_dump(), "adapter": str(adapter), **plainly})
    write_model(whole.model, whole.processor, out)
