"""HyPO beside DPO: `python -m benchmarks.hypo configs/vlm_hypo.yaml [section.key=value ...]`

Runs the config as it is, and once more beside it with train.loss_options.kl_weight=0, which trains as DPO does; what
is done already is not repeated. Then either tuned model answers the first-turn prompts of its test questions itself,
as in training (train.online), and both it and the model that the run began with score what it said: the mean
log-ratio estimates KL(tuned || reference), in nats an answer up to its longest length. Both models answer with the same
random numbers. Accuracies are those of the first turn, greedy, of the questions that the report's headline is about.

Intervals are 95 %: of accuracies by a paired bootstrap over pictures, of KL normal, clustered by picture.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sclvlm.collation import Collator, cut, logps, moved
from sclvlm.config import AskSection, Config, TrainSection, load_config
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.losses import sampled_kl
from sclvlm.metrics import Comparison, Interval
from sclvlm.models import load_policy, scoring
from sclvlm.pipeline import run_stages
from sclvlm.preflight import read_samples
from sclvlm.progress import progress
from sclvlm.prompts import initial_message, load_prompt
from sclvlm.questions import trained_model
from sclvlm.records import Demonstration, GradedTrace, Sample, text_message
from sclvlm.rendering import Renderer
from sclvlm.reporting import build_report
from sclvlm.reporting.wording import percent, points, range_of
from sclvlm.rollouts import Rollouts
from sclvlm.storage import read_records

NORMAL = 1.959964  # standard errors to either side that hold 95 %
DPO = "train.loss_options.kl_weight=0"


class Mean(NamedTuple):
    """A mean with its 95 % interval."""

    value: float
    interval: Interval

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.interval.low:.2f}, {self.interval.high:.2f}]".replace("-", "−")


def clustered_mean(values: Sequence[float], clusters: Sequence[str]) -> Mean:
    """The mean of `values`, whose errors are independent between `clusters` alone; of one cluster without bounds."""
    mean = float(np.mean(values))
    sums: dict[str, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] += value - mean
    count = len(sums)
    spread = sum(each**2 for each in sums.values()) * count / (count - 1) if count > 1 else math.inf
    reach = NORMAL * math.sqrt(spread) / len(values)
    return Mean(mean, Interval(mean - reach, mean + reach))


class Sides(NamedTuple):
    """The config as it is, and as DPO; and the two of its sections that are read here."""

    hypo: Config
    dpo: Config
    train: TrainSection
    ask: AskSection


def sides(path: Path, overrides: Sequence[str]) -> Sides:
    """Both configs. Raises ConfigError for one that does not train with hypo, or evaluates nothing."""
    config = load_config(path, list(overrides))
    if config.train is None or config.train.loss != "hypo" or config.evaluate is None:
        raise ConfigError(f"{path}: HyPO is compared with DPO on test questions: set train.loss to hypo, and evaluate.")
    dpo = load_config(path, [*overrides, DPO, f"run.dir={config.run.dir}-dpo"])
    return Sides(config, dpo, config.train, config.evaluate)


def divergences(config: Config, train: TrainSection, ask: AskSection, samples: Sequence[Sample]) -> list[float]:
    """KL(tuned || reference) on each of `samples`, estimated by what the run's tuned model says to it."""
    tuned, reference = (load_policy(**each.model_dump()) for each in (trained_model(config, train), config.model))
    rollouts = Rollouts(Collator(Renderer(tuned)), **train.online.model_dump(), seed=config.run.seed)
    prompt, found = load_prompt("initial", ask.initial), []
    with progress("sample", len(samples)) as advance:
        for batch in cut(samples, ask.batch_size):
            records = [
                Demonstration(
                    id=sample.id,
                    prompt=[initial_message(prompt, sample)],
                    completion=[text_message("assistant", sample.answer)],
                    images=sample.images,
                )
                for sample in batch
            ]
            said = rollouts(moved(rollouts.asked(records), tuned.device), [each.id for each in records], 0).batch
            sums = []
            for policy in (tuned, reference):
                with scoring(policy.model):
                    sums.append(logps(policy.model, said).sums)
            found += sampled_kl(*sums).tolist()
            advance(len(batch))
    return found


def graded(config: Config, which: str) -> list[GradedTrace]:
    """What the run's evaluation found before or after training."""
    return list(read_records(config.folder / "evaluate" / which / "graded.jsonl", GradedTrace))


def compared(samples: Sequence[Sample], before: Sequence[GradedTrace], after: Sequence[GradedTrace]) -> Comparison:
    """The first turn of the headline's questions."""
    report = build_report(title="", samples={each.id: each for each in samples}, before=before, after=after)
    return report.main.comparison("first")


def gain(comparison: Comparison) -> str:
    """`+6.9 [+3.1, +10.8]`, in points."""
    return f"{points(comparison.difference)} {range_of(comparison.interval, signed=True)}"


def table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Columns wide enough for what is in them."""
    head = ("", "accuracy", "points", "KL to the reference, nats")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )


def main(path: Path, overrides: Sequence[str]) -> str:
    """Run both sides and say what came of them."""
    hypo_run, dpo_run, train, ask = sides(path, overrides)
    runs = (hypo_run, dpo_run)
    for config in runs:
        run_stages(config, config.stages)
    samples = list(islice(read_samples(str(hypo_run.data.test)), ask.limit))
    clusters = [sample.cluster for sample in samples]
    hypo_kl, dpo_kl = (divergences(config, train, ask, samples) for config in runs)
    before, hypo, dpo = graded(hypo_run, "before"), *(graded(config, "after") for config in runs)
    to_dpo, to_hypo, apart = (compared(samples, *each) for each in ((before, dpo), (before, hypo), (dpo, hypo)))
    difference = clustered_mean([a - b for a, b in zip(hypo_kl, dpo_kl, strict=True)], clusters)
    return table(
        [
            ("before", percent(to_dpo.before.value), "", ""),
            ("DPO", percent(to_dpo.after.value), gain(to_dpo), str(clustered_mean(dpo_kl, clusters))),
            ("HyPO", percent(to_hypo.after.value), gain(to_hypo), str(clustered_mean(hypo_kl, clusters))),
            ("HyPO - DPO", "", gain(apart), str(difference)),
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    arguments = parser.parse_args()
    try:
        print(main(arguments.config, arguments.overrides))
    except SclvlmError as error:
        raise SystemExit(f"error: {error}") from None
