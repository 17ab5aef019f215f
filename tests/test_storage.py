"""Record files: streaming, exact errors, atomic replacement, repair."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sclvlm.errors import SclvlmError
from sclvlm.records import AnswerKind, Sample
from sclvlm.storage import (
    BLOCK,
    AtomicFile,
    RecordAppender,
    file_hash,
    read_records,
    repair_torn_line,
    write_json,
    write_records,
    write_text,
)

GOOD = '{"id": "1", "question": "which?", "kind": "choice", "choices": ["blue", "teal"], "answer": "A"}\n'


def sample(name: str, *images: str) -> Sample:
    """A small sample."""
    return Sample(id=name, question="what?", kind=AnswerKind.TEXT, answer="a", images=images)


def read(path: Path, text: str) -> list[Sample]:
    """The samples of a file of this text."""
    path.write_text(text, encoding="utf-8")
    return list(read_records(path, Sample))


@pytest.fixture(name="file")
def samples_file(tmp_path: Path) -> Path:
    return tmp_path / "samples.jsonl"


def test_what_was_written_is_read(file: Path) -> None:
    records = [sample("1"), sample("2")]
    assert write_records(file, records) == 2
    assert list(read_records(file, Sample)) == records


def test_records_are_read_one_at_a_time(file: Path) -> None:
    file.write_text(GOOD + "broken\n")
    assert next(read_records(file, Sample)).id == "1"


def test_blank_lines_are_passed_over(file: Path) -> None:
    assert [one.id for one in read(file, f"\n{GOOD}\n\n")] == ["1"]


def test_a_broken_law_names_file_line_law_what_was_found_and_the_remedy(file: Path) -> None:
    with pytest.raises(SclvlmError) as caught:
        read(file, GOOD + GOOD.replace('"A"', '"C"'))
    assert str(caught.value) == (
        f"{file}:2: answer must be one of A, B (2 choices), got 'C'. Fix the line or remove it."
    )


def test_a_wrong_type_names_the_field_and_what_was_found(file: Path) -> None:
    with pytest.raises(SclvlmError, match=r"samples\.jsonl:1: id: input should be a valid string, got 7\."):
        read(file, GOOD.replace('"1"', "7"))


def test_a_missing_field_is_named(file: Path) -> None:
    with pytest.raises(SclvlmError, match=r"samples\.jsonl:1: answer: field required"):
        read(file, '{"id": "1", "question": "what?", "kind": "text"}\n')


def test_further_problems_of_a_line_are_counted(file: Path) -> None:
    with pytest.raises(SclvlmError, match=r"samples\.jsonl:1: id: field required \(and 3 more\)"):
        read(file, "{}\n")


def test_a_nested_field_is_named_by_its_path(file: Path) -> None:
    with pytest.raises(SclvlmError, match=r"samples\.jsonl:1: choices\.1: .*, got 2"):
        read(file, GOOD.replace('"teal"', "2"))


def test_a_line_that_is_no_json_names_the_column(file: Path) -> None:
    with pytest.raises(SclvlmError, match=r"samples\.jsonl:2: not a JSON object \(.* at column 1\)"):
        read(file, GOOD + "broken\n")


def test_a_line_that_is_no_object_says_what_it_is(file: Path) -> None:
    with pytest.raises(SclvlmError, match=r"samples\.jsonl:1: expected a JSON object, got list"):
        read(file, "[1]\n")


def test_a_line_that_is_not_utf8_names_the_byte(file: Path) -> None:
    file.write_bytes(GOOD.encode() + b'{"\xff": 1}\n')
    with pytest.raises(SclvlmError, match=r"samples\.jsonl:2: not UTF-8 \(invalid start byte at byte 3\)"):
        list(read_records(file, Sample))


def test_a_missing_file_is_named_with_what_was_expected(file: Path) -> None:
    with pytest.raises(SclvlmError, match=r"samples\.jsonl: no such file\. Expected JSON lines of Sample records"):
        next(read_records(file, Sample))


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_a_record_is_an_error(file: Path, text: str) -> None:
    with pytest.raises(SclvlmError, match=r"samples\.jsonl: the file is empty"):
        read(file, text)


def test_images_are_relative_in_the_file_and_absolute_in_memory(file: Path) -> None:
    image = str(file.parent / "images" / "a.png")
    write_records(file, [sample("1", image)])
    assert json.loads(file.read_text())["images"] == ["images/a.png"]
    assert next(read_records(file, Sample)).images == (image,)


def test_a_folder_of_records_may_be_moved(tmp_path: Path) -> None:
    write_records(tmp_path / "old" / "s.jsonl", [sample("1", str(tmp_path / "old" / "a.png"))])
    (tmp_path / "old").rename(tmp_path / "new")
    assert next(read_records(tmp_path / "new" / "s.jsonl", Sample)).images == (str(tmp_path / "new" / "a.png"),)


@pytest.mark.parametrize("image", ["../secret.png", "/etc/passwd", "images/../../secret.png"])
def test_an_image_outside_the_folder_is_refused(file: Path, image: str) -> None:
    with pytest.raises(SclvlmError, match=r"samples\.jsonl:1: images: .* leaves the folder"):
        read(file, GOOD.replace('"id"', f'"images": ["{image}"], "id"'))


def write_half(path: Path) -> None:
    """Fail in the middle of writing `path`."""
    with AtomicFile(path) as partial:
        partial.write("half")
        raise RuntimeError


def test_a_failing_writer_leaves_nothing_behind(file: Path) -> None:
    with pytest.raises(RuntimeError):
        write_half(file)
    assert list(file.parent.iterdir()) == []


def test_a_failing_writer_keeps_what_was_there(file: Path) -> None:
    write_text(file, "old")
    with pytest.raises(RuntimeError):
        write_half(file)
    assert file.read_text() == "old"


def test_a_file_appears_only_when_it_is_whole(file: Path) -> None:
    with AtomicFile(file) as partial:
        partial.write("all")
        assert not file.exists()
    assert [path.name for path in file.parent.iterdir()] == ["samples.jsonl"]


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"é": 1})
    assert (tmp_path / "a" / "b.json").read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'


def test_json_without_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))


@pytest.mark.parametrize(("torn", "kept"), [("a\nb\nc", "a\nb\n"), ("abc", ""), ("a\n", "a\n"), ("", "")])
def test_a_torn_last_line_is_cut_off(file: Path, torn: str, kept: str) -> None:
    file.write_text(torn)
    repair_torn_line(file)
    assert file.read_text() == kept


def test_appending_goes_on_behind_the_last_whole_line(file: Path) -> None:
    write_records(file, [sample("1")])
    file.write_text(file.read_text() + '{"id": "2", "que')
    with RecordAppender(file) as appender:
        appender.append(sample("3"))
    assert [one.id for one in read_records(file, Sample)] == ["1", "3"]


def test_an_appended_record_is_on_disk_at_once(file: Path) -> None:
    with RecordAppender(file) as appender:
        appender.append(sample("1"))
        assert [one.id for one in read_records(file, Sample)] == ["1"]


def test_a_file_hash_is_the_sha256_of_its_bytes(file: Path) -> None:
    file.write_bytes(b"abc")  # the example of FIPS 180-2
    assert file_hash(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_a_torn_line_of_any_length_is_cut(tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(b"whole\n" + b"x" * size)
    repair_torn_line(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"whole\n"


def test_a_file_that_is_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * (BLOCK + 1))
    repair_torn_line(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b""


def test_a_long_file_of_whole_lines_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(whole := b"x" * BLOCK + b"\n" + b"y" * BLOCK + b"\n")
    repair_torn_line(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == whole


def test_a_write_that_the_disk_refuses_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sclvlm.storage.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "f", "x")
    assert list(tmp_path.iterdir()) == []
