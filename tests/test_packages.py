"""Wheels are pinned, cached and read; one failure gives one clear error."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from data_pipelines.packages import Requirement, cache_dir, fetch, read_member
from sclvlm.errors import SclvlmError

CONTENT = b"the published file"
TINY = Requirement("tiny", "1.0", "tiny-1.0-py3-none-any.whl", hashlib.sha256(CONTENT).hexdigest())


def pip_that(monkeypatch: pytest.MonkeyPatch, *, brings: bytes | None, code: int = 0, says: str = "") -> list[Any]:
    """Replace pip by one that leaves `brings` in its --dest. Returns the list that collects its calls."""
    calls: list[Any] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if brings is not None:
            (Path(command[command.index("--dest") + 1]) / TINY.wheel).write_bytes(brings)
        return subprocess.CompletedProcess(command, code, stdout="", stderr=says)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_pip_downloads_the_pinned_version_without_its_dependencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = pip_that(monkeypatch, brings=CONTENT)
    fetch(TINY, tmp_path)
    assert {"--no-deps", "--only-binary", "tiny==1.0"} <= set(calls[0])


def test_what_pip_brought_lies_alone_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, brings=CONTENT)
    path = fetch(TINY, tmp_path / "cache")
    assert [path] == list((tmp_path / "cache").iterdir())


def test_pip_is_not_called_for_a_wheel_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pip_that(monkeypatch, brings=None)
    (tmp_path / TINY.wheel).write_bytes(CONTENT)
    assert fetch(TINY, tmp_path) == tmp_path / TINY.wheel
    assert calls == []


def test_a_damaged_wheel_in_the_cache_is_downloaded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, brings=CONTENT)
    (tmp_path / TINY.wheel).write_bytes(b"half of i")
    assert fetch(TINY, tmp_path).read_bytes() == CONTENT


def test_another_file_than_the_pinned_one_is_an_error_with_both_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_that(monkeypatch, brings=b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(SclvlmError, match=rf"tiny==1\.0: expected .*{TINY.sha256}, got {found}"):
        fetch(TINY, tmp_path)


def test_a_refused_wheel_leaves_nothing_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, brings=b"something else")
    with pytest.raises(SclvlmError):
        fetch(TINY, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_pip_is_told_in_one_line_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, brings=None, code=1, says="WARNING: retrying\nERROR: no network\n")
    with pytest.raises(SclvlmError) as caught:
        fetch(TINY, tmp_path)
    assert str(caught.value) == (
        f"tiny==1.0: expected pip to download {TINY.wheel}, it ended with code 1: ERROR: no network. "
        f"Check the network, or put the file into {tmp_path} yourself."
    )


def test_a_member_is_read_without_unpacking(tmp_path: Path) -> None:
    wheel = tmp_path / TINY.wheel
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/data.bin", b"\x00\x01")
    assert read_member(wheel, "tiny/data.bin") == b"\x00\x01"


def test_a_missing_member_is_an_error_that_names_wheel_and_member(tmp_path: Path) -> None:
    wheel = tmp_path / TINY.wheel
    zipfile.ZipFile(wheel, "w").close()
    with pytest.raises(SclvlmError, match=r"tiny-1.*tiny/data\.bin"):
        read_member(wheel, "tiny/data.bin")


@pytest.mark.parametrize(
    ("own", "shared", "expected"),
    [("/own", "/shared", "/own"), ("", "/shared", "/shared/sclvlm"), ("", "", "/home/me/.cache/sclvlm")],
)
def test_the_cache_is_the_first_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, own: str, shared: str, expected: str
) -> None:
    monkeypatch.setenv("SCLVLM_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", shared)
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_dir() == Path(expected)
