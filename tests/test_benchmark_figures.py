"""What the importers write is what the official metrics need: from published files to a leaderboard's figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from data_pipelines.benchmarks.catalogue import BENCHMARKS
from sclvlm.grading import grade_trace
from sclvlm.metrics.official import OFFICIAL, Figures, benchmark_key, official_figures
from sclvlm.records import GradedTrace, ModelRef, Sample, Trace, Turn
from tests.benchmark_files import LETTERED, Row, drawn, imported, in_base64, lines, parquet, stored, tsv
from tests.test_benchmark_layouts import CASES, CHOICE_ROW, HALLUSION_ROW, Case


def answered(sample: Sample, response: str) -> GradedTrace:
    """A graded trace of one turn."""
    turn = Turn(role="initial", prompt=[], response=response, num_tokens=1, finish_reason="stop")
    trace = Trace(id=sample.id, turns=(turn,), model=ModelRef(path="m"), sampling={}, prompts={}, seed=0)
    return grade_trace(trace, sample)


def figures(samples: list[Sample], wrong: Iterable[int] = ()) -> Figures:
    """The official figures where all of `samples` are answered right but those at these places."""
    missed = {samples[place].id for place in wrong}
    graded = [answered(one, "" if one.id in missed else f"## {one.answer} ##") for one in samples]
    (found,) = official_figures(graded, {one.id: one for one in samples}).values()
    return found


def mmbench(folder: Path) -> Path:
    """Two questions of two options, each asked in both orders; a copy shares the picture of its original."""
    turned = {"A": LETTERED["B"], "B": LETTERED["A"], "answer": "A"}
    rows = [{**LETTERED, "index": index, "image": in_base64(index)} for index in (7, 8)]
    copies = [{**row, **turned, "index": 1_000_000 + row["index"], "image": row["index"]} for row in rows]
    return tsv(folder / "MMBench_DEV_EN.tsv", *copies, *rows)


def mme(folder: Path) -> Path:
    """Two subtasks of two pictures each, with two questions about each picture."""
    for name in ("count/1", "count/2", "OCR/1", "OCR/2"):
        drawn(folder / f"{name}.jpg", 1)
        (folder / f"{name}.txt").write_text("Is it red?\tNo\nIs it blue?\tYes\n")
    return folder


def hallusion(folder: Path) -> Path:
    """One set of two questions, asked without a picture and of two figures."""
    rows = []
    for figure in ("0", "1", "2"):
        for question in ("0", "1"):
            shown = {"visual_input": "1", "image": stored(int(figure))} if figure != "0" else {"visual_input": "0"}
            rows.append({**HALLUSION_ROW, "image": None, **shown, "figure_id": figure, "question_id": question})
    parquet(folder / "non_image-00000.parquet", *rows[:2])
    parquet(folder / "image-00000.parquet", *rows[2:])
    return folder


def nlvr(folder: Path) -> Path:
    """Two sentences, each of two pictures in six orders."""
    names = [f"{sentence}-{number}" for sentence in (1, 2) for number in (0, 1)]
    rows: list[Row] = [{"sentence": "A box.", "identifier": name, "directory": "5", "label": "true"} for name in names]
    lines(folder / "dev" / "dev.json", *rows)
    for name in names:
        for order in range(6):
            drawn(folder / "dev" / "images" / "5" / f"dev-{name}-{order}.png", order)
    return folder


def mmevalpro(folder: Path) -> Path:
    """Two triplets."""
    rows = [
        {**CHOICE_ROW, "index": index, "triplet_id": index // 3, "choices": ["a", "b"], "answer": "B"}
        for index in range(6)
    ]
    return parquet(folder / "test-00000.parquet", *rows)


def pope(folder: Path) -> Path:
    """A present and an absent object of each of two lists."""
    for split in ("random", "popular"):
        rows = [{"question_id": label, "image": "1.jpg", "text": "Is it?", "label": label} for label in ("yes", "no")]
        lines(folder / f"coco_pope_{split}.json", *rows)
    drawn(folder / "1.jpg", 1)
    return folder


GROUPED = {"mmbench": mmbench, "mme": mme, "hallusion_bench": hallusion, "nlvr": nlvr, "mmevalpro": mmevalpro}
"""Benchmarks whose metric counts what belongs together."""


def samples_of(name: str, write: Callable[[Path], Path], folder: Path) -> list[Sample]:
    (folder / "source").mkdir()
    return imported(name, write(folder / "source"), folder / "out")[0]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_names_an_official_metric(name: str) -> None:
    assert benchmark_key(BENCHMARKS[name].name) in OFFICIAL


def test_both_ways_of_asking_aokvqa_are_judged_by_its_metric() -> None:
    assert {BENCHMARKS[name].name for name in ("aokvqa", "aokvqa_direct")} == {"A-OKVQA"}


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.name != "pope"], ids=lambda case: case.name)
def test_right_answers_are_perfect_on_every_layout(case: Case, tmp_path: Path) -> None:
    found = figures(samples_of(case.name, case.write, tmp_path))
    # One question of MME has no second one about its picture; three of A-OKVQA's people make an answer wholly right.
    partial = {"mme": {"count/accuracy_plus", "perception"}, "aokvqa_direct": {"direct_answer_accuracy"}}
    partial["vqav2"] = partial["okvqa"] = {"vqa_accuracy"}
    left = {key: value for key, value in found.items() if key not in partial.get(case.name, ())}
    assert set(left.values()) <= {100.0 if case.name == "mme" else 1.0}


@pytest.mark.parametrize("name", [name for name in GROUPED if name != "mme"])
def test_right_answers_are_perfect_where_questions_belong_together(name: str, tmp_path: Path) -> None:
    assert set(figures(samples_of(name, GROUPED[name], tmp_path)).values()) == {1.0}


def test_answers_that_no_person_of_three_gave_alone_agree_by_thirds(tmp_path: Path) -> None:
    # red, blue, red: without one red, one red of 3 is left; without blue, two: (1/3 + 2/3 + 1/3) / 3.
    case = CASES["VQAv2"]
    assert figures(samples_of(case.name, case.write, tmp_path)) == {"vqa_accuracy": pytest.approx(4 / 9)}


def test_direct_answers_count_the_people_who_agree(tmp_path: Path) -> None:
    case = CASES["A-OKVQA, direct answers in a written list"]  # dig, digging, dig
    assert figures(samples_of(case.name, case.write, tmp_path)) == {"direct_answer_accuracy": pytest.approx(2 / 3)}


def test_every_accepted_answer_of_docvqa_counts(tmp_path: Path) -> None:
    (sample,) = samples_of("docvqa", CASES["DocVQA"].write, tmp_path)
    for said in ("1999", "in 1999"):
        assert official_figures([answered(sample, said)], {sample.id: sample})["docvqa"] == {"anls": 1.0}


def test_pope_is_perfect_in_both_readings_and_all_lists(tmp_path: Path) -> None:
    found = figures(samples_of("pope", pope, tmp_path))
    rates = {key: value for key, value in found.items() if key.endswith("yes_rate")}
    assert set(rates.values()) == {0.5}
    assert {value for key, value in found.items() if key not in rates} == {1.0}
    assert {key.partition("/")[0] for key in found} >= {"random", "popular"}


def test_one_wrong_rotation_of_mmbench_costs_its_question(tmp_path: Path) -> None:
    samples = samples_of("mmbench", mmbench, tmp_path)
    originals = [place for place, sample in enumerate(samples) if sample.meta["index"] < 1_000_000]
    copies = [place for place in range(4) if place not in originals]
    assert figures(samples, copies[:1]) == {"circular": 0.5, "vanilla": 1.0}
    assert figures(samples, originals[:1]) == {"circular": 0.5, "vanilla": 0.5}


def test_rotations_of_mmbench_are_told_without_their_original(tmp_path: Path) -> None:
    samples = [each for each in samples_of("mmbench", mmbench, tmp_path) if each.meta["index"] != 7]
    wrong = next(place for place, sample in enumerate(samples) if sample.meta["index"] == 1_000_007)
    assert figures(samples, [wrong]) == {"circular": 0.5, "vanilla": 1.0}


def test_one_wrong_answer_of_mme_costs_a_question_and_its_picture(tmp_path: Path) -> None:
    samples = samples_of("mme", mme, tmp_path)
    assert [sample.category for sample in samples] == ["OCR"] * 4 + ["count"] * 4
    whole = {f"{name}/{figure}": 100.0 for name in ("OCR", "count") for figure in ("accuracy", "accuracy_plus")}
    assert figures(samples) == {"perception": 400.0, **whole}
    # 3 of 4 questions, 1 of 2 pictures.
    changed = {"count/accuracy": 75.0, "count/accuracy_plus": 50.0}
    assert figures(samples, [4]) == {"perception": 325.0, **whole, **changed}


def test_one_wrong_answer_of_hallusion_bench_costs_its_figure_and_its_question(tmp_path: Path) -> None:
    samples = samples_of("hallusion_bench", hallusion, tmp_path)
    without = [place for place, sample in enumerate(samples) if sample.meta["figure_id"] == "0"]
    drawn_ones = [place for place in range(6) if place not in without]
    # 5 of 6 questions, 1 of 2 figures, 1 of 2 questions with all their figures.
    assert figures(samples, drawn_ones[:1]) == pytest.approx({"aAcc": 5 / 6, "fAcc": 0.5, "qAcc": 0.5})
    # What is asked without a picture belongs to no figure.
    assert figures(samples, without[:1]) == pytest.approx({"aAcc": 5 / 6, "fAcc": 1.0, "qAcc": 0.5})


def test_one_wrong_drawing_of_nlvr_costs_its_sentence(tmp_path: Path) -> None:
    samples = samples_of("nlvr", nlvr, tmp_path)
    assert figures(samples, [0]) == pytest.approx({"accuracy": 23 / 24, "consistency": 0.5})


def test_one_wrong_question_of_mmevalpro_costs_its_triplet(tmp_path: Path) -> None:
    samples = samples_of("mmevalpro", mmevalpro, tmp_path)
    assert figures(samples, [5]) == pytest.approx({"genuine": 0.5, "micro": 5 / 6})


INSIDE = [name for name in CASES if "can't be told apart" in name or "without marks" in name]


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("said", ["## {} ##", "{}", "({})", "The answer is {}."])
def test_a_letter_answers_a_question_that_keeps_its_options_inside(name: str, said: str, tmp_path: Path) -> None:
    (sample,) = samples_of(CASES[name].name, CASES[name].write, tmp_path)
    for response, share in ((said.format(sample.answer), 1.0), (said.format("B"), 0.0)):
        trace = answered(sample, response)
        assert trace.turns[0].verdict == ("correct" if share else "incorrect")
        (found,) = official_figures([trace], {sample.id: sample}).values()
        assert found["accuracy"] == share


@pytest.mark.parametrize("letter", "aOiT")
@pytest.mark.parametrize("said", ["{{{}}}", "## {} ##", "{}", "The letter is {}.", "## {{{}}} ##"])
def test_a_letter_of_blindtest_is_read_in_either_case(letter: str, said: str, tmp_path: Path) -> None:
    row = {"task": "Circled Letter", "prompt": "Which?", "groundtruth": letter, "image": stored(1)}
    (sample,) = samples_of("blindtest", lambda folder: parquet(folder / "valid-0.parquet", row), tmp_path)
    for written, verdict in ((letter, "correct"), (letter.swapcase(), "correct"), ("e", "incorrect")):
        assert answered(sample, said.format(written)).turns[0].verdict == verdict


def test_mmstar_is_averaged_over_its_second_level(tmp_path: Path) -> None:
    levels = ("x", "x", "x", "y")
    rows = [
        {**LETTERED, "index": index, "l2_category": level, "image": in_base64(index)}
        for index, level in enumerate(levels)
    ]
    samples = samples_of("mmstar", lambda folder: tsv(folder / "MMStar.tsv", *rows), tmp_path)
    found = figures(samples, [3])
    assert (found["accuracy"], found["macro"]) == (0.75, 0.5)
