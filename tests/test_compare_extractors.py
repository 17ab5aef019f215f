"""What `benchmarks.compare_extractors` says of a run under several readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare_extractors import Answered, Row, compare, interval, main, table, verdict
from sclvlm.errors import SclvlmError
from sclvlm.grading import accepted, grade_trace
from sclvlm.metrics.resampling import Clusters, clustered
from sclvlm.records import AnswerKind, ModelRef, Sample, Trace, Turn
from sclvlm.storage import write_records


def sample(number: int) -> Sample:
    """A question whose answer is B."""
    return Sample(id=f"q{number}", question="Which?", kind=AnswerKind.CHOICE, choices=("red", "blue"), answer="B")


def trace(number: int, *responses: str) -> Trace:
    """What was said to it."""
    turns = tuple(
        Turn(role="initial" if at == 0 else "refined", prompt=[], response=text, num_tokens=1, finish_reason="stop")
        for at, text in enumerate(responses)
    )
    return Trace(id=f"q{number}", turns=turns, model=ModelRef(path="m"), sampling={}, prompts={}, seed=0)


def rows(before: str, after: str, count: int = 8) -> dict[str, Row]:
    """Each reader on `count` questions that were answered alike."""
    return {row.reader: row for row in compare([Answered(sample(n), before, after) for n in range(count)])}


def test_a_gain_in_format_alone_is_one_for_the_strict_reader_only() -> None:
    found = rows("The answer is B.", "## B ##")
    assert (found["only_marker"].difference, found["ours"].difference) == (1, 0)


def test_a_loose_reader_misses_what_changed_behind_the_first_capital() -> None:
    found = rows("A seems right. ## A ##", "A seems wrong. ## B ##")
    assert (found["first_capital"].difference, found["ours"].difference) == (0, 1)


def test_what_a_reader_cannot_read_is_counted() -> None:
    found = rows("The answer is B.", "## B ##")
    assert (found["only_marker"].unread_before, found["only_marker"].unread_after) == (1, 0)


def test_disagreements_count_answers_of_both_sides() -> None:
    assert rows("The answer is B.", "## B ##")["only_marker"].disagreements == 8
    assert rows("The answer is B.", "The answer is B.")["only_marker"].disagreements == 16


def test_the_interval_of_equal_differences_is_that_difference() -> None:
    assert interval(Clusters(np.ones(6), np.ones(6))) == (1.0, 1.0)


def test_the_interval_of_few_clusters_is_everything() -> None:
    assert interval(Clusters(np.full(5, 2.0), np.full(5, 2.0))) == (-1.0, 1.0)


def test_the_interval_resamples_clusters_whole() -> None:
    differences = np.array([1.0, 1.0, 0.0, 0.0] * 3)
    alone, together = (interval(clustered(differences, keys)) for keys in ("abcdefghijkl", "aabbccddeeff"))
    assert alone[1] - alone[0] < together[1] - together[0]


def row(reader: str, low: float, high: float, p_value: float = 0.01) -> Row:
    """A reader with that interval."""
    return Row(reader, 0.5, 0.5 + (low + high) / 2, low, high, p_value, 0, 0, 0)


def test_readers_that_agree_are_said_to() -> None:
    assert verdict([row("ours", 0.1, 0.2), row("strict", 0.3, 0.4)]) == "Every reader finds a gain."


def test_readers_that_disagree_are_named() -> None:
    said = verdict([row("ours", -0.1, 0.2), row("strict", 0.3, 0.4), row("loose", -0.4, -0.3)])
    assert said == "The conclusion depends on the reader: ours finds noise, strict a gain, loose a loss."


def test_an_interval_without_a_small_p_is_noise() -> None:
    assert verdict([row("ours", 0.1, 0.2, 0.05), row("strict", -0.2, -0.1, 0.06)]) == "Every reader finds noise."


def test_p_is_of_the_sign_flips_of_whole_clusters() -> None:
    assert rows("## A ##", "## B ##", count=6)["ours"].p_value == 2 / 2**6


def test_the_table_gives_points_and_percent() -> None:
    first = table([row("ours", 0.1, 0.3)]).splitlines()[1]
    assert first.split() == ["ours", "50.0%", "70.0%", "+20.0", "[+10.0,", "+30.0]", "0.010", "0.0%", "0.0%", "0"]


def test_accepted_numbers_are_written_as_readers_write_them() -> None:
    known = Sample(id="n", question="How many?", kind=AnswerKind.NUMBER, answer="1,200.0")
    assert accepted(known) == {"1200"}


def test_all_accepted_texts_count() -> None:
    known = Sample(id="t", question="What?", kind=AnswerKind.TEXT, answer="A dog", answers=("two dogs",))
    assert accepted(known) == {"dog", "2 dogs"}


def files(folder: Path, *, graded: bool = False) -> tuple[Path, Path]:
    """Samples, and traces of two turns."""
    samples, traces = folder / "samples.jsonl", folder / "traces.jsonl"
    write_records(samples, [sample(n) for n in range(3)])
    found = [trace(n, "## A ##", "## B ##") for n in range(3)]
    write_records(traces, [grade_trace(each, sample(n)) for n, each in enumerate(found)] if graded else found)
    return samples, traces


@pytest.mark.parametrize("graded", [True, False])
def test_a_file_of_traces_compares_its_first_and_last_turns(tmp_path: Path, graded: bool) -> None:
    said = main(*files(tmp_path, graded=graded), None, "last")
    assert "Every reader finds a gain." not in said  # first_capital too, but whole_response reads no marks
    assert said.splitlines()[1].split()[:4] == ["ours", "0.0%", "100.0%", "+100.0"]


def test_answers_are_read_between_the_marks_that_were_asked_for(tmp_path: Path) -> None:
    samples, traces = files(tmp_path)
    responses = "Then B? @@ A @@", "A was tempting. @@ B @@ Not A, though."
    write_records(traces, [trace(n, *responses).model_copy(update={"prompts": {"marker": "@@"}}) for n in range(3)])
    found = main(samples, traces, None, "last").splitlines()
    assert [line.split()[1:3] for line in found if line.startswith(("ours", "only_marker"))] == 2 * [["0.0%", "100.0%"]]


def test_two_files_are_paired_by_question(tmp_path: Path) -> None:
    samples, traces = files(tmp_path)
    after = tmp_path / "after.jsonl"
    write_records(after, [trace(n, "## A ##") for n in (2, 1, 0)])
    assert main(samples, traces, after, "last").splitlines()[1].split()[:4] == ["ours", "100.0%", "0.0%", "-100.0"]


def test_files_of_different_questions_are_an_error(tmp_path: Path) -> None:
    samples, traces = files(tmp_path)
    after = tmp_path / "after.jsonl"
    write_records(after, [trace(0, "## A ##")])
    with pytest.raises(SclvlmError, match=r"traces\.jsonl: trace 'q1', draw 0, is not in .*after\.jsonl"):
        main(samples, traces, after, "last")


def test_a_trace_without_a_sample_is_an_error(tmp_path: Path) -> None:
    samples, traces = files(tmp_path)
    write_records(samples, [sample(0)])
    with pytest.raises(SclvlmError, match="trace 'q1' has no sample"):
        main(samples, traces, None, "last")
