"""Several files of traces are one: dealt to processes, read together, merged in order."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import pytest

from sclvlm.errors import SclvlmError
from sclvlm.keys import KeyIndex, KeySet, hashed, repeated
from sclvlm.records import AnswerKind, Sample, Trace
from sclvlm.runs import parts
from sclvlm.self_correction import journal
from sclvlm.self_correction.journal import answered, merge, own_file
from sclvlm.self_correction.shares import Share, dealt
from sclvlm.storage import read_records
from tests.test_self_correction import Stub, ask, collect, samples


def pictured(*pictures: str) -> list[Sample]:
    """Samples in order, each about one of `pictures`."""
    return [
        Sample(id=f"s{number}", images=(picture,), question="?", kind=AnswerKind.TEXT, answer="x")
        for number, picture in enumerate(pictures)
    ]


def ids(wanted: Sequence[Sample], share: Share, together: int = 4) -> list[str]:
    return [sample.id for sample in dealt(wanted, share, together=together)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_sample_is_in_one_share(count: int) -> None:
    wanted = [*samples("a", "b", "c"), *pictured("p", "p", "q", "q", "q")]
    dealt_out = [name for index in range(count) for name in ids(wanted, Share(index, count))]
    assert sorted(dealt_out) == sorted(sample.id for sample in wanted)


def test_samples_go_to_processes_in_turn() -> None:
    assert ids(samples("a", "b", "c", "d", "e"), Share(1, 2)) == ["b", "d"]


def test_neighbours_about_the_same_picture_stay_together() -> None:
    assert ids(pictured("p", "p", "q", "r", "r"), Share(0, 2)) == ["s0", "s1", "s3", "s4"]


def test_no_more_stay_together_than_a_batch_holds() -> None:
    assert ids(pictured("p", "p", "p", "p", "p"), Share(0, 2), together=2) == ["s0", "s1", "s4"]


def by_processes(path: Path, wanted: Sequence[Sample], counts: Sequence[int], dies_after: int | None = None) -> None:
    """As if `counts` processes had worked one launch after the other; all but the last launch die on the way."""
    for launch, count in enumerate(counts):
        last = launch == len(counts) - 1
        for index in range(count):
            engine = Stub(None if last else dies_after)
            try:
                ask(wanted, path, engine, share=Share(index, count), batch_size=1)
            except KeyboardInterrupt:
                assert not last


NAMES = [f"n{number}" for number in range(20)]


@pytest.mark.parametrize("counts", [[2], [2, 3], [3, 2], [1, 2], [2, 1], [1, 4, 2, 1]])
def test_any_number_of_processes_after_any_other_make_the_file_of_one(counts: list[int], tmp_path: Path) -> None:
    wanted, path = samples(*NAMES), tmp_path / "t.jsonl"
    whole = collect(wanted, tmp_path / "whole.jsonl", Stub())
    by_processes(path, wanted, counts, dies_after=3)
    merge(path, wanted, 1)
    assert list(read_records(path, Trace)) == whole
    assert parts(path) == []


def test_a_later_launch_asks_only_what_is_missing(tmp_path: Path) -> None:
    wanted, path, engine = samples(*NAMES), tmp_path / "t.jsonl", Stub()
    ask(wanted, path, Stub(), share=Share(0, 2))
    ask(wanted, path, engine, share=Share(0, 1), batch_size=20)
    assert engine.asked == [NAMES[1::2]]


def test_a_process_that_reads_while_another_writes_passes_the_torn_line_over(tmp_path: Path) -> None:
    wanted, path = samples(*NAMES), tmp_path / "t.jsonl"
    ask(wanted, path, Stub(), share=Share(0, 2))
    with own_file(path, Share(0, 2)).open("a") as file:
        file.write('{"id": "n1", "tu')
    assert len(answered(path)) == 10
    assert own_file(path, Share(0, 2)).read_text().endswith('"tu')  # not this one's to mend


def test_a_merge_killed_before_the_other_files_went_doubles_nothing(tmp_path: Path) -> None:
    wanted, path = samples(*NAMES), tmp_path / "t.jsonl"
    by_processes(path, wanted, [2])
    kept = {file: file.read_bytes() for file in parts(path)}
    merge(path, wanted, 1)
    whole = path.read_bytes()
    for file, content in kept.items():
        file.write_bytes(content)
    merge(path, wanted, 1)
    assert path.read_bytes() == whole


def test_a_merge_tells_what_it_has_brought_together(tmp_path: Path) -> None:
    wanted, path = samples("a", "bad", "c", "worse bad", "e"), tmp_path / "t.jsonl"
    for index in range(2):
        ask(wanted, path, Stub(), share=Share(index, 2), max_failed_share=1.0, batch_size=1)
    found, read = merge(path, wanted[:3], 1), answered(path)
    assert [len(found), len(found.failed)] == [len(read), len(read.failed)] == [3, 1]
    assert [(sample, 0) in found for sample in wanted] == [True, True, True, False, False]


def test_a_merge_leaves_a_file_alone_that_is_in_order(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    ask(samples("a", "b"), path, Stub(), draws=2)
    before = path.stat()
    merge(path, samples("a", "not yet", "b"), 2)
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    "order", [("b", "a", "c"), ("a", "c", "b"), ("c", "a"), ("a", "a"), ("a", "b", "b", "c")], ids="".join
)
def test_a_merge_brings_a_file_into_order_and_each_answer_into_it_once(order: tuple[str, ...], tmp_path: Path) -> None:
    wanted, path = samples("a", "b", "c"), tmp_path / "t.jsonl"
    for name in order:
        ask(samples(name), path, Stub(), done=answered(tmp_path / "none.jsonl"))
    found = merge(path, wanted, 1)
    assert [trace.id for trace in read_records(path, Trace)] == sorted(set(order))
    assert found.ordered


def test_a_merge_that_is_killed_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl"
    ask(samples("b", "a"), path, Stub())
    before, copied = path.read_bytes(), journal._copied
    monkeypatch.setattr(journal, "_copied", lambda *given: chain(islice(copied(*given), 1), interrupted()))
    with pytest.raises(KeyboardInterrupt):
        merge(path, samples("a", "b"), 1)
    assert path.read_bytes() == before


def interrupted() -> Iterator[str]:
    """As by Ctrl-C."""
    raise KeyboardInterrupt
    yield


def test_a_broken_line_of_a_part_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    own_file(path, Share(1, 2)).write_text("{}\n")
    with pytest.raises(SclvlmError, match=r"t\.part-1\.jsonl:1: id: field required"):
        answered(path)


def test_failures_of_all_processes_count_against_the_limit(tmp_path: Path) -> None:
    wanted = samples("a", "b", "bad", "d")
    with pytest.raises(SclvlmError, match="3 of 4 failed"):
        ask(wanted, tmp_path / "t.jsonl", Stub(), share=Share(0, 2), count_failed=lambda n: n + 2, max_failed_share=0.5)


def test_failures_in_the_files_of_other_processes_count_too(tmp_path: Path) -> None:
    wanted, path = samples("a", "bad1", "bad2", "d"), tmp_path / "t.jsonl"
    ask(wanted, path, Stub(), share=Share(1, 2), max_failed_share=0.25)
    with pytest.raises(SclvlmError, match="2 of 4 failed"):
        ask(wanted, path, Stub(), share=Share(0, 2), max_failed_share=0.25)


def test_an_index_finds_what_it_was_given() -> None:
    index = KeyIndex([("b", 0), ("a", 3), ("c", 2**64 - 1), ("a", 7)])
    assert [index.get(key) for key in "abcd"] == [3, 0, 2**64 - 1, None]  # of two the first


def test_a_set_knows_its_keys() -> None:
    keys = KeySet(["b", "a", "b"])
    assert [key in keys for key in "abc"] == [True, True, False]
    assert len(keys) == 2


def test_an_empty_set_knows_none() -> None:
    assert "a" not in KeySet([])
    assert KeyIndex([]).get("a") is None
    assert len(KeySet([])) == 0


def test_a_hash_is_the_same_in_every_process() -> None:
    assert hashed("0 q1") == int.from_bytes(bytes.fromhex("b25412d1b7634979"), "little")


def test_what_is_repeated_is_found() -> None:
    assert repeated(array("Q", [5, 2, 9, 5, 2**64 - 1])) == {5}
    assert repeated(array("Q")) == set()
