"""easy-VQA as records, from a wheel of a few pictures in the published layout."""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from data_pipelines import easy_vqa
from data_pipelines.cards import Asked, blind_baseline, fingerprints, pixel_hash
from data_pipelines.easy_vqa import DEMONSTRATIONS, Settings, build, wrong_answer
from data_pipelines.easy_vqa_pictures import COLORS, SHAPES, Question, Traits, derive_traits, facts
from data_pipelines.packages import EASY_VQA
from sclvlm.errors import SclvlmError
from sclvlm.metrics.official import OFFICIAL, benchmark_key
from sclvlm.prompts import REVIEW
from sclvlm.records import AnswerKind, Demonstration, Sample, message_text
from sclvlm.storage import read_records

SMALL = Settings(demonstrations=40, train=30, test=20)
Questions = list[tuple[str, str, int]]


def png(seed: int, comment: str = "") -> bytes:
    """An image of its own for each `seed`; a comment changes the bytes and not the pixels."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", comment)
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (seed // 256, seed % 256, 7)).save(buffer, "png", pnginfo=info)
    return buffer.getvalue()


def asked(image: int) -> Questions:
    """Six questions about `image`, from which its colour and shape follow."""
    color, shape = COLORS[image % len(COLORS)], SHAPES[image % len(SHAPES)]
    return [
        ("what color is the shape?", color, image),
        (f"what is the color of the {shape}?", color, image),
        ("what shape is present?", shape, image),
        (f"what is the {color} shape?", shape, image),
        (f"is there a {color} shape?", "yes", image),
        (f"is no {shape} present?", "no", image),
    ]


def make_wheel(path: Path, train: dict[int, bytes], test: dict[int, bytes], more: Questions | None = None) -> Path:
    """A wheel of these images; those that `more` asks about have no other questions."""
    special = {image for *_, image in more or []}
    with zipfile.ZipFile(path, "w") as archive:
        for split, images in (("train", train), ("test", test)):
            questions = [question for image in images if image not in special for question in asked(image)]
            questions += (more or []) if split == "train" else []
            archive.writestr(f"easy_vqa/data/{split}/questions.json", json.dumps(questions))
            for image, content in images.items():
                archive.writestr(f"easy_vqa/data/{split}/images/{image}.png", content)
    return path


@pytest.fixture(name="wheel")
def tiny_wheel(tmp_path: Path) -> Path:
    """24 training and 12 test images, all different."""
    train = {image: png(image) for image in range(24)}
    return make_wheel(tmp_path / "tiny.whl", train, {image: png(100 + image) for image in range(12)})


@pytest.fixture(name="out")
def built(wheel: Path, tmp_path: Path) -> Path:
    """A complete folder."""
    build(wheel, tmp_path / "out", SMALL)
    return tmp_path / "out"


def samples(out: Path, name: str) -> list[Sample]:
    return list(read_records(out / f"{name}.jsonl", Sample))


def demonstrations(out: Path, name: str = "student") -> list[Demonstration]:
    return list(read_records(out / f"{name}.jsonl", Demonstration))


def tree(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (Question("what color is the circle?", "red"), {("circle", True), ("red", True)}),
        (Question("is a blue shape present?", "yes"), {("blue", True)}),
        (Question("is a blue shape present?", "no"), {("blue", False)}),
        (Question("is no circle present?", "no"), {("circle", True)}),
        (Question("does the image not contain a gray shape?", "yes"), {("gray", False)}),
    ],
)
def test_a_question_and_its_answer_say_what_is_there(question: Question, expected: set[tuple[str, bool]]) -> None:
    assert set(facts(question)) == expected


def test_traits_follow_from_open_questions() -> None:
    assert derive_traits([Question("what color is the circle?", "red")]) == Traits("red", "circle")


def test_traits_follow_from_what_is_ruled_out() -> None:
    questions = [Question(f"is there a {shape}?", "no") for shape in ("circle", "triangle")]
    assert derive_traits([*questions, Question("is there not a red shape?", "no")]) == Traits("red", "rectangle")


@pytest.mark.parametrize(
    "questions",
    [
        [Question("what shape is present?", "circle")],
        [Question("what color is the circle?", "red"), Question("is there a red shape?", "no")],
        [Question("what color is the circle?", "red"), Question("what color is the shape?", "blue")],
    ],
    ids=["colour open", "ruled out", "two colours"],
)
def test_no_traits_where_they_stay_open_or_contradict(questions: list[Question]) -> None:
    assert derive_traits(questions) is None


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (Question("is there a blue shape?", "no"), "The shape is blue. ## yes ##"),
        (Question("is no circle present?", "no"), "The image shows a (rectangle|triangle). ## yes ##"),
        (Question("what is the red shape?", "circle"), r"The image shows a (\w+). ## \1 ##"),
        (Question("what color is the shape?", "red"), r"The shape is (\w+). ## \1 ##"),
    ],
)
def test_a_wrong_answer_follows_from_one_trait_seen_wrongly(question: Question, expected: str) -> None:
    wrong = wrong_answer(question, Traits("red", "circle"), random.Random(0))
    assert re.fullmatch(expected, wrong)
    assert f"## {question.answer} ##" not in wrong


def test_no_two_files_share_an_image(out: Path) -> None:
    used = {name: {sample.images for sample in samples(out, name)} for name in ("train", "test")}
    used |= {name: {one.images for one in demonstrations(out, name)} for name in ("student", "held_out")}
    assert sum(map(len, used.values())) == len(set().union(*used.values()))


def test_images_are_named_by_their_content(out: Path) -> None:
    images = list((out / "images").iterdir())
    assert all(any(mark.startswith(path.stem) for mark in fingerprints(path.read_bytes())) for path in images)


def test_only_images_that_a_record_names_are_written(out: Path) -> None:
    named = {image for name in ("train", "test") for sample in samples(out, name) for image in sample.images}
    named |= {image for name in DEMONSTRATIONS for one in demonstrations(out, name) for image in one.images}
    assert named == {str(path) for path in (out / "images").iterdir()}


def test_pixels_are_compared_not_only_bytes() -> None:
    assert png(1) != png(1, "re-saved")
    assert pixel_hash(png(1)) == pixel_hash(png(1, "re-saved"))


def test_test_images_that_occur_in_training_by_bytes_or_pixels_are_dropped_and_counted(
    tmp_path: Path,
) -> None:
    test = {0: png(0), 1: png(1, "re-saved"), 2: png(102), 3: png(103), 4: png(103, "re-saved")}
    wheel = make_wheel(tmp_path / "tiny.whl", {image: png(image) for image in range(24)}, test)
    build(wheel, tmp_path / "out", Settings(demonstrations=40, train=30, test=200))
    card = (tmp_path / "out" / "card.md").read_text()
    assert len({sample.group for sample in samples(tmp_path / "out", "test")}) == 2
    assert "| test images that occur in the training images | 2 |" in card
    assert "| test images that repeat another test image | 1 |" in card


def test_training_images_that_repeat_are_dropped_and_counted(tmp_path: Path) -> None:
    train = {image: png(image) for image in range(24)} | {24: png(5, "re-saved")}
    build(make_wheel(tmp_path / "tiny.whl", train, {0: png(100)}), tmp_path / "out", SMALL)
    card = (tmp_path / "out" / "card.md").read_text()
    assert "| training images that repeat another training image | 1 |" in card


def test_an_image_whose_traits_stay_open_gives_no_demonstration_and_is_counted(tmp_path: Path) -> None:
    vague = [("what shape is present?", "circle", image) for image in range(12)]
    train = {image: png(image) for image in range(24)}
    build(make_wheel(tmp_path / "tiny.whl", train, {50: png(100)}, vague), tmp_path / "out", SMALL)
    card = (tmp_path / "out" / "card.md").read_text()
    used = len({one.images for name in DEMONSTRATIONS for one in demonstrations(tmp_path / "out", name)})
    assert f"| student images whose colour or shape cannot be derived | {12 - used} |" in card


def test_four_of_five_test_questions_are_open(out: Path) -> None:
    sorts = [sample.category for sample in samples(out, "test")]
    assert (len(sorts), sorts.count("yes/no")) == (20, 4)


def test_every_training_question_is_open(out: Path) -> None:
    assert {sample.category for sample in samples(out, "train")} == {"color", "shape"}


def test_the_share_of_open_training_questions_can_be_set(wheel: Path, tmp_path: Path) -> None:
    build(wheel, tmp_path / "out", Settings(demonstrations=40, train=30, test=20, train_open_share=0.8))
    sorts = [sample.category for sample in samples(tmp_path / "out", "train")]
    assert (len(sorts), sorts.count("yes/no")) == (30, 6)


def test_categories_and_kinds_fit_the_answer(out: Path) -> None:
    expected = {"yes": ("yes_no", "yes/no"), "no": ("yes_no", "yes/no")}
    expected |= dict.fromkeys(COLORS, ("text", "color")) | dict.fromkeys(SHAPES, ("text", "shape"))
    found = samples(out, "train") + samples(out, "test")
    assert all((sample.kind, sample.category) == expected[sample.answer] for sample in found)


def test_each_question_names_its_benchmark(out: Path) -> None:
    for name in ("train", "test"):
        assert {benchmark_key(sample.meta["benchmark"]) for sample in samples(out, name)} == {"easyvqa"}
    assert "easyvqa" in OFFICIAL


def test_an_exhausted_slice_gives_all_it_has_and_the_card_says_so(wheel: Path, tmp_path: Path) -> None:
    build(wheel, tmp_path / "out", Settings(demonstrations=40, train=30, test=1000))
    # 12 test images with 4 open and 2 yes/no questions
    assert len(samples(tmp_path / "out", "test")) == 12 * 6
    assert "| test.jsonl | 72 | 1000 (the slice is exhausted) |" in (tmp_path / "out" / "card.md").read_text()


def test_three_of_ten_demonstrations_are_reviews(out: Path) -> None:
    assert sum(one.source == "review" for one in demonstrations(out)) == 12


def test_three_of_ten_reviewed_first_answers_are_right(out: Path) -> None:
    first = [one.meta["first"] for one in demonstrations(out) if one.source == "review"]
    assert (first.count("right"), first.count("wrong")) == (4, 8)  # 12 reviews


def test_a_review_completes_with_the_right_answer_whatever_stood_before(out: Path) -> None:
    for one in demonstrations(out):
        if one.source == "review":
            same = message_text(one.prompt[1]) == message_text(one.completion[0])
            assert same == (one.meta["first"] == "right")


def test_a_review_is_asked_for_in_the_words_of_a_built_in_prompt(out: Path) -> None:
    asked_in = {message_text(one.prompt[2]) for one in demonstrations(out) if one.source == "review"}
    assert asked_in <= {prompt.text for prompt in REVIEW.values()}


def test_a_demonstration_answers_in_the_marked_form(out: Path) -> None:
    form = r"The (shape is|image shows a) \w+\. ## \w+ ##"
    assert all(re.fullmatch(form, message_text(one.completion[0])) for one in demonstrations(out))


def test_a_reason_names_what_was_asked_for_and_no_more(out: Path) -> None:
    told = {(one.meta["category"], message_text(one.completion[0])[:9]) for one in demonstrations(out)}
    assert told - {("yes/no", "The shape"), ("yes/no", "The image")} == {("color", "The shape"), ("shape", "The image")}


def test_held_out_are_first_answers_to_open_questions(out: Path) -> None:
    held_out = demonstrations(out, "held_out")
    assert {one.source for one in held_out} == {"initial"}
    assert {one.meta["category"] for one in held_out} <= {"color", "shape"}


def test_the_same_seed_gives_the_same_files(wheel: Path, out: Path, tmp_path: Path) -> None:
    build(wheel, tmp_path / "again", SMALL)
    assert tree(out) == tree(tmp_path / "again")


def test_another_seed_gives_other_files(wheel: Path, out: Path, tmp_path: Path) -> None:
    build(wheel, tmp_path / "other", Settings(seed=1, demonstrations=40, train=30, test=20))
    assert samples(out, "train") != samples(tmp_path / "other", "train")


def test_another_training_size_leaves_the_test_questions_alone(wheel: Path, out: Path, tmp_path: Path) -> None:
    build(wheel, tmp_path / "other", Settings(demonstrations=20, train=10, test=20))
    assert (out / "test.jsonl").read_bytes() == (tmp_path / "other" / "test.jsonl").read_bytes()


def test_a_complete_folder_is_left_as_it_is(wheel: Path, out: Path) -> None:
    assert not build(wheel, out, SMALL)


@pytest.mark.parametrize("damage", ["test.jsonl", "card.md", "manifest.json", "images"])
def test_a_folder_with_a_part_missing_is_made_anew(wheel: Path, out: Path, damage: str) -> None:
    whole = tree(out)
    missing = next((out / "images").iterdir()) if damage == "images" else out / damage
    missing.unlink()
    assert build(wheel, out, SMALL)
    assert tree(out) == whole


def test_a_damaged_image_is_noticed(wheel: Path, out: Path) -> None:
    next((out / "images").iterdir()).write_bytes(b"half")
    assert build(wheel, out, SMALL)


def test_a_failure_on_the_way_leaves_nothing(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(easy_vqa, "_card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(wheel, tmp_path / "out", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.whl"]


def test_a_folder_of_somebody_else_is_never_removed(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(SclvlmError, match=r"thesis\.tex.*Choose another --out"):
        build(wheel, tmp_path / "out", SMALL)


def test_a_wheel_that_is_not_the_published_one_ends_the_command_with_one_message(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pip(command: list[str], **_: object) -> object:
        (Path(command[command.index("--dest") + 1]) / EASY_VQA.wheel).write_bytes(wheel.read_bytes())
        return easy_vqa_result

    easy_vqa_result = type("Result", (), {"returncode": 0, "stderr": ""})()
    monkeypatch.setattr("subprocess.run", pip)
    monkeypatch.setenv("SCLVLM_CACHE", str(tmp_path / "cache"))
    assert easy_vqa.main(["--out", str(tmp_path / "out")]) == 1
    assert f"SHA-256 {EASY_VQA.sha256}, got " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_blind_baseline_gives_the_commonest_answer_to_the_text() -> None:
    training = [Asked("what?", "a"), Asked("what?", "b"), Asked("what?", "b")]
    asked_now = [Sample(id=answer, question="what?", kind=AnswerKind.TEXT, answer=answer) for answer in ("a", "b")]
    asked_now.append(Sample(id="new", question="never asked?", kind=AnswerKind.TEXT, answer="b"))
    assert blind_baseline(training, asked_now) == (1, 3)
