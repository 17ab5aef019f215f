"""A run as the stages leave it, made without a model: drawn pictures, questions about them, and a seeded pretender."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from sclvlm.config import Config
from sclvlm.grading import grade_trace
from sclvlm.prompts import INITIAL, REVIEW, initial_message, review_message
from sclvlm.records import GradedTrace, ModelRef, Sample, Trace, Turn
from sclvlm.reporting import build_report, write_report
from sclvlm.storage import write_json, write_records, write_text

COLORS = {"red": "#d9513c", "blue": "#3f74d1", "green": "#4b9b62", "yellow": "#e3b341", "violet": "#8a63c7"}
MONTHS = ("March", "April", "May", "June")
SIZE, FINE = (320, 240), 3  # pixels; drawn so many times larger, for smooth edges
SKILL = {"infer": 0.62, "before": 0.62, "after": 0.76}
KEEPS, REPAIRS = 0.85, 0.35  # how often the review keeps a correct answer, and mends a wrong one


class Scene(NamedTuple):
    """A drawn picture with a question about it."""

    picture: Image.Image
    category: str
    question: str
    choices: tuple[str, ...]
    right: int
    thought: str


def scenes(seed: int) -> Iterator[Scene]:
    """Scenes of three kinds, in turn, without end."""
    dice = random.Random(seed)
    while True:
        for draw in (_counting, _clock, _chart):
            yield draw(dice)


def _canvas(color: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (SIZE[0] * FINE, SIZE[1] * FINE), color)
    return picture, ImageDraw.Draw(picture)


def _counting(dice: random.Random) -> Scene:
    picture, draw = _canvas("#f2ede1")
    shown = [dice.choice(list(COLORS)) for _ in range(dice.randint(5, 9))]
    places = dice.sample([(column, row) for column in range(4) for row in range(3)], len(shown))
    for color, (column, row) in zip(shown, places, strict=True):
        x, y = (40 + 80 * column + dice.randint(-9, 9)) * FINE, (42 + 78 * row + dice.randint(-7, 7)) * FINE
        radius = dice.randint(20, 30) * FINE
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=COLORS[color])
    asked = dice.choice(sorted(set(shown)))
    count = shown.count(asked)
    choices = tuple(str(number) for number in range(max(count - 2, 0), max(count - 2, 0) + 4))
    question = f"How many {asked} discs are in the picture?"
    thought = f"I go through the rows from left to right and count only the discs that are {asked}."
    return Scene(picture, "counting", question, choices, choices.index(str(count)), thought)


def _clock(dice: random.Random) -> Scene:
    picture, draw = _canvas("#dfe7ea")
    hour, minute = dice.randint(1, 12), 15 * dice.randint(0, 3)
    x, y, radius = SIZE[0] * FINE // 2, SIZE[1] * FINE // 2, 96 * FINE
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="#fffdf8", outline="#2b3440", width=5 * FINE)
    for tick in range(12):
        ends = [_hand(x, y, radius * share, tick / 12) for share in (0.82, 0.92)]
        draw.line(ends, fill="#2b3440", width=3 * FINE)
    draw.line([(x, y), _hand(x, y, radius * 0.5, (hour + minute / 60) / 12)], fill="#2b3440", width=6 * FINE)
    draw.line([(x, y), _hand(x, y, radius * 0.75, minute / 60)], fill="#d9513c", width=4 * FINE)
    times = [f"{(hour + later - 1) % 12 + 1}:{minute:02d}" for later in range(4)]
    dice.shuffle(choices := list(times))
    thought = "The short hand tells the hour and the long one the minutes."
    return Scene(picture, "clock", "What time does the clock show?", tuple(choices), choices.index(times[0]), thought)


def _hand(x: float, y: float, length: float, turn: float) -> tuple[float, float]:
    return x + length * math.sin(2 * math.pi * turn), y - length * math.cos(2 * math.pi * turn)


def _chart(dice: random.Random) -> Scene:
    picture, draw = _canvas("#fbfaf7")
    heights = dice.sample(range(40, 180, 12), len(MONTHS))
    for place, (month, height) in enumerate(zip(MONTHS, heights, strict=True)):
        left = (34 + 68 * place) * FINE
        color = list(COLORS.values())[place]
        draw.rectangle((left, (205 - height) * FINE, left + 46 * FINE, 205 * FINE), fill=color)
        draw.text((left + 23 * FINE, 220 * FINE), month, fill="#2b3440", anchor="mm", font_size=13 * FINE)
    draw.line([(20 * FINE, 205 * FINE), (300 * FINE, 205 * FINE)], fill="#2b3440", width=2 * FINE)
    right = heights.index(max(heights))
    thought = f"I compare the tops of the {len(MONTHS)} bars."
    return Scene(picture, "chart", "Which month has the highest bar?", MONTHS, right, thought)


def write_samples(path: Path, count: int, *, seed: int, pictures: int) -> list[tuple[Sample, str]]:
    """A samples file of `count` questions about the first `pictures` scenes, each with what one thinks about it."""
    drawn = []
    for number, scene in zip(range(min(count, pictures)), scenes(seed), strict=False):
        file = path.parent / "images" / f"{path.stem}-{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        scene.picture.resize(SIZE, Image.Resampling.LANCZOS).save(file)
        drawn.append((scene, str(file)))
    told = [(_sample(f"{path.stem}-{number:04d}", *drawn[number % pictures]), number) for number in range(count)]
    write_records(path, [sample for sample, _ in told])
    return [(sample, drawn[number % pictures][0].thought) for sample, number in told]


def _sample(name: str, scene: Scene, file: str) -> Sample:
    return Sample(
        id=name,
        images=(file,),
        question=scene.question,
        kind="choice",
        choices=scene.choices,
        answer="ABCD"[scene.right],
        category=scene.category,
    )


def told(stage: str, asked: Iterable[tuple[Sample, str]], *, seed: int, last_words: str = "") -> list[GradedTrace]:
    """Graded traces of a pretender that is right as often as SKILL of `stage` says, and ends with `last_words`."""
    dice = random.Random(f"{stage}{seed}")
    return [grade_trace(_trace(sample, thought, stage, dice, last_words), sample) for sample, thought in asked]


def _trace(sample: Sample, thought: str, stage: str, dice: random.Random, last_words: str) -> Trace:
    first = dice.random() < SKILL[stage]
    last = dice.random() < (KEEPS if first else REPAIRS)
    said = (
        _response(sample, f"{thought} That gives", first, dice),
        _response(sample, f"Looking again, from the other side this time. {thought} I find", last, dice),
    )
    prompts = ([initial_message(INITIAL["reasoned"], sample)], [review_message(REVIEW["complete"])])
    turns = tuple(
        Turn(role=role, prompt=prompt, response=text + last_words, num_tokens=len(text) // 4, finish_reason="stop")
        for role, prompt, text in zip(("initial", "refined"), prompts, said, strict=True)
    )
    return Trace(
        id=sample.id,
        turns=turns,
        model=ModelRef(path="models/small-vlm", adapter="runs/demo/train/adapter" if stage == "after" else None),
        sampling={"temperature": 0.0},
        prompts={"initial": "reasoned@1", "refine": "complete@1"},
        seed=0,
    )


def _response(sample: Sample, thought: str, right: bool, dice: random.Random) -> str:
    if not right and dice.random() < 0.1:
        return f"{thought} something between two of the options, and the picture does not let me decide."
    wrong = [label for label in sample.labels if label != sample.answer]
    label = sample.answer if right else dice.choice(wrong)
    return f"{thought} {sample.labels[label]}.\n\n## {label} ##"


def config_of(folder: Path) -> Config:
    """The config of the run in `folder`; its data lies beside it, named as seen from the folder above."""
    sections: dict[str, Any] = {
        "run": {"dir": "run"},
        "model": {"path": "models/small-vlm"},
        "data": {"samples": "data/samples.jsonl", "test": "data/test.jsonl"},
        "infer": {},
        "label": {},
        "train": {},
        "evaluate": {},
        "report": {},
    }
    config = Config.model_validate(sections)
    write_text(folder / "config.yaml", config.to_yaml())
    return config


def write_run(root: Path, count: int, *, seed: int = 0, pictures: int = 60, last_words: str = "") -> Path:
    """A whole run of `count` training and as many test questions in root/run, with its report; returns it."""
    run = root / "run"
    config_of(run)
    data = root / "data"
    learned = write_samples(data / "samples.jsonl", count, seed=seed, pictures=pictures)
    asked = write_samples(data / "test.jsonl", count, seed=seed + 1, pictures=pictures)
    write_records(run / "label" / "graded.jsonl", told("infer", learned, seed=seed, last_words=last_words))
    tested = {stage: told(stage, asked, seed=seed, last_words=last_words) for stage in ("before", "after")}
    for stage, graded in tested.items():
        write_records(run / "evaluate" / stage / "graded.jsonl", graded)
    report = build_report(
        title="Before and after self-correction learning",
        samples={sample.id: sample for sample, _ in asked},
        **tested,
        pair_counts={"i->c": count // 6, "c->i": count // 10, "same verdict": count - count // 6 - count // 10},
        training=[
            {"step": step, "loss": 0.7 * math.exp(-step / 40) + 0.1, "kl": step / 400} for step in range(0, 101, 5)
        ],
        resamples=1000,
    )
    write_report(report, run / "report")
    return run


def write_runs(root: Path, names: Iterable[str], count: int, *, last_words: str = "") -> Path:
    """Runs called so, of as many test questions as told and different seeds, in root/runs; returns that folder."""
    asked = write_samples(root / "data" / "test.jsonl", count, seed=1, pictures=6)
    for seed, name in enumerate(names):
        run = root / "runs" / name
        config_of(run)
        for stage in ("before", "after"):
            graded = told(stage, asked, seed=seed, last_words=last_words)
            write_records(run / "evaluate" / stage / "graded.jsonl", graded)
        write_json(run / "label" / "counts.json", {"pairs i->c": 10 + seed})
        write_json(run / "train" / "history.json", [{"step": step, "loss": 1 / (step + 1)} for step in range(9)])
    return root / "runs"
