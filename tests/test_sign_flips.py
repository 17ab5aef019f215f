"""Whether a difference is more than chance, questions of one cluster kept together."""

from __future__ import annotations

import time
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from sclvlm.metrics import mcnemar_exact, sign_flip, sign_flip_exact
from sclvlm.metrics.resampling import Clusters
from sclvlm.metrics.sign_flips import ENUMERATED

few = st.lists(st.integers(-4, 4), max_size=9)


def exact(sums: list[int]) -> float:
    """The p-value of whole sums."""
    return sign_flip_exact(np.array(sums, dtype=float))


def scored(sums: np.ndarray) -> float:
    """The p-value of sums of any kind, a question in each cluster."""
    return sign_flip(Clusters(sums, np.ones(len(sums))))


def tried(sums: list[int]) -> float:
    """The same by trying all signs."""
    found = [abs(sum(sign * each for sign, each in zip(signs, sums, strict=True))) for signs in _signs(len(sums))]
    return sum(each >= abs(sum(sums)) for each in found) / len(found)


def _signs(count: int) -> list[tuple[int, ...]]:
    return list(product((1, -1), repeat=count))


@given(st.integers(0, 300), st.integers(0, 300))
def test_with_clusters_of_one_it_is_mcnemars_test(gained: int, lost: int) -> None:
    assert exact([1] * gained + [-1] * lost) == mcnemar_exact(gained, lost)


def test_ten_against_two_is_the_reference_value() -> None:
    assert exact([1] * 10 + [-1] * 2) == pytest.approx(0.038574, abs=1e-6)


@given(few)
def test_it_agrees_with_trying_all_signs(sums: list[int]) -> None:
    assert exact(sums) == pytest.approx(tried(sums))


@given(few)
def test_scores_have_all_their_signs_tried_and_their_rounding_does_not_show(sums: list[int]) -> None:
    assert scored(np.array(sums) / 10) == pytest.approx(tried(sums))


@given(few)
def test_other_signs_make_the_same_p_value(sums: list[int]) -> None:
    assert exact(sums) == exact([-each for each in sums])


@given(few, st.integers(1, 5))
def test_clusters_that_do_not_change_and_larger_units_make_no_difference(sums: list[int], unit: int) -> None:
    assert exact(sums) == pytest.approx(exact([unit * each for each in sums] + [0, 0]))


def test_small_p_values_are_exact() -> None:
    # 200 clusters of one, 200 of two, all gained but one of one: both ways, no flip or any one of the 200 alone.
    assert exact([1] * 199 + [-1] + [2] * 200) == pytest.approx(2 * (1 + comb(200, 1)) / 2.0**400, rel=1e-9, abs=0)


def test_many_scores_are_compared_by_students_t() -> None:
    sums = np.random.default_rng(0).normal(0.3, 1.0, ENUMERATED + 10)
    assert scored(sums) == pytest.approx(ttest_1samp(sums, 0).pvalue)


def test_many_scores_without_spread_are_as_sure_as_their_signs() -> None:
    assert scored(np.full(ENUMERATED + 4, 0.3)) == 2 / 2 ** (ENUMERATED + 4)


@pytest.mark.parametrize("sums", [[], [0, 0, 0]])
def test_nothing_that_changed_shows_nothing(sums: list[int]) -> None:
    assert (exact(sums), scored(np.array(sums, dtype=float))) == (1.0, 1.0)


@pytest.mark.parametrize("clusters", [5, 10])
def test_of_runs_that_are_equally_good_at_most_a_twentieth_differ(clusters: int) -> None:
    draw = np.random.default_rng(0)
    # Of 20 questions a cluster 40 % change, all in the direction of their cluster.
    signs = draw.choice([-1, 1], (2000, clusters))
    found = [exact(each) for each in (signs * draw.binomial(20, 0.4, (2000, clusters))).tolist()]
    assert np.mean(np.array(found) < 0.05) <= 0.05


def test_a_hundred_thousand_clusters_of_many_sizes_take_seconds() -> None:
    draw = np.random.default_rng(0)
    sums = draw.integers(0, 11, 100_000) * draw.choice([-1.0, 1.0], 100_000)
    start = time.process_time()
    sign_flip_exact(sums)
    assert time.process_time() - start < 5  # about 0.3
