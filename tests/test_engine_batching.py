"""Which conversations are held at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclvlm.engines.batching import batches, picture_size
from sclvlm.errors import SclvlmError


def test_rows_of_similar_width_share_a_batch_up_to_the_budget() -> None:
    # 9 + 8 padded to 9 is 18; 4, 4, 3 padded to 4 is 12, and with the 2 it would be 16.
    assert list(batches([4, 9, 3, 8, 4, 2], 18)) == [[1, 3], [0, 4, 2, 5]]
    assert list(batches([4, 9, 3, 8, 4, 2], 15)) == [[1], [3], [0, 4, 2], [5]]


def test_equally_wide_rows_stay_in_their_order() -> None:
    assert list(batches([5, 5, 5], 100)) == [[0, 1, 2]]


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_every_row_is_in_one_batch_and_none_is_over_the_budget_but_single_rows(widths: list[int], tokens: int) -> None:
    cut = list(batches(widths, tokens))
    assert sorted(index for batch in cut for index in batch) == list(range(len(widths)))
    assert all(len(batch) == 1 or len(batch) * max(widths[index] for index in batch) <= tokens for batch in cut)


def test_the_size_of_a_picture_is_height_and_width(shapes: list[str]) -> None:
    assert [picture_size(Path(path)) for path in shapes] == [(64, 64), (60, 120), (100, 50)]


def test_a_broken_picture_is_told_as_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(SclvlmError, match=r"x\.png: expected a readable image"):
        picture_size(tmp_path / "x.png")
