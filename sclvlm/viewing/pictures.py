"""The pictures of a page, each once, as data URLs, within a budget.

As they are while all their files together fit into the budget; else those above their equal share are shrunk to the
side at which all should fit, and what then still doesn't is left out. A picture that browsers don't show, or of more
than MAX_IMAGE_BYTES, is shrunk in any case.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

from sclvlm.pictures import BROKEN, TOO_LARGE, opened
from sclvlm.progress import progress
from sclvlm.reporting.html import MAX_IMAGE_BYTES, data_url

LARGEST_SIDE, SMALLEST_SIDE = 1024, 96
BYTES_A_PIXEL = 0.2
"""What a photograph takes as WebP of quality 75, about, at the sizes of thumbnails."""

MISSING, UNREADABLE, LEFT_OUT = "no such file", "not a readable picture", "left out for the size of this page"


class Picture(NamedTuple):
    """A picture under its number in the page: its data URL, or why there is none."""

    number: int
    url: str
    why: str


class Plan(NamedTuple):
    """Files above `share` bytes are shrunk to `side` pixels, the longer one. total: bytes of all files."""

    total: int
    share: int
    side: int
    shrinks: bool


class Album:
    """Numbers pictures by their paths, then gives them all out. budget: bytes of picture files; base64 adds a third."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._numbers: dict[str, int] = {}
        self._failed: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, path: str) -> int:
        """The number of the picture at `path`, a new one at the first request."""
        return self._numbers.setdefault(path, len(self._numbers))

    def pictures(self) -> Iterator[Picture]:
        """Every picture, in the order of numbers."""
        if not self._numbers:
            return
        plan, left = self.plan, self._budget
        with progress("view: pictures", len(self)) as advance:
            for path, number in self._numbers.items():
                picture = _picture(number, Path(path), plan, left)
                self._failed[picture.why] += bool(picture.why)
                left -= _bytes(picture.url)
                advance()
                yield picture

    @property
    def plan(self) -> Plan:
        """How the pictures are made to fit."""
        total = sum(_size(Path(path)) for path in self._numbers)
        if total <= self._budget:
            return Plan(total, MAX_IMAGE_BYTES, LARGEST_SIDE, shrinks=False)
        share = self._budget // len(self)
        side = min(max(round((share / BYTES_A_PIXEL) ** 0.5), SMALLEST_SIDE), LARGEST_SIDE)
        return Plan(total, min(share, MAX_IMAGE_BYTES), side, shrinks=True)

    def notes(self) -> list[str]:
        """What a reader must know about pictures that are not as they were; complete once all were given out."""
        plan = self.plan
        shrunk = (
            f"The {len(self):,} pictures would take {plan.total / 1e6:,.0f} MB: they are shrunk to at most {plan.side} "
            f"pixels a side, to take {self._budget / 1e6:,.0f} MB (--picture-mb)."
        )
        failed = [f"Pictures not shown: {count:,} ({why})." for why, count in sorted(self._failed.items()) if count]
        return [shrunk, *failed] if plan.shrinks else failed


def _picture(number: int, path: Path, plan: Plan, left: int) -> Picture:
    if not path.is_file():
        return Picture(number, "", MISSING)
    if left <= 0:  # the rest is not even opened
        return Picture(number, "", LEFT_OUT)
    whole = data_url(path) if _size(path) <= plan.share else None
    url = whole or shrunk(path, plan.side, plan.share)
    if url is None:
        return Picture(number, "", UNREADABLE)
    return Picture(number, url, "") if _bytes(url) <= left else Picture(number, "", LEFT_OUT)


def shrunk(path: Path, side: int, share: int) -> str | None:
    """The picture at `path` as a data URL, upright; None when it can't be read.

    It has at most `side` pixels a side, and less where that takes more than `share` bytes, down to SMALLEST_SIDE.
    """
    try:
        with opened(path) as image:
            image.thumbnail((side, side))
            data = _webp(ImageOps.exif_transpose(image).convert("RGBA"), share)
    except (*BROKEN, *TOO_LARGE):
        return None
    return f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"


def _webp(image: Image.Image, share: int) -> bytes:
    held = io.BytesIO()
    image.save(held, "WEBP", quality=75)
    if held.tell() <= share or max(image.size) <= SMALLEST_SIDE:
        return held.getvalue()
    smaller = max(round(max(image.size) * 0.8), SMALLEST_SIDE)
    image.thumbnail((smaller, smaller))
    return _webp(image, share)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _bytes(url: str) -> int:
    """Bytes of the picture in a data URL."""
    return len(url.partition(",")[2]) * 3 // 4
