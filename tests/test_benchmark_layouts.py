"""One question of each benchmark in each layout it is published in, and the sample that it becomes."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from data_pipelines.benchmarks.catalogue import BENCHMARKS
from sclvlm.errors import SclvlmError
from tests.benchmark_files import LETTERED, Row, drawn, imported, lines, parquet, picture, reasons, stored, tsv, whole

SHARD = "data/test-00000-of-00001.parquet"
LETTERED_SAMPLE: Row = {
    "question": 'Which side\tis "left"?',
    "kind": "choice",
    "choices": ("this", "that"),
    "answer": "B",
    "hint": "Look.",
    "category": "place",
}


class Case(NamedTuple):
    """write: the published files into a folder, returning the source; expected: fields of the one sample, and the
    shades of its pictures."""

    name: str
    write: Callable[[Path], Path]
    expected: Row
    shades: tuple[int, ...] = (1,)


def shard(row: Row, name: str = SHARD) -> Callable[[Path], Path]:
    """A folder with one shard that holds this row."""

    def write(folder: Path) -> Path:
        parquet(folder / name, row)
        return folder

    return write


def lettered(folder: Path) -> Path:
    """The TSV of OpenCompass and VLMEvalKit."""
    return tsv(folder / "Some_Bench.tsv", LETTERED)


def files(pictures: dict[str, int], name: str, data: Any, put: Callable[..., Path] = whole) -> Callable[[Path], Path]:
    """A folder with a JSON file and pictures beside it."""

    def write(folder: Path) -> Path:
        for path, shade in pictures.items():
            drawn(folder / path, shade)
        put(folder / name, data)
        return folder

    return write


def vqa_folder(folder: Path) -> Path:
    """Questions and annotations apart, with pictures of COCO; other splits lie there too."""
    for split in ("train2014", "val2014"):
        asked = {"image_id": 42, "question": "What colour?", "question_id": 420}
        answers = [{"answer": text, "answer_confidence": "yes", "answer_id": 1} for text in ("red", "blue", "red")]
        known = {
            "question_id": 420,
            "image_id": 42,
            "question_type": "what",
            "answer_type": "other",
            "answers": answers,
        }
        whole(folder / f"v2_OpenEnded_mscoco_{split}_questions.json", {"info": {}, "questions": [asked]})
        whole(folder / f"v2_mscoco_{split}_annotations.json", {"info": {}, "annotations": [known]})
    drawn(folder / "val2014" / "COCO_val2014_000000000042.jpg", 1)
    return folder


def mme_folder(folder: Path) -> Path:
    """Subtasks of both forms; a scorer's folder that holds texts of another kind."""
    for path in ("count/1.jpg", "artwork/images/1.jpg"):
        drawn(folder / path, 1)
    for path in ("count/1.txt", "artwork/questions_answers_YN/1.txt", "eval_tool/Your_Results/count.txt"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("Is it red? Please answer yes or no.\tNo\n")
    return folder


def nlvr_folder(folder: Path) -> Path:
    """One sentence of dev.json with the six drawings; train.json beside it."""
    row = {"sentence": "There is a box.", "identifier": "72-3", "directory": "5", "label": "true", "evals": {}}
    for split in ("dev", "train"):
        lines(folder / split / f"{split}.json", row)
    for order in range(6):
        drawn(folder / "dev" / "images" / "5" / f"dev-72-3-{order}.png", order)
    return folder


MMMU_ROW: Row = {
    "id": "validation_Art_Theory_3",
    "question": "What is in <image 1>?",
    "options": '[\'A "bird"\', "it\'s <image 2>"]',
    "answer": "B",
    "image_1": stored(1),
    "image_2": stored(2),
    **dict.fromkeys((f"image_{number}" for number in range(3, 8)), None),
    "question_type": "multiple-choice",
    "subfield": "Painting",
}
HALLUSION_ROW: Row = {
    "category": "VS",
    "subcategory": "chart",
    "visual_input": "1",
    "set_id": "0",
    "figure_id": "1",
    "question_id": "2",
    "question": "Is it?",
    "gt_answer": "0",
    "filename": "./hallusion_bench/VS/chart/0_1.png",
}
MATHVISTA_ROW: Row = {
    "pid": "12",
    "question": "How long?",
    "image": "images/12.jpg",
    "choices": None,
    "unit": "m",
    "precision": 1.0,
    "answer": "1.5",
    "question_type": "free_form",
    "answer_type": "float",
    "metadata": {"task": "geometry", "grade": "college", "skills": ["algebra"]},
}
AOKVQA_ROW: Row = {
    "question_id": "q1",
    "image_id": 42,
    "question": "What for?",
    "choices": ["cut", "dig"],
    "correct_choice_idx": 1,
    "direct_answers": ["dig", "digging", "dig"],
    "difficult_direct_answer": False,
}
DOC_ROW: Row = {"questionId": 9, "question": "When?", "docId": 5, "answers": ["1999", "in 1999"]}
CHART: Row = {"question": "How many?", "kind": "number", "answer": "14"}
CHOICE_ROW: Row = {"question": "Which?", "answer": "1", "image": stored(1)}
WHICH: Row = {"question": "Which?", "kind": "choice", "choices": ("a", "b"), "answer": "B"}

CASES = {
    **{
        f"{name}, TSV": Case(name, lettered, LETTERED_SAMPLE)
        for name in (
            "mmstar",
            "mmbench",
            "seed_bench",
            "realworldqa",
            "scienceqa",
            "mmt_bench",
            "ai2d",
            "mmmu",
            "blink",
        )
    },
    "MMStar": Case(
        "mmstar",
        shard(
            {
                "index": 0,
                "question": "Where is it?\nOptions: A: On the bed., B: Under it, C: In a box, D: Away",
                "image": stored(1),
                "answer": "C",
                "category": "coarse perception",
                "l2_category": "scene",
                "meta_info": {"source": "x"},
            },
            "mmstar.parquet",
        ),
        {
            "id": "mmstar-0",
            "question": "Where is it?",
            "kind": "choice",
            "choices": ("On the bed.", "Under it", "In a box", "Away"),
            "answer": "C",
            "category": "coarse perception",
            "meta": {
                "published_question": "Where is it?\nOptions: A: On the bed., B: Under it, C: In a box, D: Away",
                "l2_category": "scene",
            },
        },
    ),
    "MMStar, options that can't be told apart": Case(
        "mmstar",
        shard({"index": 0, "question": "Is A: or B: it?\nA: x, A: y", "image": stored(1), "answer": "A"}, "m.parquet"),
        {"question": "Is A: or B: it?\nA: x, A: y", "kind": "choice", "answer": "A", "choices": ("A", "B")},
    ),
    "MMBench, hub": Case(
        "mmbench",
        shard({**LETTERED, "index": 3_000_007, "hint": "nan", "image": stored(1)}, "en/dev-00000-of-00001.parquet"),
        {**LETTERED_SAMPLE, "hint": "", "group": "7"},
    ),
    "SEED-Bench": Case(
        "seed_bench",
        files(
            {"SEED-Bench-image/1_2": 1},
            "SEED-Bench.json",
            {
                "questions": [
                    {
                        "question_id": "101669",
                        "question": "Which?",
                        "choice_a": "a",
                        "choice_b": "b",
                        "choice_c": "c",
                        "choice_d": "d",
                        "answer": "C",
                        "data_type": kind,
                        "data_id": "1_2",
                        "question_type_id": 5,
                    }
                    for kind in ("video", "image")
                ],
                "question_type": {"Instances Counting": 5},
            },
        ),
        {"id": "seed-101669", "choices": ("a", "b", "c", "d"), "answer": "C", "category": "Instances Counting"},
    ),
    "SEED-Bench, hub": Case(
        "seed_bench",
        shard(
            {
                "question_id": "1",
                "question": "Which?",
                "choice_a": "a",
                "choice_b": "b",
                "choice_c": "c",
                "choice_d": "d",
                "answer": "A",
                "data_type": "image",
                "data_id": ["x"],
                "question_type_id": 1,
                "image": [stored(1)],
            }
        ),
        {"answer": "A", "category": "Scene Understanding"},
    ),
    "RealWorldQA, options": Case(
        "realworldqa",
        shard(
            {
                "question": "Where?\n\nA. Left\nB. Right\nPlease answer directly with only the letter of the correct "
                "option and nothing else.",
                "answer": "B",
                "image": stored(1),
            }
        ),
        {"question": "Where?", "kind": "choice", "choices": ("Left", "Right"), "answer": "B"},
    ),
    "RealWorldQA, options without marks": Case(
        "realworldqa",
        shard({"question": "A left, B right or C ahead?", "answer": "C", "image": stored(1)}),
        {"question": "A left, B right or C ahead?", "kind": "choice", "choices": ("A", "B", "C", "D"), "answer": "C"},
    ),
    "RealWorldQA, a number": Case(
        "realworldqa",
        shard(
            {
                "question": "How many?\nPlease answer directly with a single word or number.",
                "answer": "3",
                "image": stored(1),
            }
        ),
        {"id": "realworldqa-1", "question": "How many?", "kind": "number", "answer": "3"},
    ),
    "RealWorldQA, yes or no": Case(
        "realworldqa",
        shard({"question": "Is it?", "answer": "Yes", "image": stored(1)}),
        {"kind": "yes_no", "answer": "yes"},
    ),
    "ScienceQA": Case(
        "scienceqa",
        files(
            {"images/test/5/image.png": 1},
            "problems.json",
            {
                number: {
                    "question": "Which?",
                    "choices": ["a", "b"],
                    "answer": 1,
                    "hint": "Read.",
                    "image": "image.png",
                    "split": split,
                    "subject": "natural science",
                    "grade": "grade2",
                }
                for number, split in (("4", "train"), ("5", "test"))
            },
        ),
        {
            **WHICH,
            "id": "scienceqa-5",
            "hint": "Read.",
            "category": "natural science",
            "meta": {"has_image": True, "has_hint": True, "grade": "grade2"},
        },
    ),
    "ScienceQA, hub, no picture": Case(
        "scienceqa",
        shard({"question": "Which?", "choices": ["a", "b"], "answer": 1, "hint": "", "image": None}),
        {**WHICH, "meta": {"has_image": False, "has_hint": False}},
        (),
    ),
    "AI2D": Case("ai2d", shard({**CHOICE_ROW, "options": ["a", "b"]}), WHICH),
    "MMMU": Case(
        "mmmu",
        shard(MMMU_ROW, "Art_Theory/validation-00000-of-00001.parquet"),
        {
            "id": "mmmu-validation_Art_Theory_3",
            "question": "What is in <image 1>?",
            "choices": ('A "bird"', "it's <image 2>"),
            "answer": "B",
            "category": "Art_Theory",
            "meta": {"question_type": "multiple-choice", "subfield": "Painting"},
        },
        (1, 2),
    ),
    "MMMU, open": Case(
        "mmmu",
        shard({**MMMU_ROW, "options": "[]", "answer": "['24/7', '3.429']", "question_type": "open"}, "val.parquet"),
        {"kind": "text", "choices": (), "answer": "24/7", "answers": ("3.429",)},
        (1, 2),
    ),
    "POPE": Case(
        "pope",
        files(
            {"val2014/COCO_val2014_1.jpg": 1},
            "coco_pope_adversarial.json",
            {"question_id": 3, "image": "COCO_val2014_1.jpg", "text": "Is it?", "label": "no"},
            lines,
        ),
        {
            "id": "pope-adversarial-3",
            "question": "Is it?",
            "kind": "yes_no",
            "answer": "no",
            "category": "adversarial",
            "group": "COCO_val2014_1.jpg",
        },
    ),
    "POPE, hub": Case(
        "pope",
        shard(
            {
                "question_id": "3",
                "question": "Is it?",
                "answer": "yes",
                "image_source": "C1",
                "image": stored(1),
                "category": "popular",
            }
        ),
        {"id": "pope-popular-3", "answer": "yes", "category": "popular", "group": "C1"},
    ),
    "MME, hub": Case(
        "mme",
        shard(
            {
                "question_id": "count/1.jpg",
                "question": "Is it?",
                "answer": "Yes",
                "category": "count",
                "image": stored(1),
            }
        ),
        {"kind": "yes_no", "answer": "yes", "category": "count", "group": "count/1.jpg"},
    ),
    "HallusionBench": Case(
        "hallusion_bench",
        files({"hallusion_bench/VS/chart/0_1.png": 1}, "HallusionBench.json", [HALLUSION_ROW]),
        {
            "id": "hallusion-VS-chart-1-0-1-2",
            "kind": "yes_no",
            "answer": "no",
            "category": "VS-chart",
            "group": "VS-chart-0",
            "meta": {key: HALLUSION_ROW[key] for key in list(HALLUSION_ROW)[:6]},
        },
    ),
    "HallusionBench, without its picture": Case(
        "hallusion_bench",
        shard({**HALLUSION_ROW, "visual_input": "0", "gt_answer": "1", "image": None}, "non_image-00000.parquet"),
        {"answer": "yes"},
        (),
    ),
    "MMEvalPro": Case(
        "mmevalpro",
        shard(
            {
                **CHOICE_ROW,
                "index": 4,
                "triplet_id": 2,
                "choices": ["a", "b"],
                "answer": "B",
                "question_category": "art",
                "eval_type": "Perception",
                "source": "MMMU",
            }
        ),
        {**WHICH, "group": "2", "category": "art", "meta": {"source": "MMMU", "eval_type": "Perception"}},
    ),
    "VQAv2": Case(
        "vqav2",
        vqa_folder,
        {
            "id": "vqav2-420",
            "question": "What colour?",
            "kind": "text",
            "answer": "red",
            "answers": ("red", "blue", "red"),
            "category": "other",
            "group": "42",
        },
    ),
    "OK-VQA, hub": Case(
        "okvqa",
        shard(
            {"question_id": "1", "question": "What?", "answers": ["a", "b", "b"], "image": stored(1)},
            "val2014-0.parquet",
        ),
        {"id": "okvqa-1", "answer": "b", "answers": ("a", "b", "b")},
    ),
    "TextVQA": Case(
        "textvqa",
        files(
            {"train_images/ab.jpg": 1},
            "TextVQA_0.5.1_val.json",
            {"data": [{"question_id": 34602, "image_id": "ab", "question": "What?", "answers": ["x"] * 10}]},
        ),
        {"id": "textvqa-34602", "answer": "x", "answers": ("x",) * 10, "group": "ab"},
    ),
    "OK-VQA, people who gave no answer": Case(
        "okvqa",
        shard(
            {"question_id": "2", "question": "What?", "answers": ["", "", "b"], "image": stored(1)},
            "val2014-0.parquet",
        ),
        {"id": "okvqa-2", "answer": "b", "answers": ("", "", "b")},
    ),
    "ChartQA": Case(
        "chartqa",
        files(
            {"test/png/7.png": 1}, "test/test_human.json", [{"imgname": "7.png", "query": "How many?", "label": "14"}]
        ),
        {**CHART, "category": "human", "group": "7.png"},
    ),
    "ChartQA, label in a list": Case(
        "chartqa",
        shard({"image": stored(1), "query": "How many?", "label": ["14"], "human_or_machine": 1}),
        {**CHART, "category": "augmented"},
    ),
    "ChartQA, answer": Case(
        "chartqa",
        shard({"type": "human_test", "question": "Is it?", "answer": "Yes", "image": stored(1)}),
        {"kind": "yes_no", "answer": "yes", "category": "human"},
    ),
    "DocVQA": Case(
        "docvqa",
        files(
            {"documents/x_1.png": 1},
            "val_v1.0.json",
            {"dataset_name": "x", "data": [{**DOC_ROW, "image": "documents/x_1.png"}]},
        ),
        {"id": "docvqa-9", "kind": "text", "answer": "1999", "answers": ("in 1999",), "group": "5"},
    ),
    "DocVQA, hub": Case(
        "docvqa",
        shard({**DOC_ROW, "question_types": ["form", "layout"], "image": stored(1)}, "DocVQA/validation-0.parquet"),
        {"id": "docvqa-9", "category": "form, layout"},
    ),
    "InfoVQA": Case(
        "infovqa",
        files({"infographicsvqa_images/2.jpeg": 1}, "val.json", {"data": [{**DOC_ROW, "image_local_name": "2.jpeg"}]}),
        {"id": "infovqa-9", "answer": "1999"},
    ),
    "MathVista": Case(
        "mathvista",
        shard({**MATHVISTA_ROW, "decoded_image": stored(1)}, "testmini-0.parquet"),
        {
            "id": "mathvista-12",
            "kind": "number",
            "answer": "1.5",
            "hint": "Give the number with 1 decimals. Unit: m.",
            "category": "geometry",
            "meta": {
                "question_type": "free_form",
                "answer_type": "float",
                "precision": 1.0,
                "unit": "m",
                "grade": "college",
                "skills": ["algebra"],
            },
        },
    ),
    "MathVista, JSON, an option": Case(
        "mathvista",
        files(
            {"images/12.jpg": 1},
            "testmini.json",
            {"12": {**MATHVISTA_ROW, "choices": ["B", "A"], "answer": "A", "answer_type": "text", "precision": None}},
        ),
        {"kind": "choice", "choices": ("B", "A"), "answer": "B", "hint": ""},
    ),
    "A-OKVQA": Case(
        "aokvqa",
        files({"val2017/000000000042.jpg": 1}, "aokvqa_v1p0_val.json", [AOKVQA_ROW]),
        {"id": "aokvqa-q1", "kind": "choice", "choices": ("cut", "dig"), "answer": "B", "group": "42"},
    ),
    "A-OKVQA, direct answers in a written list": Case(
        "aokvqa_direct",
        shard(
            {**AOKVQA_ROW, "direct_answers": "['dig', \"digging\", 'dig']", "image": stored(1)}, "validation.parquet"
        ),
        {"kind": "text", "answer": "dig", "answers": ("dig", "digging", "dig")},
    ),
    "BLINK": Case(
        "blink",
        shard(
            {
                "idx": "val_Art_Style_1",
                "sub_task": "Art_Style",
                "question": "Which?",
                "choices": ["a", "b"],
                "answer": "(B)",
                "image_1": stored(1),
                "image_2": stored(2),
                "image_3": None,
                "image_4": None,
            },
            "Art_Style/val-00000-of-00001.parquet",
        ),
        {**WHICH, "id": "blink-val_Art_Style_1", "category": "Art_Style"},
        (1, 2),
    ),
    "BlindTest": Case(
        "blindtest",
        shard(
            {"task": "Counting Grid", "prompt": "Rows?", "groundtruth": "5,6", "image": stored(1)}, "valid-0.parquet"
        ),
        {"kind": "text", "answer": "5,6", "category": "Counting Grid", "question": "Rows?"},
    ),
    "BlindTest, a letter": Case(
        "blindtest",
        shard(
            {"task": "Circled Letter", "prompt": "Which?", "groundtruth": "a", "image": stored(1)}, "valid-0.parquet"
        ),
        {"kind": "choice", "choices": tuple(string.ascii_uppercase), "answer": "A", "category": "Circled Letter"},
    ),
    "PuzzleVQA, options that are numbers": Case(
        "puzzlevqa",
        files(
            {"images/venn/venn_0001.png": 1},
            "venn.json",
            {"image": "images/venn/venn_0001.png", "question": "Which?", "options": [2, 1, "3"], "answer": "1"},
            lines,
        ),
        {"id": "puzzlevqa-venn-venn_0001", "choices": ("2", "1", "3"), "answer": "B", "category": "venn"},
    ),
}


def told(case: Case) -> Row:
    """The expected meta, if it is said, with what every sample says of its benchmark."""
    meta = case.expected.get("meta")
    return {} if meta is None else {"meta": {"benchmark": BENCHMARKS[case.name].name, **meta}}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_published_row_becomes_this_sample(case: Case, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (sample,), tally = imported(case.name, case.write(tmp_path / "source"), tmp_path / "out")
    assert reasons(tally) == {}
    assert {name: getattr(sample, name) for name in case.expected} == case.expected | told(case)
    kinds = {Path(path).suffix for path in sample.images}
    contents = [[picture(shade, kind) for kind in ("png", "jpeg")] for shade in case.shades]
    assert len(sample.images) == len(case.shades)
    assert all(Path(path).read_bytes() in ways for path, ways in zip(sample.images, contents, strict=True))
    assert kinds <= {".png", ".jpeg"}


def test_every_benchmark_has_a_case() -> None:
    assert {case.name for case in CASES.values()} | {"mme", "nlvr"} == set(BENCHMARKS)


def test_mme_is_read_from_its_folders_and_its_questions_are_grouped_by_picture(tmp_path: Path) -> None:
    samples, tally = imported("mme", mme_folder(tmp_path / "MME"), tmp_path / "out")
    assert [(sample.category, sample.group, sample.answer) for sample in samples] == [
        ("artwork", "artwork/1", "no"),
        ("count", "count/1", "no"),
    ]
    assert (tally.read, samples[0].question) == (2, "Is it red? Please answer yes or no.")


def test_nlvr_is_asked_of_each_of_the_six_drawings_and_grouped_by_sentence(tmp_path: Path) -> None:
    samples, _ = imported("nlvr", nlvr_folder(tmp_path / "nlvr"), tmp_path / "out")
    assert [sample.id for sample in samples] == [f"nlvr-dev-72-3-{order}" for order in range(6)]
    assert {(sample.group, sample.meta["identifier"], sample.answer) for sample in samples} == {("72", "72-3", "yes")}
    assert [Path(sample.images[0]).read_bytes() for sample in samples] == [picture(order) for order in range(6)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question": "See <image 3>."}, "a marker without its image"),
        ({"image_1": None, "image_2": stored(2)}, "a gap among the images"),
        ({"answer": "?"}, "no answer"),
        ({"answer": "C"}, "answer is none of the choices"),
    ],
)
def test_a_broken_row_of_mmmu_is_counted(change: Row, reason: str, tmp_path: Path) -> None:
    source = parquet(tmp_path / "validation-0.parquet", MMMU_ROW, {**MMMU_ROW, "id": "dev_Art_4", **change})
    assert reasons(imported("mmmu", source, tmp_path / "out")[1]) == {reason: 1}


def test_options_of_mmmu_that_are_no_list_are_named(tmp_path: Path) -> None:
    source = parquet(tmp_path / "validation-0.parquet", {**MMMU_ROW, "options": "['a', "})
    with pytest.raises(SclvlmError, match=r"row 1: column 'options': expected a list of texts, got \"\['a', \""):
        imported("mmmu", source, tmp_path / "out")


def test_questions_left_with_their_options_inside_are_counted_on_the_card(tmp_path: Path) -> None:
    case = CASES["MMStar, options that can't be told apart"]
    imported(case.name, case.write(tmp_path / "source"), tmp_path / "out")
    assert "| options left inside the question | 1 |" in (tmp_path / "out" / "card.md").read_text()


def test_a_question_of_vqa_without_annotation_is_counted(tmp_path: Path) -> None:
    vqa_folder(tmp_path / "vqa")
    path = tmp_path / "vqa" / "v2_OpenEnded_mscoco_val2014_questions.json"
    asked = [{"image_id": 42, "question": "What?", "question_id": number} for number in (420, 421)]
    whole(path, {"questions": asked})
    assert reasons(imported("vqav2", tmp_path / "vqa", tmp_path / "out")[1]) == {"no answers": 1}


def test_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    vqa_folder(tmp_path / "vqa")
    (tmp_path / "vqa" / "val2014").rename(tmp_path / "coco")
    samples, _ = imported("vqav2", tmp_path / "vqa", tmp_path / "out", images=tmp_path / "coco")
    assert len(samples) == 1
