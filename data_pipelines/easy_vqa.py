"""easy-VQA (MIT, Victor Zhou): synthetic pictures of one coloured shape, as record files.

    python -m data_pipelines.easy_vqa --out data/easy_vqa

writes `student.jsonl` and `held_out.jsonl` (demonstrations), `train.jsonl` and `test.jsonl` (samples), their images,
`card.md`. The four files share no image, neither by bytes nor by pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_pipelines.arguments import share, size
from data_pipelines.cards import Asked as AskedText
from data_pipelines.cards import blind_baseline, overlaps, table
from data_pipelines.easy_vqa_pictures import (
    COLORS,
    FLIPPED,
    SHAPES,
    Asked,
    Question,
    Slices,
    Traits,
    draw,
    load_pictures,
    make_slices,
    mentioned,
    stream,
)
from data_pipelines.packages import EASY_VQA, cache_dir, fetch
from sclvlm.errors import SclvlmError
from sclvlm.prompts import INITIAL, REVIEW, initial_message, load_prompt, review_message
from sclvlm.records import AnswerKind, Demonstration, Sample, text_message
from sclvlm.storage import file_hash, partial_path, read_records, write_json, write_records, write_text

DEMONSTRATIONS = ("student", "held_out")
RECORD_FILES = ("student.jsonl", "held_out.jsonl", "train.jsonl", "test.jsonl")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Settings:
    """What decides the output: sizes, shares and the seed."""

    seed: int = 0
    demonstrations: int = 4000
    held_out: int = 240
    train: int = 3000
    test: int = 1500
    open_share: float = 0.8
    train_open_share: float = 1.0
    review_share: float = 0.3
    right_first: float = 0.3


def to_sample(asked: Asked, name: str, folder: Path) -> Sample:
    """The sample called `name` of a file in `folder`."""
    picture, question = asked
    return Sample(
        id=name,
        images=(str(folder / "images" / f"{picture.name}.png"),),
        question=question.text,
        kind=AnswerKind.TEXT if question.is_open else AnswerKind.YES_NO,
        answer=question.answer,
        category=question.category,
        group=picture.name,
        meta={"benchmark": "easy_vqa"},
    )


def say(question: Question, traits: Traits, answer: str) -> str:
    """A short reason and the marked answer.

    The reason names the trait alone that was asked for. Whatever else it named, the answer would not tell whether it is
    right, and a model that learns from its right answers would learn it all the same.
    """
    about = _asked_trait(question)
    reason = f"The shape is {traits.color}." if about == "color" else f"The image shows a {traits.shape}."
    return f"{reason} ## {answer} ##"


def _asked_trait(question: Question) -> str:
    if question.is_open:
        return question.category
    return "color" if mentioned(question.text)[-1] in COLORS else "shape"


def right_answer(question: Question, traits: Traits) -> str:
    """What a careful look gives."""
    return say(question, traits, question.answer)


def wrong_answer(question: Question, traits: Traits, rng: random.Random) -> str:
    """A plausible mistake: one trait seen wrongly, and the answer that follows from it."""
    mistaken = _misseen(question, traits, rng)
    answers = {"color": mistaken.color, "shape": mistaken.shape, "yes/no": FLIPPED.get(question.answer, "")}
    return say(question, mistaken, answers[question.category])


def _misseen(question: Question, traits: Traits, rng: random.Random) -> Traits:
    """Other traits, under which the answer to `question` is another one."""
    field = _asked_trait(question)
    about = question.answer if question.is_open else mentioned(question.text)[-1]
    values = COLORS if field == "color" else SHAPES
    others = [value for value in values if value not in traits]
    return traits._replace(**{field: rng.choice(others) if about in traits else about})


def demonstrate(name: str, drawn: list[Asked], settings: Settings, folder: Path) -> list[Demonstration]:
    """First answers and review turns to imitate, in one style; held out are first answers alone."""
    rng = stream(settings.seed, "demonstrations")
    reviews = _exact_share(len(drawn), settings.review_share if name == "student" else 0.0, rng)
    rights = iter(_exact_share(sum(reviews), settings.right_first, rng))
    return [
        _demonstration(one, f"easyvqa-{name}-{number}", folder, next(rights) if review else None, rng)
        for number, (one, review) in enumerate(zip(drawn, reviews, strict=True))
    ]


def _demonstration(
    asked: Asked, name: str, folder: Path, first_right: bool | None, rng: random.Random
) -> Demonstration:
    """`first_right` is None for a first answer, else whether the answer under review is the right one."""
    traits = asked.picture.traits
    if traits is None:
        raise ValueError("a demonstration needs a picture whose traits can be derived")
    sample = to_sample(asked, name, folder)
    right = right_answer(asked.question, traits)
    prompt = [initial_message(load_prompt("initial", "reasoned"), sample)]
    if first_right is not None:
        first = right if first_right else wrong_answer(asked.question, traits, rng)
        review = load_prompt("review", rng.choice(list(REVIEW)))
        prompt += [text_message("assistant", first), review_message(review)]
    return Demonstration(
        id=name,
        prompt=prompt,
        completion=[text_message("assistant", right)],
        images=sample.images,
        source="initial" if first_right is None else "review",
        meta={
            "category": sample.category,
            "first": {None: "", True: "right", False: "wrong"}[first_right],
        },
    )


def _exact_share(count: int, share: float, rng: random.Random) -> list[bool]:
    flags = [position < round(count * share) for position in range(count)]
    rng.shuffle(flags)
    return flags


def build(wheel: Path, out: Path, settings: Settings) -> bool:
    """Make `out` from `wheel`; False when it was complete already. It appears whole or not at all."""
    out = out.absolute()
    key = _key(wheel, settings)
    if is_complete(out, key):
        return False
    _check_replaceable(out)
    partial = partial_path(out)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write(wheel, partial, settings, key)
        _replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _open_share(settings: Settings, name: str) -> float:
    return {"train": settings.train_open_share, "held_out": 1.0}.get(name, settings.open_share)


def _sizes(settings: Settings) -> dict[str, int]:
    """Records asked for, a file."""
    return {
        "student": settings.demonstrations,
        "held_out": settings.held_out,
        "train": settings.train,
        "test": settings.test,
    }


def _write(wheel: Path, folder: Path, settings: Settings, key: dict[str, Any]) -> None:
    slices = make_slices(load_pictures(wheel, "train"), load_pictures(wheel, "test"), settings.seed)
    drawn = {
        name: draw(slices.pictures[name], size, _open_share(settings, name), stream(settings.seed, name))
        for name, size in _sizes(settings).items()
    }
    _write_images(drawn.values(), folder / "images")
    for name in DEMONSTRATIONS:
        write_records(folder / f"{name}.jsonl", demonstrate(name, drawn[name], settings, folder))
    for name in ("train", "test"):
        samples = (to_sample(one, f"easyvqa-{name}-{i}", folder) for i, one in enumerate(drawn[name]))
        write_records(folder / f"{name}.jsonl", samples)
    write_text(folder / "card.md", _card(folder, settings, slices))
    write_json(folder / MANIFEST, {**key, "files": _hashes(folder), "images": len(_images(folder))})


def _write_images(drawn: Iterable[list[Asked]], folder: Path) -> None:
    folder.mkdir(parents=True)
    for picture in {one.picture.name: one.picture for asked in drawn for one in asked}.values():
        (folder / f"{picture.name}.png").write_bytes(picture.png)


def _card(folder: Path, settings: Settings, slices: Slices) -> str:
    demonstrations = {name: list(read_records(folder / f"{name}.jsonl", Demonstration)) for name in DEMONSTRATIONS}
    samples = {name: list(read_records(folder / f"{name}.jsonl", Sample)) for name in ("train", "test")}
    records: dict[str, list[Any]] = {**demonstrations, **samples}
    common = overlaps({name: [record.images[0] for record in records[name]] for name in records})
    if any(common.values()):
        raise SclvlmError(f"easy-VQA: expected no image in two files, got {common}. Please report this.")
    sections = {
        "# easy-VQA": _source_text(settings),
        "## Files": _files_table(records, slices, settings),
        "## Left out": table(("what", "images"), slices.dropped.items()),
        "## Demonstrations": _demonstrations_table(demonstrations["student"]),
        "## Answers": _answers_table(samples),
        "## Question-only baseline": _baseline_text(slices, samples["test"]),
        "## Images in common": table(
            ("files", "by bytes or pixels"), ((" and ".join(k), v) for k, v in common.items())
        ),
    }
    return "\n".join(f"{title}\n\n{text}" for title, text in sections.items())


def _source_text(settings: Settings) -> str:
    options = ", ".join(f"{key} {value}" for key, value in asdict(settings).items())
    return (
        f"Source: PyPI {EASY_VQA.spec} by Victor Zhou, https://github.com/vzhou842/easy-VQA\n"
        f"Wheel: SHA-256 {EASY_VQA.sha256}\nLicence: MIT\nMade by: `python -m data_pipelines.easy_vqa`\n"
        f"Settings: {options}\n"
    ).replace("\n", "  \n")


def _files_table(records: dict[str, list[Any]], slices: Slices, settings: Settings) -> str:
    asked = _sizes(settings)
    head = ("file", "records", "asked for", "open", "images used", "images in the slice")
    rows = [
        (
            f"{name}.jsonl",
            len(ones),
            asked[name] if len(ones) == asked[name] else f"{asked[name]} (the slice is exhausted)",
            sum(_category(one) != "yes/no" for one in ones),
            len({one.images for one in ones}),
            len(slices.pictures[name]),
        )
        for name, ones in records.items()
    ]
    return table(head, rows)


def _category(record: Sample | Demonstration) -> str:
    return record.category if isinstance(record, Sample) else str(record.meta["category"])


def _demonstrations_table(demonstrations: list[Demonstration]) -> str:
    counts = Counter((one.source, one.meta["first"] or "-") for one in demonstrations)
    return table(("source", "first answer", "records"), ((*key, count) for key, count in sorted(counts.items())))


def _answers_table(samples: dict[str, list[Sample]]) -> str:
    counts = {name: Counter(sample.answer for sample in ones) for name, ones in samples.items()}
    answers = sorted(set().union(*counts.values()))
    return table(("answer", *counts), ([answer, *(c[answer] for c in counts.values())] for answer in answers))


def _baseline_text(slices: Slices, test: list[Sample]) -> str:
    """The guess knows every training question of all slices, more than a model is ever shown."""
    training = [
        AskedText(*question)
        for name in ("student", "held_out", "train")
        for picture in slices.pictures[name]
        for question in picture.questions
    ]
    sorts = {
        "all": test,
        "open": [sample for sample in test if sample.kind is AnswerKind.TEXT],
        "yes/no": [sample for sample in test if sample.kind is AnswerKind.YES_NO],
    }
    rows = [(name, blind_baseline(training, ones)) for name, ones in sorts.items()]
    return "Commonest answer to the same question text in the training slices, on test.jsonl.\n\n" + table(
        ("questions", "right"), rows
    )


def _key(wheel: Path, settings: Settings) -> dict[str, Any]:
    """Everything the output depends on: when it is the same, so is the output."""
    prompts = {str(one): one.text for one in (INITIAL["reasoned"], *REVIEW.values())}
    sources = (Path(__file__).with_name(name) for name in ("easy_vqa.py", "easy_vqa_pictures.py", "cards.py"))
    code = [file_hash(path) for path in sources]
    return {"settings": asdict(settings), "wheel": file_hash(wheel), "prompts": prompts, "code": code}


def _images(folder: Path) -> list[Path]:
    return sorted((folder / "images").glob("*.png"))


def _hashes(folder: Path) -> dict[str, str]:
    names = (*RECORD_FILES, "card.md")
    return {name: file_hash(folder / name) for name in names if (folder / name).is_file()}


def is_complete(out: Path, key: dict[str, Any]) -> bool:
    """Whether `out` was made from `key` and still is what was written."""
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    images = _images(out)
    expected = {**key, "files": _hashes(out), "images": len(images)}
    return bool(manifest == expected) and all(file_hash(path).startswith(path.stem) for path in images)


def _check_replaceable(out: Path) -> None:
    """Refuse to remove a folder that holds anything this module does not write."""
    ours = {*RECORD_FILES, "card.md", MANIFEST, "images"}
    if out.exists() and (not out.is_dir() or (foreign := {path.name for path in out.iterdir()} - ours)):
        found = ", ".join(sorted(foreign)) if out.is_dir() else "a file"
        raise SclvlmError(f"{out}: expected a folder of easy-VQA records or none, got {found}. Choose another --out.")


def _replace(partial: Path, out: Path) -> None:
    if out.exists():
        shutil.rmtree(out)
    os.replace(partial, out)


def parser() -> argparse.ArgumentParser:
    """The options, one a field of Settings."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.easy_vqa",
        description=f"Write easy-VQA as records: {', '.join(RECORD_FILES)}, images, card.md.",
        epilog="Example: python -m data_pipelines.easy_vqa --out data/easy_vqa --seed 0 --test 500",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options: dict[str, tuple[Callable[[str], Any], str]] = {
        "seed": (int, "decides every draw"),
        "demonstrations": (size, "records in student.jsonl"),
        "held_out": (size, "records in held_out.jsonl, open questions alone"),
        "train": (size, "records in train.jsonl"),
        "test": (size, "records in test.jsonl"),
        "open_share": (share, "share of open questions in student.jsonl and test.jsonl, the others are yes/no"),
        "train_open_share": (share, "share of open questions in train.jsonl"),
        "review_share": (share, "share of demonstrations that review a first answer"),
        "right_first": (share, "share of reviewed first answers that are right"),
    }
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for name, (kind, text) in options.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=getattr(Settings, name), help=text)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the folder; 0 when it is complete afterwards."""
    options = vars(parser().parse_args(argv))
    out = options.pop("out")
    try:
        made = build(fetch(EASY_VQA, cache_dir()), out, Settings(**options))
    except SclvlmError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{out}: {'written' if made else 'complete already'}, see {out / 'card.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
