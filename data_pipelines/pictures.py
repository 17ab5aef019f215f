"""Pictures of a source, each kept once under the hash of its bytes, as they were published."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from data_pipelines.rows import BrokenError


class Base64(NamedTuple):
    """A picture written in base64."""

    text: str


class OneOf(NamedTuple):
    """A picture that lies at the first of these paths that is there."""

    paths: tuple[str, ...]


class Pictures:
    """Keeps each picture once, as `folder`/hash.format. roots: where relative paths begin, the first that has one."""

    def __init__(self, folder: Path, *roots: Path) -> None:
        self.folder, self.roots = folder, roots
        self.count = 0
        self._names: dict[str, str] = {}  # by hash, so that a picture that many rows share is decoded once
        folder.mkdir(parents=True)

    def keep(self, images: Iterable[Any]) -> list[str]:
        """The paths of `images`, kept all or none. Raises BrokenError for one that is missing or can't be read.

        images: paths, bytes, dicts of both, PIL images, Base64, OneOf.
        """
        kept = [(self.folder / self._name(content), content) for content in map(self._content, images)]
        for path, content in kept:
            if not path.exists():
                path.write_bytes(content)
                self.count += 1
        return [str(path) for path, _ in kept]

    def leave(self, used: Collection[str]) -> None:
        """Remove the pictures that are none of these paths."""
        unused = [path for path in self.folder.iterdir() if str(path) not in used]
        for path in unused:
            path.unlink()
        self.count -= len(unused)

    def _name(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._names:
            self._names[digest] = file_name(content)
        return self._names[digest]

    def _content(self, image: Any) -> bytes:
        if isinstance(image, dict):
            image = image.get("bytes") if image.get("bytes") is not None else image.get("path")
        if isinstance(image, bytes):
            return image
        if isinstance(image, Base64):
            return _decoded(image.text)
        if isinstance(image, Image.Image):
            buffer = io.BytesIO()
            image.save(buffer, "png")
            return buffer.getvalue()
        return self._found(image.paths if isinstance(image, OneOf) else (str(image),))

    def _found(self, paths: Iterable[str]) -> bytes:
        for path in (root / each for each in paths for root in self.roots):
            try:
                return path.read_bytes()
            except (OSError, ValueError):  # also what is too long for a path, or an address
                continue
        raise BrokenError("missing image")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BrokenError("broken base64") from None


def file_name(content: bytes) -> str:
    """The name to keep a picture under. It is decoded, so that none breaks the training later; raises BrokenError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                kind = str(image.format).lower()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BrokenError("image too large to be decoded safely") from None
    except (UnidentifiedImageError, OSError, EOFError, SyntaxError, ValueError):
        raise BrokenError("broken image") from None
    return f"{hashlib.sha256(content).hexdigest()[:16]}.{kind}"
