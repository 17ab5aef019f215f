"""All models by all benchmarks."""

from __future__ import annotations

from statistics import stdev

import pytest

from sclvlm.records import GradedTrace, Sample
from sclvlm.scoreboard import Cell, Part, cells_of, document, markdown, page, several
from tests.test_official_benchmarks import answered, sample

X, Y = (sample(name, "AI2D", "choice", "A") for name in "xy")
SAMPLES: dict[str, Sample] = {"x": X, "y": Y}


def graded(*said: tuple[Sample, tuple[str, ...], int]) -> list[GradedTrace]:
    return [answered(one, *responses, draw=draw) for one, responses, draw in said]


def test_a_cell_has_accuracy_unparsed_and_n_beside_its_figure() -> None:
    (cell,) = cells_of("m", graded((X, ("A",), 0), (Y, ("",), 0)), SAMPLES)
    assert cell[:5] == ("AI2D", "m", "first", "accuracy", False)
    assert (cell.value, cell.spread, cell.draws, cell.accuracy, cell.unparsed, cell.n) == (0.5, None, 1, 0.5, 0.5, 2)


def test_of_several_draws_there_are_mean_and_spread() -> None:
    run = graded((X, ("A",), 0), (X, ("A",), 1), (X, ("B",), 2))
    (cell,) = cells_of("m", run, SAMPLES)
    # 1, 1 and 0.
    assert (cell.value, cell.spread) == pytest.approx((2 / 3, stdev((1, 1, 0))))
    assert (cell.draws, cell.n) == (3, 1)


def test_each_turn_has_its_column() -> None:
    cells = cells_of("m", graded((X, ("B", "A"), 0)), SAMPLES)
    assert [(cell.turn, cell.value) for cell in cells] == [("first", 0.0), ("last", 1.0)]
    assert markdown(cells).startswith("| benchmark | figure | n | m, first turn | m, last turn |\n")


def test_a_benchmark_has_the_name_of_its_suite_and_the_figure_of_its_metric() -> None:
    one = sample("x", "POPE", meta={"suite": "hard POPE"})
    (cell,) = cells_of("m", [answered(one, "Yes")], {"x": one})
    assert (cell.benchmark, cell.figure, cell.value) == ("hard POPE", "f1", 1.0)


def test_an_entry_with_questions_of_several_metrics_stands_with_its_accuracy() -> None:
    asked = [sample(name, name, meta={"suite": "mine"}) for name in ("POPE", "MME", "ours")]
    cells = cells_of("m", [answered(one, "Yes") for one in asked], {one.id: one for one in asked})
    assert [(cell.benchmark, cell.figure, cell.in_points, cell.value) for cell in cells] == [
        ("mine", "accuracy", False, 1.0)
    ]


def test_mme_is_told_in_points() -> None:
    one = sample("x", "MME", category="count", images=("1.png",))
    cells = cells_of("m", [answered(one, "Yes")], {"x": one})
    assert "| MME | perception | 1 | 100.0 (100.0; 0.0) |" in markdown(cells)


def test_questions_of_no_official_metric_stand_with_their_accuracy() -> None:
    own, none = sample("x", "ours", "choice", "A"), sample("y", "", "choice", "A")
    cells = cells_of("m", [answered(own, "A"), answered(none, "B")], {"x": own, "y": none})
    assert [(cell.benchmark, cell.figure, cell.value) for cell in cells] == [
        ("ours", "accuracy", 1.0),
        ("questions", "accuracy", 0.0),
    ]


def test_a_model_that_was_not_asked_leaves_its_cell_empty() -> None:
    one = sample("z", "ours", "choice", "A")
    cells = [*cells_of("m", graded((X, ("A",), 0)), SAMPLES), *cells_of("k", [answered(one, "B")], {"z": one})]
    assert markdown(cells).splitlines()[2:] == [
        "| AI2D | accuracy | 1 | 100.0 (100.0; 0.0) |  |",
        "| ours | accuracy | 1 |  | 0.0 (0.0; 0.0) |",
    ]


def test_the_document_has_a_row_a_benchmark() -> None:
    cells = [*cells_of("m", graded((X, ("A",), 0)), SAMPLES), *cells_of("k", graded((X, ("B",), 0)), SAMPLES)]
    (row,) = document(cells)["rows"]
    assert (row["benchmark"], [(cell["model"], cell["value"]) for cell in row["cells"]]) == (
        "AI2D",
        [("m", 1.0), ("k", 0.0)],
    )
    assert "± its standard deviation" in page(cells)


def by_category() -> list[Cell]:
    """Two categories of AI2D, reviewed by one model and not by another; 1 is unreadable to the other."""
    asked = [sample(name, "AI2D", "choice", "A", category=kind) for name, kind in (("1", "b"), ("2", "b"), ("3", ""))]
    samples = {one.id: one for one in asked}
    reviewed = [answered(one, "B", "A") for one in asked]
    once = [answered(one, said, draw=draw) for one, said in zip(asked, ("", "A", "A"), strict=True) for draw in (0, 1)]
    return [*cells_of("m", reviewed, samples), *cells_of("k", once, samples)]


def test_each_category_has_accuracy_unparsed_and_n() -> None:
    assert [cell.categories for cell in by_category()] == [
        {"(none)": Part(0.0, 0.0, 1), "b": Part(0.0, 0.0, 2)},
        {"(none)": Part(1.0, 0.0, 1), "b": Part(1.0, 0.0, 2)},
        {"(none)": Part(1.0, 0.0, 1), "b": Part(0.5, 0.5, 2)},
    ]


def test_the_page_has_a_table_of_categories_for_each_benchmark_with_several() -> None:
    own = sample("x", "ours", "choice", "A", category="alone")
    told = page([*by_category(), *cells_of("not asked", [answered(own, "A")], {"x": own})])
    assert told.partition("\nBy category: ")[2].splitlines()[1:] == [
        "",
        "## AI2D",
        "",
        "| category | n | m, first turn | m, last turn | k |",
        "|---|--:|--:|--:|--:|",
        "| (none) | 1 | 0.0 (0.0) | 100.0 (0.0) | 100.0 (0.0) |",
        "| b | 2 | 0.0 (0.0) | 100.0 (0.0) | 50.0 (50.0) |",
    ]


def test_a_page_without_categories_ends_with_its_table() -> None:
    assert "By category" not in page(cells_of("m", graded((X, ("A",), 0)), SAMPLES))


def test_the_document_has_the_categories_of_a_cell() -> None:
    (row,) = document(by_category())["rows"]
    assert row["cells"][2]["categories"]["b"] == {"accuracy": 0.5, "unparsed": 0.5, "n": 2}


def test_one_benchmark_of_one_model_is_nothing_to_compare() -> None:
    alone = cells_of("m", graded((X, ("B", "A"), 0)), SAMPLES)
    assert not several(alone)
    assert several([*alone, *cells_of("k", graded((X, ("A",), 0)), SAMPLES)])


def test_a_bar_in_a_name_breaks_no_column() -> None:
    one = sample("x", "a|b", "choice", "A")
    assert "| a\\|b |" in markdown(cells_of("m", [answered(one, "A")], {"x": one}))
