"""Pairs that prefer a word to sentences: what is preferred is graded right, and the test asks about other words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data_pipelines import concise
from sclvlm.grading import grade
from sclvlm.records import PreferencePair, Sample, Verdict, message_text
from sclvlm.storage import read_records

COUNTS = concise.Counts(60, 20, 60)


@pytest.fixture(name="folder", scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, small."""
    out = tmp_path_factory.mktemp("concise") / "data"
    concise.write(out, COUNTS, seed=0)
    return out


def test_a_word_names_one_kind_only() -> None:
    words = [word for listed in concise.KINDS.values() for word in listed.split()]
    assert len(words) == len(set(words)) == 16 * len(concise.KINDS)


def test_no_word_of_the_test_stands_in_a_pair(folder: Path) -> None:
    tested = {word for words in concise.words_of(taught=False).values() for word in words}
    for name in ("pairs", "held_out"):
        texts = [pair.model_dump_json() for pair in read_records(folder / f"{name}.jsonl", PreferencePair)]
        assert not tested & {word for text in texts for word in re.findall(r"[a-z]+", text)}
    assert all(sample.answer in tested for sample in read_records(folder / "test.jsonl", Sample))


def test_no_prompt_stands_twice(folder: Path) -> None:
    pairs = [
        *read_records(folder / "pairs.jsonl", PreferencePair),
        *read_records(folder / "held_out.jsonl", PreferencePair),
    ]
    assert len({message_text(pair.prompt[0]) for pair in pairs}) == len(pairs) == COUNTS.pairs + COUNTS.held_out


@pytest.mark.parametrize("sentence", concise.SENTENCES)
def test_the_word_alone_is_right_and_the_same_word_in_a_sentence_is_not(sentence: str) -> None:
    for asked in concise.questions("test", concise.words_of(taught=False), 30, seed=1):
        pair, sample = concise.pair(asked, sentence), concise.sample(asked)
        verdicts = [grade(message_text(said[0]), sample).verdict for said in pair.completions]
        assert verdicts == [Verdict.CORRECT, Verdict.UNPARSED]


def test_the_files_are_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    concise.write(tmp_path / "again", COUNTS, seed=0)
    for file in folder.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert concise.main(["--out", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []
    assert "there already" in capsys.readouterr().out
