"""Which questions of a graded run are judged together, and under which name their figures stand."""

from __future__ import annotations

from sclvlm.metrics.official import OFFICIAL
from sclvlm.records import Sample
from sclvlm.suites import METRICS
from tests.test_official_benchmarks import figures, sample


def of(entry: str, benchmark: str) -> Sample:
    """A question of an entry of a suite; its answer is A."""
    return sample(f"{entry}/{benchmark}", benchmark, "choice", "A", meta={"suite": entry})


def test_entries_with_one_metric_are_judged_apart() -> None:
    found = figures((of("EN", "AI2D"), "A"), (of("CN", "AI2D"), "B"))
    assert found == {"CN": {"accuracy": 0.0}, "EN": {"accuracy": 1.0}}


def test_an_entry_that_is_called_like_its_metric_keeps_that_name() -> None:
    assert list(figures((of("A-OKVQA", "aokvqa"), "A"), (of("AI2D hard", "ai2d"), "A"))) == ["AI2D hard", "aokvqa"]


def test_a_name_with_more_letters_is_another_one() -> None:
    assert list(figures((of("AI2D", "ai2d"), "A"), (of("AI2D中", "ai2d"), "A"))) == ["AI2D中", "ai2d"]


def test_questions_of_several_metrics_in_one_entry_are_judged_apart() -> None:
    found = figures((of("mine", "AI2D"), "A"), (of("mine", "ScienceQA"), "B"), (of("mine", "our own"), "A"))
    assert {name: each["accuracy"] for name, each in found.items()} == {"mine/ai2d": 1.0, "mine/scienceqa": 0.0}


def test_a_suite_knows_the_names_of_all_metrics() -> None:
    assert set(OFFICIAL) == METRICS
