"""A graded run into the official figures of its benchmarks."""

from __future__ import annotations

from typing import Any

import pytest

from sclvlm.errors import SclvlmError
from sclvlm.grading import grade_trace
from sclvlm.metrics.official import OFFICIAL, benchmark_key, in_points, official_by_turn, official_figures
from sclvlm.records import GradedTrace, ModelRef, Sample, Trace, Turn

Run = tuple[list[GradedTrace], dict[str, Sample]]


def sample(name: str, benchmark: str, kind: str = "yes_no", answer: str = "yes", **fields: Any) -> Sample:
    choices = ("x", "y", "z") if kind == "choice" else ()
    meta = {"benchmark": benchmark, **fields.pop("meta", {})}
    return Sample(id=name, question="?", kind=kind, answer=answer, choices=choices, meta=meta, **fields)


def answered(one: Sample, *responses: str, draw: int = 0, ended: str = "stop", marker: str = "##") -> GradedTrace:
    turns = tuple(
        Turn(role="refined" if index else "initial", prompt=[], response=said, num_tokens=1, finish_reason=ended)
        for index, said in enumerate(responses)
    )
    prompts = {"marker": marker}
    trace = Trace(id=one.id, draw=draw, turns=turns, model=ModelRef(path="m"), sampling={}, prompts=prompts, seed=0)
    return grade_trace(trace, one)


def figures(*asked: tuple[Sample, str], **options: Any) -> dict[str, dict[str, float]]:
    return official_figures([answered(*each) for each in asked], {one.id: one for one, _ in asked}, **options)


def test_a_sample_names_its_benchmark() -> None:
    asked = [(sample("a", "AI2D", "choice", "A"), "A"), (sample("b", "SEED-Bench", "choice", "B"), "A")]
    assert {name: found["accuracy"] for name, found in figures(*asked).items()} == {"ai2d": 1.0, "seedbench": 0.0}


def test_the_caller_can_name_the_benchmark() -> None:
    assert list(figures((sample("a", "", "choice", "A"), "A"), benchmark="MMT-Bench")) == ["mmtbench"]


def test_a_benchmark_without_official_metric_takes_no_part() -> None:
    assert figures((sample("a", "our own", "choice", "A"), "A")) == {}


def test_each_turn_has_its_figures() -> None:
    one = sample("a", "AI2D", "choice", "A")
    graded, samples = [answered(one, "B", "A")], {"a": one}
    found = {turn: official_figures(graded, samples, turn=turn)["ai2d"]["accuracy"] for turn in ("first", "last")}
    assert found == {"first": 0.0, "last": 1.0}


def test_draws_are_averaged() -> None:
    one = sample("a", "AI2D", "choice", "A")
    graded = [answered(one, said, draw=draw) for draw, said in enumerate("AABC")]
    assert official_figures(graded, {"a": one})["ai2d"] == {"accuracy": 0.5}


def test_draws_of_one_question_are_no_rotations() -> None:
    one = sample("a", "MMBench", "choice", "A", group="1")
    graded = [answered(one, said, draw=draw) for draw, said in enumerate("AB")]
    assert official_figures(graded, {"a": one})["mmbench"] == {"vanilla": 0.5}


@pytest.mark.parametrize("meta", [{}, {"index": None}])
def test_rotations_are_told_by_index_or_by_their_order(meta: dict[str, Any]) -> None:
    named = [sample(f"q{i}", "mmbench", "choice", "A", group="7", meta={"index": i}) for i in (7, 1_000_007)]
    grouped = [sample(f"q{i}", "mmbench", "choice", "A", group="7") for i in (0, 1)]
    expected = {"mmbench": {"circular": 0.0, "vanilla": 1.0}}
    assert figures((named[1], "B"), (named[0], "A")) == expected
    assert figures((grouped[0], "A"), (grouped[1], "B")) == expected


def test_mmstar_takes_its_second_level() -> None:
    levels = {"a": "x", "b": "x", "c": "y"}
    asked = [
        (sample(name, "MMStar", "choice", "A", category="all", meta={"l2": level}), "A" if name != "c" else "B")
        for name, level in levels.items()
    ]
    assert figures(*asked)["mmstar"]["macro"] == 0.5


def test_pope_is_read_both_ways_and_split_by_category() -> None:
    asked = [
        (sample("a", "POPE", answer="no", category="random"), "I cannot say."),
        (sample("b", "POPE", answer="yes", category="popular"), "Yes"),
    ]
    pope = figures(*asked)["pope"]
    # Ours abstains at a; the official reading calls it a yes.
    assert (pope["precision"], pope["official/precision"]) == (1.0, 0.5)
    assert (pope["random/yes_rate"], pope["random/official/yes_rate"]) == (0.0, 1.0)


def test_one_split_of_pope_is_not_told_twice() -> None:
    pope = figures((sample("a", "POPE", category="random"), "Yes"))["pope"]
    assert not [name for name in pope if name.startswith("random")]


def test_mme_pairs_the_questions_of_an_image() -> None:
    asked = [
        (sample("a", "MME", category="count", images=("1.png",)), "Yes"),
        (sample("b", "MME", category="count", images=("1.png",), answer="no"), "Yes"),
    ]
    assert figures(*asked)["mme"] == {"perception": 50.0, "count/accuracy": 50.0, "count/accuracy_plus": 0.0}


def test_hallusion_takes_its_keys_from_meta() -> None:
    ids = {"set_id": 0, "figure_id": 1, "question_id": 0, "subcategory": "map"}
    one = sample("a", "HallusionBench", category="VD", meta=ids)
    assert figures((one, "Yes"))["hallusionbench"] == {"aAcc": 1.0, "fAcc": 1.0, "qAcc": 1.0}


def test_a_sample_without_what_its_metric_needs_is_named_with_the_remedy() -> None:
    with pytest.raises(SclvlmError, match=r"sample 'a': .* needs meta\.set_id.*Write the samples again"):
        figures((sample("a", "HallusionBench", category="VD"), "Yes"))


def test_triplets_and_sentences_go_by_group() -> None:
    asked = [
        (sample(name, "MMEvalPro", "choice", "A", group="t"), said) for name, said in zip("abc", "AAB", strict=True)
    ]
    assert figures(*asked)["mmevalpro"] == pytest.approx({"genuine": 0.0, "micro": 2 / 3})
    same = [(sample(name, "NLVR", group="s"), said) for name, said in (("a", "Yes"), ("b", "No"))]
    assert figures(*same)["nlvr"] == {"accuracy": 0.5, "consistency": 0.0}


def test_vqa_counts_the_people_who_agree() -> None:
    people = ("red",) * 3 + ("blue",) * 7
    one = sample("a", "VQAv2", "text", "blue", answers=people)
    assert figures((one, "## red ##"))["vqav2"] == {"vqa_accuracy": pytest.approx(0.9)}


def test_aokvqa_keeps_choices_and_direct_answers_apart() -> None:
    asked = [
        (sample("a", "A-OKVQA", "choice", "A"), "A"),
        (sample("b", "A-OKVQA", "text", "dog", answers=("cat", "dog", "dog", "cow")), "dog"),
    ]
    assert figures(*asked)["aokvqa"] == pytest.approx({"choice_accuracy": 1.0, "direct_answer_accuracy": 2 / 3})


def test_chartqa_and_docvqa_compare_what_was_written() -> None:
    assert (
        figures((sample("a", "ChartQA", "number", "1000"), "The answer is 1,040"))["chartqa"]["relaxed_accuracy"] == 1
    )
    one = sample("a", "DocVQA", "text", "The Hague", answers=("The Hague",))
    assert figures((one, "## The Hagu ##"))["docvqa"] == {"anls": pytest.approx(1 - 1 / 9)}


def test_marks_are_no_part_of_what_pope_and_mmmu_read() -> None:
    pope, mmmu = sample("a", "POPE", answer="no"), sample("b", "MMMU", "text", "1")
    said = [
        answered(pope, "<answer>no</answer>", marker="<answer> </answer>"),
        answered(mmmu, "=1= 7 =1=", marker="=1="),
    ]
    found = official_figures(said, {"a": pope, "b": mmmu})
    assert (found["pope"]["official/accuracy"], found["mmmu"]["accuracy"]) == (1.0, 0.0)


def test_chartqa_has_all_questions_and_both_halves() -> None:
    asked = [
        (sample(name, "ChartQA", "number", "10", category=by), said)
        for name, by, said in (("a", "human", "10"), ("b", "human", "9"), ("c", "human", "9"), ("d", "augmented", "10"))
    ]
    # 2 of 4, 1 of 3, 1 of 1: all questions weigh the same.
    assert figures(*asked)["chartqa"] == pytest.approx({"relaxed_accuracy": 2 / 4, "human": 1 / 3, "augmented": 1.0})


def test_scienceqa_has_subjects_modalities_and_grades() -> None:
    told = {
        "a": ({"has_image": True, "has_hint": True, "grade": "grade6"}, "natural science", "A"),
        "b": ({"has_image": True, "has_hint": False, "grade": "grade7"}, "natural science", "B"),
        "c": ({"has_image": False, "has_hint": False, "grade": "grade12"}, "social science", "A"),
    }
    asked = [
        (sample(name, "ScienceQA", "choice", "A", category=subject, meta=meta), said)
        for name, (meta, subject, said) in told.items()
    ]
    assert figures(*asked)["scienceqa"] == pytest.approx(
        {
            "accuracy": 2 / 3,
            "macro": (1 / 2 + 1) / 2,
            "category/natural science": 1 / 2,
            "category/social science": 1.0,
            "modality/text": 1.0,  # a
            "modality/image": 1 / 2,  # a, b
            "modality/none": 1.0,  # c
            "grade/1-6": 1.0,  # a
            "grade/7-12": 1 / 2,  # b, c
        }
    )


def test_scienceqa_without_such_meta_is_told_by_what_the_sample_holds() -> None:
    one = sample("a", "ScienceQA", "choice", "A", images=("1.png",))
    assert set(figures((one, "A"))["scienceqa"]) == {"accuracy", "macro", "category/(none)", "modality/image"}


def test_mmmu_judges_open_answers_by_its_own_rule() -> None:
    one = sample("a", "MMMU", "text", "photosynthesis", category="Biology")
    # Nothing a short answer could be read out of, but the conclusion holds the text.
    found = figures((one, "Plants take in light and air all day long, thus what they do there must be photosynthesis!"))
    assert found["mmmu"] == {"accuracy": 1.0, "macro": 1.0, "category/Biology": 1.0}


def test_mathvista_rounds_to_the_precision_of_the_question() -> None:
    one = sample("a", "MathVista", "number", "1.2", meta={"answer_type": "float", "precision": 1.0})
    assert figures((one, "## 1.24 ##"))["mathvista"]["accuracy"] == 1.0


def test_realworldqa_takes_letters_and_words() -> None:
    asked = [
        (sample("a", "RealWorldQA", "choice", "B"), "B"),
        (sample("b", "RealWorldQA", "text", "Left"), "left."),
        (sample("c", "RealWorldQA", "text", "Left"), "The answer is right."),
    ]
    assert figures(*asked)["realworldqa"] == {"accuracy": pytest.approx(2 / 3)}


@pytest.mark.parametrize("said", ["(5, 6)", "## 5, 6 ##", "rows={5} columns={6}", "5 rows and 6 columns", "5,6"])
def test_a_grid_of_blindtest_is_right_by_its_numbers(said: str) -> None:
    assert figures((sample("a", "BlindTest", "text", "5,6"), said))["blindtest"]["accuracy"] == 1.0


@pytest.mark.parametrize("said", ["(6, 5)", "5", "5, 6, 7", "56", "no idea"])
def test_other_numbers_are_another_grid(said: str) -> None:
    assert figures((sample("a", "BlindTest", "text", "5,6"), said))["blindtest"]["accuracy"] == 0.0


@pytest.mark.parametrize(("said", "right"), [("{a}", 1), ("## a ##", 1), ("## A ##", 1), ("B", 0), ("an a", 0)])
def test_a_letter_of_blindtest_counts_in_either_case(said: str, right: int) -> None:
    assert figures((sample("a", "BlindTest", "text", "a"), said))["blindtest"]["accuracy"] == right


def test_other_answers_of_blindtest_are_as_they_were_read() -> None:
    asked = [(sample("a", "BlindTest", "number", "2"), "There are 2."), (sample("b", "BlindTest"), "No")]
    assert figures(*asked)["blindtest"]["accuracy"] == 0.5


def test_a_trace_of_no_sample_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="'a' is about no sample"):
        official_figures([answered(sample("a", "AI2D"), "Yes")], {})


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_benchmark_has_its_key(name: str) -> None:
    assert benchmark_key(name) == name


def test_mme_alone_counts_in_points() -> None:
    assert [name for name in OFFICIAL if in_points(name)] == ["mme"]


@pytest.mark.parametrize("name", sorted(set(OFFICIAL) - {"hallusionbench", "mathvista"}))
def test_a_run_of_failures_has_figures(name: str) -> None:
    """An engine failed at every question: nothing is right, and nothing breaks."""
    one = sample("a", name, answers=("yes", "yes"))
    assert set(official_figures([answered(one, "", ended="error")], {"a": one})[name].values()) == {0}


def test_an_empty_response_that_was_said_is_a_yes_to_the_official_script_of_pope() -> None:
    assert figures((sample("a", "POPE"), ""))["pope"]["official/accuracy"] == 1.0


@pytest.mark.parametrize("marker", ["##", "@@", "[ANS] [/ANS]", "<answer> </answer>"])
@pytest.mark.parametrize(
    ("name", "kind", "answer", "figure"),
    [
        ("ChartQA", "number", "12", "relaxed_accuracy"),
        ("DocVQA", "text", "word 1", "anls"),
        ("RealWorldQA", "text", "left", "accuracy"),
        ("MathVista", "text", "red", "accuracy"),
    ],
)
def test_the_answer_is_read_between_the_marks_that_were_asked_for(
    name: str, kind: str, answer: str, figure: str, marker: str
) -> None:
    one = sample("a", name, kind, answer, meta={"answer_type": "text"} if kind == "text" else {})
    opening, _, closing = marker.partition(" ")
    said = f"Because of it. {opening} {answer} {closing or opening}"
    assert official_figures([answered(one, said, marker=marker)], {"a": one})[benchmark_key(name)][figure] == 1.0


def test_a_run_has_its_figures_by_turn() -> None:
    one = sample("a", "AI2D", "choice", "A")
    found = official_by_turn([answered(one, "B", "A")], {"a": one})
    assert found == {"first": {"ai2d": {"accuracy": 0.0}}, "last": {"ai2d": {"accuracy": 1.0}}}


def test_a_run_without_review_has_one_turn() -> None:
    one = sample("a", "AI2D", "choice", "A")
    assert list(official_by_turn([answered(one, "A")], {"a": one})) == ["first"]


def test_a_run_on_no_benchmark_has_no_official_figures() -> None:
    one = sample("a", "", "choice", "A")
    assert official_by_turn([answered(one, "A")], {"a": one}) == {}
