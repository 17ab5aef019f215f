"""Grading and labeling from file to file give what they give in memory, a question at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sclvlm.errors import SclvlmError
from sclvlm.evaluation import grade_file
from sclvlm.labeling import label_file, label_pairs
from sclvlm.records import GradedTrace, PreferencePair, Trace
from sclvlm.storage import read_records, write_records
from tests.test_labeling import sample, trace

RUN = [
    trace("a", "ic", 0),
    trace("a", "ci", 1),
    trace("b", "cc", 0),
    trace("b", "ii", 1),
    trace("c", "ic", 0),
    trace("d", "ci", 0),
    trace("d", "ec", 1),
]
SAMPLES = [sample(name, (str(Path("x.png").absolute()),)) for name in "abcde"]  # nobody was asked about the last
SETTINGS: dict[str, Any] = {"pairing": "refine", "sources": ("i->c", "c->i"), "unparsed": "drop", "balance": False}


def labeled(folder: Path, traces: Sequence[GradedTrace], **changes: Any) -> tuple[list[str], dict[str, int]]:
    """Ids and sources of the pairs that a file gives, and the counts."""
    write_records(folder / "graded.jsonl", traces)
    counts = label_file(folder / "graded.jsonl", SAMPLES, folder / "pairs.jsonl", **{**SETTINGS, "seed": 0, **changes})
    pairs = read_records(folder / "pairs.jsonl", PreferencePair)
    return [f"{pair.id} {pair.source}" for pair in pairs], counts


@pytest.mark.parametrize("changes", [{}, {"balance": True}, {"pairing": "independent"}, {"sources": ("c->i",)}])
def test_a_file_gives_the_pairs_and_counts_of_its_traces(changes: dict[str, Any], tmp_path: Path) -> None:
    expected = label_pairs(RUN, {each.id: each for each in SAMPLES}, **{**SETTINGS, "seed": 0, **changes})
    assert expected.pairs
    pairs, counts = labeled(tmp_path, RUN, **changes)
    assert pairs == [f"{pair.id} {pair.source}" for pair in expected.pairs]
    assert counts == expected.counts


def test_balancing_drops_the_surplus_and_counts_it(tmp_path: Path) -> None:
    # a and c mend an answer, d spoils one.
    pairs, counts = labeled(tmp_path, RUN, balance=True)
    assert [each[2:] for each in pairs].count("i->c") == [each[2:] for each in pairs].count("c->i") == 1
    assert counts["dropped for balance"] == 1


def test_grades_stand_in_the_order_of_the_samples(tmp_path: Path) -> None:
    ungraded = [Trace.model_validate(_bare(each)) for each in [RUN[1], RUN[0], *RUN[2:]]]
    write_records(tmp_path / "traces.jsonl", ungraded)
    grade_file(tmp_path / "traces.jsonl", SAMPLES, tmp_path / "graded.jsonl")
    graded = list(read_records(tmp_path / "graded.jsonl", GradedTrace))
    assert [each.key for each in graded] == [each.key for each in RUN]


@pytest.mark.parametrize("traces", [[trace("lost", "ic")], [trace("b", "ic"), trace("a", "ic")]])
def test_a_trace_of_no_sample_or_out_of_order_is_named(traces: list[GradedTrace], tmp_path: Path) -> None:
    with pytest.raises(SclvlmError, match=rf"graded\.jsonl: trace '{traces[-1].id}' is about no sample, or stands out"):
        labeled(tmp_path, traces)
    assert not (tmp_path / "pairs.jsonl").exists()


def _bare(graded: GradedTrace) -> dict[str, Any]:
    """The fields of the trace before it was graded."""
    data = graded.model_dump(exclude={"transition"})
    return {**data, "turns": [{k: turn[k] for k in turn if k not in ("answer", "method", "verdict")}
                              for turn in data["turns"]]}  # fmt: skip
