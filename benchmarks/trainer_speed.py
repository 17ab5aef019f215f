"""How fast do we train, against TRL's DPOTrainer and against the arithmetic? `python -m benchmarks.trainer_speed`

Scaled-down geometries of well-known models with random weights, real processors, image files on disk; LoRA on the
language model, everything else frozen, DPO, float32, the same pairs and batch size on both sides. Our side is
`sclvlm.training.train` with the settings in benchmarks/ours.py; TRL's are in benchmarks/peers.py, each with its
reason. Runs alternate in one process, and each starts from empty caches.

A first epoch counts everything that a user waits for, but loading: reading, lengths, tokenizing, filling caches,
TRL's precomputed reference. Peak memory is that of a process of its own, weights included, imports not (Linux).
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import transformers

from benchmarks import ours, peers
from benchmarks.floor import Floor
from benchmarks.geometries import Build, Sizes, build, idefics, llama, llava, qwen, write_pairs
from benchmarks.stopwatch import SHARES, Stopwatch, shares
from sclvlm import training
from sclvlm.models import load_policy
from sclvlm.references import reference_logps
from sclvlm.storage import write_json

EPOCHS = 3


@dataclass(frozen=True)
class Case:
    """A scaled-down geometry. `prompt` and `answer` are tokens of text, `photo` the side of the files in pixels."""

    make: Build
    sizes: Sizes
    prompt: int
    answer: int
    photo: int
    batch: int = 2


TEXT = Sizes(width=512, inner=1376, layers=2, vocabulary=1024, heads=8)
CASES: dict[str, Case] = {
    # 576 tokens a picture; the tower does a thirtieth of the language model's work on a row.
    "llava-1.5": Case(
        llava,
        Sizes(512, 1376, 2, 256, 8, tower_width=96, tower_inner=256, tower_layers=2, tower_heads=4, pixels=336),
        prompt=60,
        answer=64,
        photo=480,
    ),
    # 1024 tokens a picture from 4096 patches; the tower does three quarters of the language model's work on a row.
    "qwen2.5-vl-3b": Case(
        qwen,
        Sizes(320, 896, 2, 640, 5, tower_width=128, tower_inner=208, tower_layers=2, tower_heads=2, pixels=896),
        prompt=48,
        answer=64,
        photo=896,
    ),
    # 64 tokens a picture from 1024 patches, not split into tiles; the tower does thrice the language model's work.
    "smolvlm": Case(
        idefics,
        Sizes(320, 864, 2, 1536, 5, tower_width=192, tower_inner=576, tower_layers=4, tower_heads=3, pixels=512),
        prompt=60,
        answer=64,
        photo=512,
    ),
    "text-long-prompt": Case(llama, TEXT, prompt=512, answer=64, photo=0),
    "text-long-answers": Case(llama, TEXT, prompt=64, answer=512, photo=0),
}


class Run(NamedTuple):
    """Seconds a pair in the first epoch and over all of them, and seconds by what they were spent on."""

    first: float
    all: float
    seconds: dict[str, float]


def our_run(model: Path, pairs: Path, folder: Path, **arguments: Any) -> Stopwatch:
    """The training stage under a stopwatch."""
    watch = Stopwatch()
    with (
        watch.backward_watched(),
        patch.object(training, "load_policy", watch.loading(load_policy)),
        patch.object(training, "reference_logps", watch.counting("reference", reference_logps)),
    ):
        ours.train(model, pairs, folder, callbacks=[watch], **arguments)
    return watch


def trl_run(model: Path, pairs: Path, folder: Path, **arguments: Any) -> Stopwatch:
    """TRL's trainer under a stopwatch, from making it on."""
    peers.version()  # imports it
    watch = Stopwatch()
    with watch.backward_watched():
        policy = watch.loading(peers.load)(model)
        peers.trl_train(peers.trl_trainer(policy, pairs, folder, callbacks=[watch], **arguments))
    return watch


SIDES: dict[str, Callable[..., Stopwatch]] = {"ours": our_run, "trl": trl_run}


def result(watch: Stopwatch, pairs: int) -> Run:
    """What a stopwatch saw, a pair."""
    spent = {name: seconds for name, seconds in watch.seconds.items() if name in SHARES}
    return Run(watch.epochs[0] / pairs, watch.epochs[-1] / (pairs * len(watch.epochs)), spent)


def order(repeat: int) -> tuple[str, ...]:
    """The sides in turn, the first one changing, so that neither profits from going second."""
    return tuple(SIDES) if repeat % 2 == 0 else tuple(reversed(SIDES))


def measure(case: Case, folder: Path, *, steps: int, repeats: int) -> dict[str, Any]:
    """Everything about one case: see `summary`."""
    count = steps * case.batch
    model = build(case.make, folder / "model", case.sizes)
    text: dict[str, Any] = {"prompt": case.prompt, "answer": case.answer, "photo": case.photo}
    pairs = write_pairs(folder / "pairs", count, **text)
    warm = write_pairs(folder / "warm", case.batch, **text)
    arguments = {"per_device_train_batch_size": case.batch}
    for side, run in SIDES.items():
        run(model, warm, folder / f"warm-{side}", num_train_epochs=1, **arguments)
    floor = Floor(model, pairs, case.batch)
    floor.seconds()
    runs: dict[str, list[Run]] = {side: [] for side in SIDES}
    floors = []
    for repeat in range(repeats):
        for side in order(repeat):
            gc.collect()  # what the run before left behind is not this one's time
            watch = SIDES[side](model, pairs, folder / f"{side}-{repeat}", num_train_epochs=EPOCHS, **arguments)
            runs[side].append(result(watch, count))
        floors.append(floor.seconds())
        _say(f"  {repeat + 1}/{repeats}: " + ", ".join(f"{side} {each[-1].all:.3f}" for side, each in runs.items()))
    peaks = {side: peak_of(side, model, pairs, folder / f"peak-{side}", case.batch) for side in SIDES}
    return {"pairs": count, "batch": case.batch, **summary(runs, floors, peaks)}


def summary(runs: dict[str, list[Run]], floors: Sequence[float], peaks: dict[str, float]) -> dict[str, Any]:
    """Medians over repeats, in seconds a pair and MiB. Ratios are taken within a repeat, then their median."""
    sides = {side: {**_medians(each), "peak_mib": peaks[side]} for side, each in runs.items()}
    floor = statistics.median(floors)
    both = list(zip(runs["trl"], runs["ours"], strict=True))
    ratios = {name: [getattr(trl, name) / getattr(mine, name) for trl, mine in both] for name in ("first", "all")}
    return {
        **sides,
        "trl_over_ours": {name: statistics.median(each) for name, each in ratios.items()},
        "trl_over_ours_range": {name: [min(each), max(each)] for name, each in ratios.items()},
        "floor": floor,
        "ours_over_floor": {name: sides["ours"][name] / floor for name in ("first", "all")},
    }


def _medians(runs: Sequence[Run]) -> dict[str, Any]:
    spent: Counter[str] = Counter()
    for run in runs:
        spent.update(run.seconds)
    return {
        "first": statistics.median(run.first for run in runs),
        "all": statistics.median(run.all for run in runs),
        "shares": shares(spent),
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """The times, then where they go, a line a case."""
    width = max(map(len, results))
    times = [f"{'':{width}}  {'seconds a pair, first epoch / all':^35}  TRL/ours (range)        peak MiB   ours/floor"]
    times.append(f"{'case':{width}}  {'ours':>16}  {'TRL':>17}  {'first':>5} {'all':>17} {'ours/TRL':>14}  first   all")
    times += [_times(name, each, width) for name, each in results.items()]
    spent = [f"{'share of all epochs, %':{width + 6}}" + "".join(f"{name:>11}" for name in SHARES)]
    spent += [_spent(name, side, each[side], width) for name, each in results.items() for side in SIDES]
    return "\n".join([*times, "", *spent])


def _times(name: str, each: dict[str, Any], width: int) -> str:
    mine, trl, ratio, floor = each["ours"], each["trl"], each["trl_over_ours"], each["ours_over_floor"]
    low, high = each["trl_over_ours_range"]["all"]
    seconds = f"{mine['first']:7.3f} / {mine['all']:6.3f}  {trl['first']:8.3f} / {trl['all']:6.3f}"
    ratios = f"{ratio['first']:5.2f} {ratio['all']:5.2f} ({low:.2f}-{high:.2f})"
    peaks = f"{mine['peak_mib']:.0f}/{trl['peak_mib']:.0f}"
    return f"{name:{width}}  {seconds}  {ratios} {peaks:>14}  {floor['first']:5.2f} {floor['all']:5.2f}"


def _spent(name: str, side: str, each: dict[str, Any], width: int) -> str:
    return f"{name:{width}} {side:5}" + "".join(f"{100 * each['shares'][share]:11.1f}" for share in SHARES)


def peak_of(side: str, model: Path, pairs: Path, folder: Path, batch: int) -> float:
    """MiB by which a process of its own grows at most while `side` trains for one epoch, weights included."""
    command = [sys.executable, "-m", "benchmarks.trainer_speed", "--peak-of", side]
    command += ["--model", str(model), "--pairs", str(pairs), "--folder", str(folder), "--batch", str(batch)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])


def own_peak(train: Callable[[], object]) -> float:
    """MiB by which this process grows at most during `train`."""
    # Not ru_maxrss: a child inherits that of the process that started it.
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is in use now
    before = _status("VmRSS")
    train()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))  # KiB


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """What the times depend on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": peers.version(),
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--case", action="append", choices=CASES, help="only this one; may be repeated")
    made.add_argument("--steps", type=int, default=16, help="optimizer steps an epoch (default %(default)s)")
    made.add_argument("--repeats", type=int, default=2, help="runs of each side (default %(default)s)")
    made.add_argument("--json", type=Path, help="write all figures there")
    for hidden in ("--peak-of", "--model", "--pairs", "--folder", "--batch"):  # of a process that measures memory
        made.add_argument(hidden, help=argparse.SUPPRESS)
    return made


def main() -> None:
    """Measure the cases asked for and print the table."""
    asked = parser().parse_args()
    logging.getLogger("sclvlm").setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()
    peers.version()  # without TRL stop right here
    if asked.peak_of:
        run, paths = SIDES[asked.peak_of], (Path(asked.model), Path(asked.pairs), Path(asked.folder))
        settings = {"num_train_epochs": 1, "per_device_train_batch_size": int(asked.batch)}
        print(own_peak(lambda: run(*paths, **settings)))
        return
    results = {}
    for name in asked.case or CASES:
        _say(f"{name}: {asked.repeats} runs of {EPOCHS} epochs of {asked.steps} steps on both sides")
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measure(CASES[name], Path(folder), steps=asked.steps, repeats=asked.repeats)
    if asked.json:
        sides = {"ours": {**ours.TRAIN, "args": ours.TRAIN_ARGS}, "trl": peers.TRL_SETTINGS}
        write_json(asked.json, {"machine": machine(), "settings": sides, "cases": results})
    print(table(results))


if __name__ == "__main__":
    main()
