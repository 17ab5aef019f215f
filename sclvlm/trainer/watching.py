"""What held-out records decide: when training is measured, when it ends, and which of its steps is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments

from sclvlm.config import TrainSection
from sclvlm.errors import ConfigError

SMALL_IS_GOOD = ("loss", "nll")


def check_watching(settings: TrainSection, *, held_out: bool) -> None:
    """Raise ConfigError for a setting that measures on held-out records when there are none, or never measures."""
    args = settings.args
    wanting = {
        "train.args.eval_strategy": args.get("eval_strategy") not in (None, False, "no"),  # YAML reads no as false
        "train.args.load_best_model_at_end": bool(args.get("load_best_model_at_end")),
        "train.args.eval_on_start": bool(args.get("eval_on_start")),
        "train.early_stopping": settings.early_stopping is not None,
        "train.stop_at": bool(settings.stop_at),
    }
    asked = [key for key, wanted in wanting.items() if wanted]
    if asked and not held_out:
        raise ConfigError(
            f"{asked[0]}: measures on held-out records, and there are none. Name a file in data.held_out, or set "
            "train.held_out_share, the share of the training file to set apart."
        )
    if len(asked) > wanting["train.args.eval_on_start"] and args.get("eval_strategy") == "no":
        raise ConfigError(
            f"{asked[0]}: needs evaluations, and train.args.eval_strategy is no. Set it to steps or epoch, or remove "
            "it: held-out records are then measured once an epoch."
        )
    if settings.early_stopping is None and settings.early_stopping_threshold:
        raise ConfigError("train.early_stopping_threshold: read by train.early_stopping alone. Set that, too.")


def watching_arguments(settings: TrainSection, own: Mapping[str, Any], *, held_out: bool) -> dict[str, Any]:
    """Defaults of train.args that follow from what else is asked for: held-out records are measured once an epoch.

    The best step can be kept only if it was saved, so saving keeps pace with measuring where one asks for that.
    own: the defaults of all other arguments.
    """
    if not held_out:
        return {}
    args = {**own, "eval_strategy": "epoch", **settings.args}
    found = {
        "eval_strategy": args["eval_strategy"],
        "per_device_eval_batch_size": args["per_device_train_batch_size"],
    }
    keeps = bool(args.get("load_best_model_at_end"))
    if keeps and settings.args.keys().isdisjoint({"save_strategy", "save_steps"}):
        found |= {"save_strategy": args["eval_strategy"], "save_steps": args.get("eval_steps", args["logging_steps"])}
    if keeps or settings.early_stopping is not None or "metric_for_best_model" in args:
        best = args.get("metric_for_best_model", "loss")
        found |= {"metric_for_best_model": best, "greater_is_better": not small_is_good(best)}
    return found


def check_best_is_saved(arguments: TrainingArguments) -> None:
    """Raise ConfigError where the best step may lie between two checkpoints and could not be written."""
    by_steps = arguments.save_strategy == arguments.eval_strategy == "steps"
    if arguments.load_best_model_at_end and by_steps and arguments.save_steps != arguments.eval_steps:
        raise ConfigError(
            f"train.args.load_best_model_at_end: saved every {arguments.save_steps} steps and measured every "
            f"{arguments.eval_steps}, so the best step may not be there. Give save_steps and eval_steps one value, "
            "or set save_strategy to best."
        )


def small_is_good(metric: str) -> bool:
    """Whether a figure gets better by falling: losses and negative log-likelihoods do."""
    return metric.rsplit("/", 1)[-1].removeprefix("eval_") in SMALL_IS_GOOD


def watchers(settings: TrainSection) -> list[TrainerCallback]:
    """The callbacks that end training as `settings` ask."""
    found: list[TrainerCallback] = [BestMetric()]
    if settings.early_stopping is not None:
        found.append(Patience(settings.early_stopping, settings.early_stopping_threshold))
    if settings.stop_at:
        found.append(StopAt(settings.stop_at))
    return found


class Patience(EarlyStoppingCallback):  # type: ignore[misc]
    """transformers' early stopping, that goes on counting where a killed run had stopped."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the count from the checkpoint, if there is one."""
        kept = state.stateful_callbacks.get(type(self).__name__, {})
        self.early_stopping_patience_counter = kept.get("attributes", {}).get("early_stopping_patience_counter", 0)


class BestMetric(TrainerCallback):  # type: ignore[misc]
    """Says at the first evaluation what could be chosen by, if train.args.metric_for_best_model is not among it."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **_: Any) -> None:
        """Look the name up."""
        if args.metric_for_best_model is not None:
            _value(args.metric_for_best_model, metrics, "train.args.metric_for_best_model")


class StopAt(TrainerCallback):  # type: ignore[misc]
    """Ends training at the first evaluation whose figures have all reached their targets.

    targets: by name, with or without eval_. Losses and negative log-likelihoods reach theirs from above, all other
    figures from below.
    """

    def __init__(self, targets: Mapping[str, float]) -> None:
        self.targets = targets

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **_: Any) -> None:
        """Compare; raises ConfigError for a name that is not measured."""
        if all(self._reached(name, target, metrics) for name, target in self.targets.items()):
            control.should_training_stop = True

    def _reached(self, name: str, target: float, metrics: Mapping[str, float]) -> bool:
        value = _value(name, metrics, "train.stop_at")
        return value <= target if small_is_good(name) else value >= target


def _value(name: str, metrics: Mapping[str, float], key: str) -> float:
    name = name if name.startswith("eval_") else f"eval_{name}"
    if name not in metrics:
        raise ConfigError(f"{key}: {name} is not measured. Name one of {', '.join(sorted(metrics))}.")
    return metrics[name]
