"""Pictures are found again as the same file, the same pixels or nearly; others are not."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from sclvlm.audit.pictures import CANDIDATES, DISTANCE, TOLERANCE, Gallery, Likeness, Look, Match
from sclvlm.likeness import look, pixels

SIZE = (160, 120)


def photo(seed: int) -> Image.Image:
    """A picture with content of all low frequencies and some noise."""
    draw = np.random.default_rng(seed)
    blurred = Image.fromarray(draw.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    noise = draw.integers(-8, 8, (SIZE[1], SIZE[0], 3))
    return Image.fromarray((np.asarray(blurred) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(name="known")
def training_pictures(tmp_path: Path) -> list[str]:
    """Twenty pictures, as files."""
    paths = [str(tmp_path / f"{seed}.png") for seed in range(20)]
    for seed, path in enumerate(paths):
        photo(seed).save(path)
    return paths


def found(known: list[str], path: Path) -> list[Match]:
    seen = {each: look(each) for each in known}
    mine = look(str(path))
    assert mine is not None
    return Gallery({each: one for each, one in seen.items() if one}).matches(str(path), mine, pixels)


def test_a_copy_of_a_file_is_the_same_file(known: list[str], tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(known[3]).read_bytes())
    assert found(known, copy) == [Match(known[3], Likeness.FILE)]


def test_a_file_with_other_bytes_and_the_same_pixels_is_told_as_that(known: list[str], tmp_path: Path) -> None:
    facts = PngImagePlugin.PngInfo()
    facts.add_text("comment", "other bytes")
    photo(3).save(tmp_path / "again.png", pnginfo=facts, compress_level=1)
    assert found(known, tmp_path / "again.png") == [Match(known[3], Likeness.PIXELS)]


def test_a_png_made_of_a_jpeg_has_its_pixels(tmp_path: Path) -> None:
    photo(1).resize((640, 480)).save(tmp_path / "a.jpg")
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    assert found([str(tmp_path / "a.jpg")], tmp_path / "a.png") == [Match(str(tmp_path / "a.jpg"), Likeness.PIXELS)]


@pytest.mark.parametrize("quality", [95, 75, 50])
def test_a_picture_is_found_re_encoded(known: list[str], tmp_path: Path, quality: int) -> None:
    photo(3).save(tmp_path / "again.jpg", quality=quality)
    assert found(known, tmp_path / "again.jpg") == [Match(known[3], Likeness.NEAR)]


@pytest.mark.parametrize("factor", [0.5, 3])
def test_a_picture_is_found_in_another_size(known: list[str], tmp_path: Path, factor: float) -> None:
    photo(3).resize((int(SIZE[0] * factor), int(SIZE[1] * factor))).save(tmp_path / "again.png")
    assert found(known, tmp_path / "again.png") == [Match(known[3], Likeness.NEAR)]


def test_a_near_copy_whose_pixels_can_no_longer_be_read_is_a_near_one(known: list[str], tmp_path: Path) -> None:
    photo(3).save(tmp_path / "again.png", compress_level=1)
    seen = {each: look(each) for each in known}
    mine = look(str(tmp_path / "again.png"))
    assert mine is not None
    gallery = Gallery({each: one for each, one in seen.items() if one})
    assert gallery.matches("again.png", mine, lambda path: None) == [Match(known[3], Likeness.NEAR)]


def test_pixels_in_other_rows_are_other_pixels(tmp_path: Path) -> None:
    for name, size in (("wide", (60, 20)), ("high", (20, 60))):
        Image.new("RGB", size, "white").save(tmp_path / f"{name}.png")
    assert pixels(str(tmp_path / "wide.png")) != pixels(str(tmp_path / "high.png"))


def test_another_picture_is_not_found(known: list[str], tmp_path: Path) -> None:
    photo(20).save(tmp_path / "other.png")
    assert found(known, tmp_path / "other.png") == []


def drawing(colour: str, place: int = 20) -> Image.Image:
    image = Image.new("RGB", (64, 64), "lightgrey")
    ImageDraw.Draw(image).rectangle((place, 20, place + 20, 40), fill=colour)
    return image


def test_a_drawing_in_another_colour_is_another_picture(tmp_path: Path) -> None:
    drawing("blue").save(tmp_path / "blue.png")
    drawing("red").save(tmp_path / "red.png")
    assert found([str(tmp_path / "blue.png")], tmp_path / "red.png") == []


def test_a_drawing_elsewhere_is_another_picture(tmp_path: Path) -> None:
    drawing("blue").save(tmp_path / "left.png")
    drawing("blue", place=35).save(tmp_path / "right.png")
    assert found([str(tmp_path / "left.png")], tmp_path / "right.png") == []


def test_pictures_of_one_colour_each_are_apart_and_found_again(tmp_path: Path) -> None:
    for colour in ("white", "black"):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{colour}.png")
    Image.new("RGB", (50, 50), "white").save(tmp_path / "large.png")
    both = [str(tmp_path / "white.png"), str(tmp_path / "black.png")]
    assert found(both, tmp_path / "large.png") == [Match(both[0], Likeness.NEAR)]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_broken_picture_has_no_look(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert look(str(tmp_path / "a.png")) is None


def test_half_a_picture_has_no_look(known: list[str]) -> None:
    path = Path(known[0])
    path.write_bytes(path.read_bytes()[:2000])
    assert look(str(path)) is None


def test_a_missing_picture_has_neither_look_nor_pixels() -> None:
    assert look("nowhere.png") is None
    assert pixels("nowhere.png") is None


def test_a_picture_too_large_to_decode_safely_has_no_look(known: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert look(known[0]) is None


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    photo(0).quantize(8).save(tmp_path / "a.png", transparency=bytes([0, 255]))
    assert look(str(tmp_path / "a.png")) is not None


def kept(bits: int, shade: int = 0, name: int = 0) -> Look:
    return Look(f"{bits} {shade} {name}".encode(), bits, bytes([shade]) * 192, (1, 1))


def is_found(training: Look, seen: Look) -> bool:
    return bool(Gallery({"a": training}).matches("b", seen, str.encode))


def test_near_hashes_are_found_whichever_bits_differ() -> None:
    draw = random.Random(0)
    for _ in range(300):
        bits = draw.getrandbits(64)
        flips = draw.sample(range(64), DISTANCE + 1)
        near = bits ^ sum(1 << place for place in flips[:-1])
        assert is_found(kept(bits), kept(near, name=1))
        assert not is_found(kept(bits), kept(near ^ 1 << flips[-1]))


@pytest.mark.parametrize(("off", "expected"), [(TOLERANCE, True), (TOLERANCE + 1, False)])
def test_colours_may_be_off_by_the_tolerance(off: int, expected: bool) -> None:
    assert is_found(kept(7, shade=100), kept(7, shade=100 + off)) is expected
    assert is_found(kept(7, shade=100), kept(7, shade=100 - off)) is expected


def test_nothing_is_found_among_no_pictures() -> None:
    assert Gallery({}).matches("a", kept(1), pixels) == []


def test_files_with_the_same_bytes_are_one_picture() -> None:
    assert len(Gallery({"a": kept(1), "b": kept(1)})) == 1


def test_of_many_like_hashes_only_so_many_pictures_are_compared() -> None:
    gallery = Gallery({str(name): kept(7, name=name) for name in range(2 * CANDIDATES)})
    assert len(gallery.matches("a", kept(7, name=-1), str.encode)) == CANDIDATES


def test_each_picture_is_decoded_in_full_once_however_many_are_like_it() -> None:
    decoded: list[str] = []

    def noted(path: str) -> bytes:
        decoded.append(path)
        return path.encode()

    gallery = Gallery({f"a{name}": kept(7, name=name) for name in range(5)})
    for name in range(5):
        gallery.matches(f"b{name}", kept(7, name=-1 - name), noted)
    assert sorted(decoded) == [f"{side}{name}" for side in "ab" for name in range(5)]


def test_pictures_of_other_sizes_are_not_decoded_in_full() -> None:
    gallery = Gallery({"a": kept(7)._replace(size=(2, 1))})
    found = gallery.matches("b", kept(7, name=1), lambda path: pytest.fail(f"decoded {path}"))
    assert found == [Match("a", Likeness.NEAR)]


def test_looking_among_many_pictures_does_not_compare_with_all(tmp_path: Path) -> None:
    draw = random.Random(0)
    gallery = Gallery({str(name): kept(draw.getrandbits(64), name=name) for name in range(50_000)})
    started = time.process_time()
    for _ in range(200):
        gallery.matches("a", kept(draw.getrandbits(64)), pixels)
    assert time.process_time() - started < 1.0  # 0.3 ms each; all against all, a millisecond of sixty
