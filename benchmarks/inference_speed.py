"""How fast does `sclvlm infer` hold two turns? `python -m benchmarks.inference_speed [--model FOLDER]`

The same questions, weights, batch and greedy decoding, in float32, on three sides: ours; `generate` on a batch, each
turn from nothing; and one question at a time, each turn from nothing, as released scripts do. Answers are compared.

Models are scaled-down geometries with random weights and real processors, and with --model a folder that
`python -m data_pipelines.small_vlm` built. Time is that of a core, not of the clock: other work on the machine hardly
moves it. Start it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from PIL import Image, ImageDraw

from benchmarks import geometries, inference_floor
from benchmarks.generate_peers import Conversations, batched, loop
from benchmarks.geometries import Build, Sizes, build, llava, qwen
from sclvlm.engines import Opening, Reply
from sclvlm.engines.hf import HFEngine
from sclvlm.models import Policy, load_policy
from sclvlm.prompts import INITIAL, REVIEW, initial_message, review_message
from sclvlm.records import Message, Sample, text_message
from sclvlm.storage import write_json

ANSWERS = (16, 128)  # tokens at most


class Asked(NamedTuple):
    """A model, and what it is asked."""

    policy: Policy
    openings: list[Opening]
    follow_ups: list[Message]


@dataclass(frozen=True)
class Geometry:
    """A scaled-down model. `prompt`: tokens of a question, on average, and of the review prompt; `photo`: pixels."""

    make: Build
    sizes: Sizes
    prompt: int
    photo: int
    questions: int = 1  # a picture

    def ask(self, folder: Path, count: int) -> Asked:
        """`count` ragged questions of random letters."""
        draw = random.Random(0)
        policy = speaking(build(self.make, folder / "model", self.sizes))
        photos = [geometries.save_photo(folder / f"{index}.jpg", draw, self.photo) for index in range(count)]
        return Asked(
            policy,
            [
                Opening(
                    f"q{index}",
                    0,
                    text_message("user", geometries.letters(draw, draw.randint(*self._lengths)), images=1),
                    (photos[index // self.questions],),
                )
                for index in range(count)
            ],
            [text_message("user", geometries.letters(draw, self.prompt))],
        )

    @property
    def _lengths(self) -> tuple[int, int]:
        return self.prompt // 2, 3 * self.prompt // 2


LLAVA = Sizes(512, 1376, 2, 256, 8, tower_width=96, tower_inner=256, tower_layers=2, tower_heads=4, pixels=336)
GEOMETRIES: dict[str, Geometry] = {
    # 576 tokens a picture; the tower does a thirtieth of the language model's work on a row.
    "llava-1.5": Geometry(llava, LLAVA, prompt=60, photo=480),
    "llava-1.5, 4 questions a picture": Geometry(llava, LLAVA, prompt=60, photo=480, questions=4),
    # 256 tokens a picture from 1024 patches, positions in three dimensions.
    "qwen2.5-vl-3b": Geometry(
        qwen,
        Sizes(320, 896, 2, 640, 5, tower_width=128, tower_inner=208, tower_layers=2, tower_heads=2, pixels=448),
        prompt=60,
        photo=448,
    ),
}
SMALL = "small VLM"


def speaking(folder: Path) -> Policy:
    """The model in `folder`, made to say characters, which read back as the same ids, and its end now and then."""
    policy = load_policy(str(folder), dtype="float32", device="cpu")
    head = policy.model.get_output_embeddings().weight
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        size = head.std()
        head[len(geometries.CHARACTERS) :] = 0.0
        head[policy.stop_ids[0]].normal_(std=1.4 * size)
    return policy


def small(model: Path, folder: Path, count: int) -> Asked:
    """The small VLM and `count` questions about drawn shapes, with the prompts of the package."""
    draw, words = (
        random.Random(0),
        ("What colour is the shape?", "What is in the picture?", "Is there a red circle in it?"),
    )
    openings = []
    for index in range(count):
        path = folder / f"shape-{index}.png"
        image = Image.new("RGB", (64, 64), draw.choice(("white", "lightgray")))
        corner = (draw.randint(0, 24), draw.randint(0, 24))
        ImageDraw.Draw(image).ellipse(
            (*corner, corner[0] + 36, corner[1] + 30), fill=draw.choice(("red", "blue", "teal"))
        )
        image.save(path)
        sample = Sample(id=f"q{index}", images=(str(path),), question=words[index % 3], kind="text", answer="red")
        openings.append(Opening(sample.id, 0, initial_message(INITIAL["reasoned"], sample), sample.images))
    policy = load_policy(str(model), dtype="float32", device="cpu")
    return Asked(policy, openings, [review_message(REVIEW["complete"])])


def ours(asked: Asked, limit: int, batch: int) -> list[list[Reply]]:
    """The engine's replies."""
    engine = HFEngine(asked.policy, seed=0, max_new_tokens=limit)
    parts = [engine.converse(asked.openings[at : at + batch], asked.follow_ups) for at in _starts(asked, batch)]
    return [replies for part in parts for replies in part]


def _ours(asked: Asked, limit: int, batch: int) -> Conversations:
    return [[reply.text for reply in replies] for replies in ours(asked, limit, batch)]


def _batched(asked: Asked, limit: int, batch: int) -> Conversations:
    parts = [
        batched(asked.policy, asked.openings[at : at + batch], asked.follow_ups, limit) for at in _starts(asked, batch)
    ]
    return [replies for part in parts for replies in part]


def _loop(asked: Asked, limit: int, batch: int) -> Conversations:
    return loop(asked.policy, asked.openings, asked.follow_ups, limit)


def _starts(asked: Asked, batch: int) -> range:
    return range(0, len(asked.openings), batch)


SIDES: dict[str, Callable[[Asked, int, int], Conversations]] = {"ours": _ours, "batched": _batched, "loop": _loop}


def measure(asked: Asked, *, limit: int, batch: int, repeats: int) -> dict[str, Any]:
    """Everything about one model and length of answers: see `summary`."""
    replies = ours(asked, limit, batch)  # warms up too
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    said: dict[str, Conversations] = {}
    for repeat in range(repeats):
        for side in sorted(SIDES, reverse=bool(repeat % 2)):  # no side profits from its place
            start = time.process_time()
            said[side] = SIDES[side](asked, limit, batch)
            seconds[side].append(time.process_time() - start)
        _say(f"  {repeat + 1}/{repeats}: " + ", ".join(f"{side} {each[-1]:.2f}" for side, each in seconds.items()))
    rates = inference_floor.measured(asked.policy)
    floor = inference_floor.seconds(asked.policy, asked.openings, asked.follow_ups, replies, batch, rates)
    tokens = sum(reply.num_tokens for each in replies for reply in each)
    return summary(seconds, tokens, floor) | {
        "equal": equal(said),
        "conversations": len(replies),
        "rates": rates._asdict(),
    }


def equal(said: dict[str, Conversations]) -> dict[str, int]:
    """Conversations in which another side says word for word what ours does."""
    return {
        side: sum(mine == theirs for mine, theirs in zip(said["ours"], each, strict=True))
        for side, each in said.items()
        if side != "ours"
    }


def summary(seconds: dict[str, list[float]], tokens: int, floor: float) -> dict[str, Any]:
    """Medians in seconds of a core; how much longer the others take, within a repeat, then its median and range."""
    over = {
        side: [theirs / mine for theirs, mine in zip(each, seconds["ours"], strict=True)]
        for side, each in seconds.items()
        if side != "ours"
    }
    mine = statistics.median(seconds["ours"])
    return {
        "seconds": {side: statistics.median(each) for side, each in seconds.items()},
        "over_ours": {side: statistics.median(each) for side, each in over.items()},
        "over_ours_range": {side: [min(each), max(each)] for side, each in over.items()},
        "tokens": tokens,
        "tokens_a_second": tokens / mine,
        "floor": floor,
        "ours_over_floor": mine / floor,
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """A line a case."""
    width = max(map(len, results))
    lines = [f"{'case':{width}}  tokens/s a core (floor)  batched/ours (range)  loop/ours (range)  equal, batched loop"]
    lines += [_line(name, each, width) for name, each in results.items()]
    return "\n".join(lines)


def _line(name: str, each: dict[str, Any], width: int) -> str:
    sides = ("batched", "loop")
    ranges = {side: "({:.2f}-{:.2f})".format(*each["over_ours_range"][side]) for side in sides}
    ratios = "  ".join(f"{each['over_ours'][side]:6.2f} {ranges[side]}" for side in sides)
    same = " ".join(f"{each['equal'][side]}/{each['conversations']}" for side in sides)
    floor = each["tokens"] / each["floor"]
    return f"{name:{width}}  {each['tokens_a_second']:10.1f} ({floor:8.1f})  {ratios}  {same}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", type=Path, help="the small VLM's folder, measured too")
    made.add_argument("--case", action="append", choices=[*GEOMETRIES, SMALL], help="only this one; may be repeated")
    made.add_argument("--answer", action="append", type=int, help=f"longest answer in tokens (default {ANSWERS})")
    made.add_argument("--questions", type=int, default=32, help="(default %(default)s)")
    made.add_argument("--batch", type=int, default=16, help="conversations at once (default %(default)s)")
    made.add_argument("--repeats", type=int, default=3, help="runs of each side (default %(default)s)")
    made.add_argument("--json", type=Path, help="write all figures there")
    return made


def main() -> None:
    """Measure the cases asked for and print the table."""
    arguments = parser()
    asked_for = arguments.parse_args()
    cases = asked_for.case or [*GEOMETRIES, *([SMALL] if asked_for.model else [])]
    if SMALL in cases and not asked_for.model:
        arguments.error(f"--case '{SMALL}' needs --model: build one with `python -m data_pipelines.small_vlm`")
    logging.getLogger("sclvlm").setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    results = {}
    for name in cases:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder), asked_for.questions
            asked = small(asked_for.model, *made) if name == SMALL else GEOMETRIES[name].ask(*made)
            for limit in asked_for.answer or ANSWERS:
                _say(f"{name}, answers of {limit}: {asked_for.questions} questions, {asked_for.repeats} runs a side")
                found = measure(asked, limit=limit, batch=asked_for.batch, repeats=asked_for.repeats)
                results[f"{name}, {limit}"] = found
    if asked_for.json:
        settings = {"questions": asked_for.questions, "batch": asked_for.batch, "repeats": asked_for.repeats}
        versions = {"torch": torch.__version__, "transformers": transformers.__version__, "cores": os.cpu_count()}
        write_json(asked_for.json, {"settings": settings, "machine": versions, "cases": results})
    print(table(results))


if __name__ == "__main__":
    main()
