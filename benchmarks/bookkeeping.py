"""What a run of `infer` costs beside the model: time a sample, and whether memory grows with the number of samples.

A stub answers at once. Each number of samples has a process of its own, which does what the stage does: it checks the
file, asks, counts, resumes what is done, and asks again as two processes would, whose files it merges. The exit code
is 1 when a sample costs more than a millisecond of CPU time, or when memory grows by more than a tenth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sclvlm.engines import Opening, Reply
from sclvlm.preflight import SampleFile, read_samples
from sclvlm.prompts import load_prompt
from sclvlm.records import AnswerKind, Message, ModelRef, Sample
from sclvlm.self_correction import Origin, collect_traces
from sclvlm.self_correction.conversing import Dialogue
from sclvlm.self_correction.journal import answered, merge
from sclvlm.self_correction.shares import ALONE, Share
from sclvlm.storage import file_hash, write_records

NUMBERS = (1_000, 100_000)
MOST_MS, MOST_GROWTH = 1.0, 1.10
ANSWER = "The shape in the middle is a circle, and it is teal. " * 6  # some 80 tokens


class Stub:
    """Says the same to everything."""

    def converse(self, openings: Sequence[Opening], follow_ups: Sequence[Message]) -> list[list[Reply]]:
        """One reply a turn."""
        return [[Reply(f"{ANSWER}## B ##", 80, "stop", -12.5)] * (1 + len(follow_ups)) for _ in openings]


def samples(number: int, folder: Path) -> Iterator[Sample]:
    """Questions about pictures that nobody opens."""
    for place in range(number):
        yield Sample(
            id=f"sample-{place:07d}",
            images=(str(folder / f"images/{place // 4}.png"),),
            question=f"What colour is the shape number {place}?",
            kind=AnswerKind.CHOICE,
            choices=("blue", "teal", "red", "grey"),
            answer="B",
        )


def ask(file: SampleFile, traces: Path, share: Share = ALONE) -> None:
    """What the stage asks, of the stub."""
    collect_traces(
        file,
        traces,
        engine=Stub(),
        dialogue=Dialogue(load_prompt("initial", "reasoned"), load_prompt("review", "complete"), 2),
        origin=Origin(ModelRef(path="stub"), {"temperature": 0.0}, 0),
        draws=1,
        batch_size=16,
        max_failed_share=0.0,
        what="bookkeeping",
        share=share,
    )


def measure(folder: Path) -> dict[str, float]:
    """CPU milliseconds a sample of each part, and the peak memory of this process in MB; `folder` holds the samples."""
    file, traces = SampleFile(folder / "samples.jsonl"), folder / "traces.jsonl"
    parts = {
        "check": lambda: sum(1 for _ in read_samples(str(file.path))),
        "ask": lambda: ask(file, traces),
        "count": lambda: answered(traces),
        "resume": lambda: ask(file, traces),
        "two processes": lambda: [ask(file, traces.with_stem("two"), Share(index, 2)) for index in range(2)],
        "merge": lambda: merge(traces.with_stem("two"), file, 1),
    }
    times = {part: _milliseconds(work) / len(file) for part, work in parts.items()}
    if file_hash(traces) != file_hash(traces.with_stem("two")):
        raise SystemExit("two processes did not make the file of one")
    return {**times, "peak MB": _peak_megabytes()}


def _milliseconds(work: Any) -> float:
    started = time.process_time()
    work()
    return 1e3 * (time.process_time() - started)


def _peak_megabytes() -> float:
    """The most resident memory this process ever had; ru_maxrss would also count its parent's at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measured(number: int) -> dict[str, float]:
    """The same over so many samples, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder) / "samples.jsonl", samples(number, Path(folder)))
        command = [sys.executable, "-m", "benchmarks.bookkeeping", "--measure", folder]
        found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    """Print a table; exit with 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=NUMBERS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure)))
        return
    found = {number: measured(number) for number in asked.samples}
    print("| samples | " + " | ".join(next(iter(found.values()))) + " |")
    for number, figures in found.items():
        print(f"| {number} | " + " | ".join(f"{value:.3f}" for value in figures.values()) + " |")
    cost = max(figures["check"] + figures["ask"] + figures["count"] for figures in found.values())
    peaks = [figures["peak MB"] for figures in found.values()]
    print(f"ms a sample: {cost:.3f} (at most {MOST_MS}); memory: {max(peaks) / min(peaks):.3f} (at most {MOST_GROWTH})")
    raise SystemExit(cost > MOST_MS or max(peaks) / min(peaks) > MOST_GROWTH)


if __name__ == "__main__":
    main()
