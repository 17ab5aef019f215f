from __future__ import annotations

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from sclvlm.reporting.charts import scale_over
from sclvlm.reporting.gallery import gallery_share
from sclvlm.reporting.html import data_url
from sclvlm.reporting.markdown import escaped, fenced
from sclvlm.reporting.wording import p_value, percent, points


@given(gains=st.integers(0, 50), losses=st.integers(0, 50), size=st.integers(0, 20))
def test_the_gallery_fills_its_places_and_shows_both_directions(gains: int, losses: int, size: int) -> None:
    shown = gallery_share(gains, losses, size)
    assert sum(shown) == min(size, gains + losses)
    assert 0 <= shown.gains <= gains
    assert 0 <= shown.losses <= losses
    if size >= 2 and gains and losses:
        assert shown.gains
        assert shown.losses


@given(st.text())
def test_a_fence_is_longer_than_any_run_of_backticks_inside(text: str) -> None:
    fence = fenced(text).partition("text\n")[0]
    assert fence not in text


@given(st.text())
def test_escaped_text_stays_on_one_line(text: str) -> None:
    assert len(escaped(text).splitlines()) <= 1


def test_a_file_that_is_no_picture_is_not_embedded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<svg onload=alert(1)>")
    assert data_url(tmp_path / "a.png") is None


def test_points_carry_a_sign_unless_they_round_to_zero() -> None:
    assert [points(x) for x in (0.069, -0.0204, 0.0001, -0.0001)] == ["+6.9", "−2.0", "0.0", "0.0"]


def test_a_share_that_is_not_there_is_a_dash() -> None:
    assert (percent(None), percent(0.451)) == ("–", "45.1 %")


def test_small_p_values_are_bounded_not_rounded_to_zero() -> None:
    assert (p_value(0.00001), p_value(0.038574)) == ("p < 0.001", "p = 0.039")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
@example([0.0])
@example([1.0])
def test_a_scale_holds_its_values_and_stays_in_bounds(values: list[float]) -> None:
    scale = scale_over(values, least=0, most=1)
    assert scale.low <= min(values) + 1e-6
    assert max(values) - 1e-6 <= scale.high <= 1.0 + 1e-9
    assert 2 <= len(scale.ticks) <= 7
