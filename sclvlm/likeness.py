"""What a picture looks like, in few bytes: to find it again as a copy, re-encoded or resized.

The perceptual hash is written out here rather than taken from the package imagehash: it is a line over scipy's cosine
transform, it is one number, which compares by thousands, and it leaves out what is only rounding in plain pictures.
"""

from __future__ import annotations

import hashlib
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.fft import dctn

from sclvlm.audit.pictures import CELLS, Look
from sclvlm.pictures import BROKEN, TOO_LARGE, opened

SIDE = 32
"""Pixels a side to which a picture is shrunk before the transform."""

NOISE = 1.0
"""A coefficient must be that far above the median, of grey levels from 0 to 255: less is rounding."""

LOW = 8  # the lowest frequencies of each axis: 64 bits


def look(path: str) -> Look | None:
    """How the picture at `path` looks; None when it is missing, broken or too large to be decoded safely."""
    try:
        data = Path(path).read_bytes()
        image, size = _decoded(data, at_least=SIDE)
        small = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    except (*BROKEN, *TOO_LARGE):
        return None
    cells = small.resize((CELLS, CELLS), Image.Resampling.BOX)
    return Look(hashlib.sha256(data).digest(), perceptual_hash(small), cells.tobytes(), size)


def pixels(path: str) -> bytes | None:
    """SHA-256 of the RGB pixels, and their number across, of the picture at `path`; None as in `look`."""
    try:
        image, size = _decoded(Path(path).read_bytes())
    except (*BROKEN, *TOO_LARGE):
        return None
    return hashlib.sha256(f"{size[0]} ".encode() + image.tobytes()).digest()


def perceptual_hash(image: Image.Image) -> int:
    """64 bits of a square picture: which of its low frequencies lie above their median (pHash).

    Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2. The constant term
    is left out, so that brightness changes little.
    """
    grey = np.asarray(image.convert("L"), dtype=np.float32)
    low = dctn(grey, norm="ortho")[:LOW, :LOW].ravel()  # (64,)
    low[0] = 0.0
    bits = low > max(float(np.median(low)), 0.0) + NOISE
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _decoded(data: bytes, *, at_least: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """RGB, and the size of the whole.

    at_least: the shorter side that suffices; a JPEG is then decoded at as little as an eighth of its size.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata, which is no picture
        with opened(BytesIO(data)) as image:
            size = image.size
            if at_least is not None:
                image.draft("RGB", (at_least, at_least))
            return image.convert("RGB"), size
