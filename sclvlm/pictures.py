"""Pictures out of files, opened with care: decoded for a model here, or as data URLs for a server."""

from __future__ import annotations

import base64
import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from sclvlm.errors import SclvlmError
from sclvlm.records import Message, count_images

SENT_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
ORIENTATION = 0x0112  # EXIF: how a viewer should turn the picture
TOO_LARGE = (Image.DecompressionBombWarning, Image.DecompressionBombError)
BROKEN = (OSError, EOFError, SyntaxError, ValueError)
"""What Pillow raises at a file that is not the picture it should be."""
_opening = threading.Lock()  # which warnings are errors is a setting of the whole process


class PictureError(SclvlmError):
    """A picture that is missing or broken, or that the model's processor refuses."""


@contextmanager
def opened(source: Path | BinaryIO) -> Iterator[Image.Image]:
    """A picture, its pixels not decoded yet. Raises one of TOO_LARGE where decoding is not safe, or of BROKEN."""
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(source)
    with image:
        yield image


def load_images(paths: Sequence[str], prompt: Sequence[Message]) -> list[Image.Image]:
    """The pictures at `paths`, decoded, as RGB. Raises PictureError naming the file and what is wrong with it."""
    check_placeholders(paths, prompt)
    return [load_image(Path(path)) for path in paths]


def check_placeholders(paths: Sequence[str], prompt: Sequence[Message]) -> None:
    """Raise SclvlmError unless `prompt` holds a placeholder for each of `paths`."""
    if (placeholders := count_images(list(prompt))) != len(paths):
        raise SclvlmError(f"prompt holds {placeholders} image placeholders for {len(paths)} images.")


def load_image(path: Path) -> Image.Image:
    """One picture, decoded, as RGB."""
    return _decoded(path).convert("RGB")


def data_url(path: Path) -> str:
    """One picture as a data URL: the bytes of the file, where every reader sees in them what `load_image` does.

    Otherwise (transparency, a turned photograph, 16 bits, a rarer format) `load_image`'s pixels as PNG. Raises
    PictureError as `load_image` does, so that a broken file is told here and not by a server.
    """
    image = _decoded(path)
    media = SENT_AS_THEY_ARE.get(image.format or "")
    if media is None or not _is_plain(image):
        media, content = "image/png", _png(image.convert("RGB"))
    else:
        content = path.read_bytes()
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def _decoded(path: Path) -> Image.Image:
    if not path.is_file():
        raise PictureError(f"{path}: no such image. Put it there, or drop the record that names it.")
    try:
        with opened(path) as image:
            image.load()
            return image
    except TOO_LARGE as error:
        raise PictureError(
            f"{path}: the image is too large to be decoded safely: {error} Shrink it, or drop the record that names it."
        ) from None
    except BROKEN as error:
        raise PictureError(
            f"{path}: expected a readable image, got a broken one ({error}). "
            "Replace it, or drop the record that names it."
        ) from None


def _is_plain(image: Image.Image) -> bool:
    """Whether there is nothing in it that readers treat in different ways."""
    turned = image.getexif().get(ORIENTATION, 1) != 1
    moves = getattr(image, "is_animated", False)
    return image.mode in ("RGB", "L", "P") and "transparency" not in image.info and not turned and not moves


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
