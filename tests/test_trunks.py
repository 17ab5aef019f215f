"""What rows begin with alike, and what each goes on with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclvlm.engines import trunks as module
from sclvlm.engines.trunks import Trunks, trunks

PICTURE = 9


def test_questions_about_one_picture_are_one_row_up_to_where_they_differ() -> None:
    ids = [[1, 9, 9, 9, 9, 2, 3], [1, 9, 9, 9, 9, 2, 4, 5], [1, 9, 9, 9, 9, 2]]
    # A branch has a token, so the trunk ends before the shortest row does: 5 of 21 tokens, and 2 + 3 + 1.
    assert trunks(ids, ["a", "a", "a"], {PICTURE}) == Trunks(
        [[1, 9, 9, 9, 9]], [0], [0, 0, 0], [[2, 3], [2, 4, 5], [2]]
    )


def test_rows_about_different_pictures_are_apart() -> None:
    same, other = [1, 9, 9, 9, 9, 2], [1, 9, 9, 9, 9, 3]
    found = trunks([same, other, other, same], ["a", "b", "b", "a"], {PICTURE})
    assert found is not None
    assert (found.rows, found.of) == ([0, 1], [0, 1, 1, 0])


def test_a_picture_behind_the_question_stays_in_its_row() -> None:
    ids = [[1, 2, 2, 2, 2, 3, 9, 5], [1, 2, 2, 2, 2, 4, 9, 5]]
    assert trunks(ids, ["a", "a"], {PICTURE}) is None
    assert trunks(ids, ["a", "a"], set()) is not None


def test_what_saves_little_is_left_alone() -> None:
    # 1 + 2 + 2 tokens in place of 6 is more than three quarters; 3 + 1 + 1 in place of 8 is less.
    assert trunks([[1, 2, 3], [1, 4, 5]], [(), ()], set()) is None
    assert trunks([[1, 2, 3, 4], [1, 2, 3, 5]], [(), ()], set()) is not None


def test_a_row_that_shares_nothing_leaves_no_trunk_empty() -> None:
    assert trunks([[1, 2, 3, 4], [1, 2, 3, 5], [7, 7], [8, 8]], ["a", "a", "b", "b"], set()) is None


@given(
    rows=st.lists(st.lists(st.integers(1, 3), min_size=2, max_size=8), min_size=1, max_size=6),
    kin=st.lists(st.integers(0, 1), min_size=6, max_size=6),
    pictured=st.sets(st.integers(1, 3), max_size=1),
)
def test_trunk_and_branch_are_the_row_again(rows: list[list[int]], kin: list[int], pictured: set[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WORTH", 2.0)
        found = trunks(rows, kin[: len(rows)], pictured)
    if found is None:
        return
    assert [found.ids[of] + branch for of, branch in zip(found.of, found.branches, strict=True)] == rows
    assert all(found.branches)
    assert all(kin[row] == kin[found.rows[of]] for row, of in enumerate(found.of))
