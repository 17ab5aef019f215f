"""Files of pictures' features in a folder that runs share: each named after its content, together of bounded size."""

from __future__ import annotations

import fcntl
import logging
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sclvlm.errors import SclvlmError
from sclvlm.storage import partial_path

log = logging.getLogger(__name__)

BY_LAYER = "deepstack_features"  # a list of layers; in each, as in all other fields, pictures follow one another
GB = 10**9
STALE = 3600.0  # seconds after which nobody is still writing a file, or about to lock one


def cache_folder() -> Path:
    """Where features are kept: features/ in $SCLVLM_CACHE, else $XDG_CACHE_HOME/sclvlm, else ~/.cache/sclvlm."""
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("SCLVLM_CACHE") or f"{shared}/sclvlm").expanduser() / "features"


class Features(dict[str, Any]):
    """The fields of a tower's output that a model reads, as attributes too.

    No ModelOutput, since that refuses `update`, by which torch pins the memory of a batch.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"of a picture's features only {', '.join(self)} are kept, not {name}") from None

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields' values, as models that hand the output on ask for it."""
        return tuple(self.values())


@dataclass(frozen=True)
class FeatureFiles:
    """The files of a folder, one a record's pictures. Holds no open file and no tensor: workers may have a copy."""

    folder: Path

    def path(self, key: str) -> Path:
        """Where the features called `key` are kept."""
        return self.folder / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Whether `key` is there and whole; if so it counts as used now."""
        try:
            with safe_open(self.path(key), "pt"):  # compares the size of the file with what its head announces
                _touch(self.path(key))
        except (OSError, SafetensorError):
            return False
        return True

    def write(self, key: str, tensors: Mapping[str, Tensor]) -> int:
        """Keep `tensors` as `key`, which appears whole or not at all. Returns the bytes that takes."""
        path = self.path(key)
        partial = partial_path(path)
        try:
            save_file(dict(tensors), partial)
            os.replace(partial, path)
        except (OSError, SafetensorError) as error:
            raise SclvlmError(
                f"{path}: can't keep the features of a record's pictures ({error}). "
                "Make room there, or train without kept features."
            ) from error
        finally:
            partial.unlink(missing_ok=True)
        return path.stat().st_size

    def read(self, key: str) -> dict[str, Any]:
        """Fields and other inputs as `FeatureCache` wrote them, mapped into memory rather than copied."""
        path = self.path(key)
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise SclvlmError(
                f"{path}: the features of a record's pictures are gone or broken ({error}). "
                "Start the command again: what is missing is computed anew."
            ) from error
        _touch(path)
        return _nested(tensors)

    def batch(self, keys: Sequence[str]) -> dict[str, Any]:
        """The model's inputs for the pictures of the rows with pictures, `keys` in the order of these rows.

        mm_encoder_outputs: the features; beside them what the model reads of pictures without looking at their
        pixels, such as their sizes. Nothing when there are no keys.
        """
        kept = {key: self.read(key) for key in dict.fromkeys(keys)}
        return stand_in([kept[key] for key in keys])


def stand_in(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The model's inputs for the pictures of `rows`, each with the features and other inputs of one; see `batch`."""
    if not rows:
        return {}
    others = {name: _joined([row["inputs"][name] for row in rows]) for name in rows[0].get("inputs", {})}
    fields = {name: [row["features"][name] for row in rows] for name in rows[0]["features"]}
    image = Features({name: _merged(name, values) for name, values in fields.items()})
    return {**others, "mm_encoder_outputs": {"image": image}}


def _touch(path: Path) -> None:
    with suppress(OSError):  # another user's file can be read though not touched
        os.utime(path)


def _merged(name: str, values: Sequence[Any]) -> Any:
    return [_joined(layer) for layer in zip(*values, strict=True)] if name == BY_LAYER else _joined(values)


def _joined(values: Sequence[Any]) -> Any:
    """What stands for the pictures of several rows: tensors along their first dimension, lists behind one another."""
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    return [each for value in values for each in value]


def flat(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested mappings, lists and tuples, each under the path to it."""
    if isinstance(value, Tensor):
        yield name, value.detach().cpu().clone(memory_format=torch.contiguous_format)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from flat(each, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from flat(each, f"{name}.{index}")
    else:
        raise SclvlmError(
            f"{name}: a tower's output must be made of tensors to be kept, got {type(value).__name__}. "
            "Train without kept features."
        )


def _nested(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What `flat` took apart; tuples come back as lists."""
    root: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *parents, last = name.split(".")
        place = root
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = tensor
    return {name: _listed(value) for name, value in root.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if all(name.isdigit() for name in value):
        return [_listed(value[name]) for name in sorted(value, key=int)]
    return {name: _listed(each) for name, each in value.items()}


class BoundedFolder:
    """Keeps the features in a folder within a size: what was not used for longest goes first.

    limit_gb: in 10^9 bytes. What a living run has claimed stays, also where that is more than the limit. This
    object's own claims last as long as it does.
    """

    def __init__(self, folder: Path, *, limit_gb: float) -> None:
        self.folder, self.limit = folder, limit_gb * GB
        self._claims = _claims_file(self, folder)
        self._size = sum(size for _, size, _ in _by_age(folder))
        self._bounded = True

    def claim(self, key: str) -> None:
        """Nobody removes the features called `key` from now on."""
        os.write(self._claims, f"{key}\n".encode())

    def grown(self, size: int) -> None:
        """Tells that `size` bytes were written."""
        self._size += size
        if self._bounded and self._size > self.limit:
            self._shrink()

    def _shrink(self) -> None:
        claimed = _claimed(self.folder)
        files = _by_age(self.folder)
        self._size = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self._size <= self.limit:
                return
            if path.stem not in claimed:
                path.unlink(missing_ok=True)  # another run may be shrinking the folder too
                self._size -= size
        if self._size > self.limit:
            self._bounded = False
            log.warning("%s: running trainings need more than the limit of %.3g GB", self.folder, self.limit / GB)


def _by_age(folder: Path) -> list[tuple[float, int, Path]]:
    """(last use, bytes, path) of the features in `folder`, longest unused first; removes what killed runs left."""
    for partial in folder.glob(".*.partial"):
        with suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > STALE:
                partial.unlink()
    found = []
    for path in folder.glob("*.safetensors"):
        with suppress(FileNotFoundError):
            facts = path.stat()
            found.append((facts.st_mtime, facts.st_size, path))
    return sorted(found)


def _claims_file(owner: object, folder: Path) -> int:
    """A new file for the keys that `owner` uses, locked for as long as it lives, however its process ends."""
    path = folder / f"{uuid4().hex}.run"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise SclvlmError(f"{folder}: can't keep features of pictures there ({error}). Name another folder.") from error
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    weakref.finalize(owner, _release, descriptor, path, os.getpid())
    return descriptor


def _release(descriptor: int, path: Path, owner: int) -> None:
    os.close(descriptor)
    if os.getpid() == owner:  # not in a forked worker
        path.unlink(missing_ok=True)


def _claimed(folder: Path) -> set[str]:
    """The keys that living runs use, this one's among them."""
    keys: set[str] = set()
    for path in folder.glob("*.run"):
        with suppress(FileNotFoundError), path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                keys.update(file.read().split())
                continue
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()
    return keys
