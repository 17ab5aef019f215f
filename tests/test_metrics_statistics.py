"""Statistics beside the comparison of verdicts: scores, the noise floor, planning, speed."""

from __future__ import annotations

import time
from statistics import NormalDist, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclvlm.errors import SclvlmError
from sclvlm.metrics import Finding, compare_scores, detectable_effect, noise_floor, questions_needed
from sclvlm.metrics import resampling as module
from sclvlm.metrics.resampling import Clusters, bootstrap_interval
from sclvlm.records import Verdict
from tests.test_metrics import CORRECT, INCORRECT, UNPARSED, alone, flipped, run_of, trace

scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30)


def named(values: list[float]) -> dict[str, float]:
    return {f"q{index}": value for index, value in enumerate(values)}


def apart(values: dict[str, float]) -> dict[str, str]:
    return {name: name for name in values}


# scores


def test_scores_are_compared_by_their_means() -> None:
    before, after = named([0.0, 0.3, 0.9]), named([0.6, 0.3, 0.6])  # means 0.4 and 0.5
    found = compare_scores(before, after, apart(before))
    assert (found.before, found.after, found.difference) == pytest.approx((0.4, 0.5, 0.1))


def test_the_error_of_score_differences_is_the_paired_one() -> None:
    changes = [0.6, 0.0, -0.3, 0.3]
    before = named([0.3] * 4)
    found = compare_scores(before, named([0.3 + change for change in changes]), apart(before))
    assert found.standard_error == pytest.approx(stdev(changes) / 2)


def test_a_score_gain_that_every_question_shares_is_a_gain() -> None:
    before = named([0.3] * 20)
    assert compare_scores(before, named([0.6] * 20), apart(before)).finding is Finding.GAIN


def test_a_score_gain_without_spread_is_as_sure_as_its_signs() -> None:
    before = named([0.3] * 20)
    assert compare_scores(before, named([0.6] * 20), apart(before)).p_value == 2 / 2**20


def test_scores_of_five_questions_have_no_interval_and_show_nothing() -> None:
    before = named([0.3] * 5)
    found = compare_scores(before, named([0.6] * 5), apart(before))  # 2 / 2**5
    assert (found.interval, found.p_value, found.finding) == (None, 0.0625, Finding.NOISE)


def test_the_same_scores_twice_are_within_noise() -> None:
    before = named([0.0, 0.3, 1.0])
    assert compare_scores(before, before, apart(before)).finding is Finding.NOISE


def test_scores_of_one_cluster_show_nothing() -> None:
    before = named([0.0] * 9)
    found = compare_scores(before, named([1.0] * 9), dict.fromkeys(before, "one image"))
    assert (found.p_value, found.finding) == (1.0, Finding.NOISE)


@given(scores)
def test_swapping_the_scores_turns_the_difference_around(pairs: list[tuple[float, float]]) -> None:
    before, after = named([a for a, _ in pairs]), named([b for _, b in pairs])
    there, back = (compare_scores(*both, apart(before), resamples=100) for both in ((before, after), (after, before)))
    assert there.difference == pytest.approx(-back.difference)
    assert there.p_value == pytest.approx(back.p_value)


def test_scores_of_different_questions_are_an_error() -> None:
    with pytest.raises(SclvlmError, match=r"1 \(a\) only before, 1 \(b\) only after"):
        compare_scores({"a": 1.0}, {"b": 1.0}, {"a": "a", "b": "b"})


def test_scores_of_nothing_are_an_error() -> None:
    with pytest.raises(SclvlmError, match="accuracy of nothing"):
        compare_scores({}, {}, {})


# the bootstrap


def test_both_ways_of_drawing_have_the_same_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    clusters = Clusters(random.integers(-2, 3, size=300).astype(float), random.integers(2, 5, size=300).astype(float))
    by_count = bootstrap_interval(clusters, resamples=20_000, confidence=0.95, seed=0)
    monkeypatch.setattr(module, "FEW", 0)
    one_by_one = bootstrap_interval(clusters, resamples=20_000, confidence=0.95, seed=0)
    # The mean has spread 1.4 / (3 * sqrt(300)) = 0.027, its 2.5 % quantile is known to 0.027 * 2.7 / sqrt(20,000).
    assert one_by_one == pytest.approx(by_count, abs=0.003)


def test_blocks_of_resamples_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = Clusters(np.random.default_rng(0).random(100), np.ones(100))
    options = {"resamples": 77, "confidence": 0.9, "seed": 3}
    whole = bootstrap_interval(clusters, **options)
    monkeypatch.setattr(module, "DRAWN_AT_ONCE", 1000)
    assert bootstrap_interval(clusters, **options) == whole


def test_ten_thousand_resamples_of_ten_thousand_scores_take_seconds() -> None:
    clusters = Clusters(np.random.default_rng(0).random(10_000), np.ones(10_000))
    start = time.process_time()
    bootstrap_interval(clusters, resamples=10_000, confidence=0.95, seed=0)
    assert time.process_time() - start < 10  # about 1.3 on one core


# the noise floor


def test_the_noise_floor_counts_flips_both_ways() -> None:
    one, other = flipped(gains=6, losses=4, same=90)
    found = noise_floor(one, other, alone(one))
    assert (found.flips.count, found.difference) == (10, pytest.approx(0.02))


def test_the_noise_floor_of_independent_questions_is_the_root_of_the_flips() -> None:
    one, other = flipped(gains=6, losses=4, same=90)
    assert noise_floor(one, other, alone(one)).standard_error == pytest.approx(10**0.5 / 100)


def test_the_bound_is_1_96_standard_errors() -> None:
    one, other = flipped(gains=6, losses=4, same=90)
    found = noise_floor(one, other, alone(one))
    assert found.bound == pytest.approx(1.959964 * found.standard_error)


def test_questions_that_flip_together_raise_the_floor() -> None:
    one, other = flipped(gains=4, losses=0, same=96)
    # One image holds the four that flip: sqrt(4²) instead of sqrt(4 * 1²).
    together = noise_floor(
        one, other, {each.id: "q" if each.id in ("q0", "q1", "q2", "q3") else each.id for each in one}
    )
    assert together.standard_error == 2 * noise_floor(one, other, alone(one)).standard_error


def test_a_difference_beyond_the_floor_is_not_covered() -> None:
    found = noise_floor(*flipped(gains=2, losses=2, same=96), alone(flipped(2, 2, 96)[0]))  # bound 0.039
    assert [found.covers(difference) for difference in (0.03, -0.03, 0.05)] == [True, True, False]


def test_unparsed_for_incorrect_is_no_flip() -> None:
    assert noise_floor(run_of([INCORRECT]), run_of([UNPARSED]), {"q0": "q0"}).flips.count == 0


def test_the_floor_of_seeds_that_agree_is_zero() -> None:
    run = run_of([CORRECT], [INCORRECT])
    assert noise_floor(run, run, alone(run)).bound == 0


def test_the_floor_covers_nineteen_of_twenty_pairs_of_seeds() -> None:
    random = np.random.default_rng(0)

    def seed() -> list[Verdict]:
        return [CORRECT if drawn < 0.5 else INCORRECT for drawn in random.random(60)]

    names = {f"q{index}": f"q{index}" for index in range(60)}
    runs = [[trace(f"q{i}", said) for i, said in enumerate(seed())] for _ in range(400)]
    found = [noise_floor(one, other, names) for one, other in zip(runs[::2], runs[1::2], strict=True)]
    covered = sum(each.covers(each.difference) for each in found)
    assert covered / 200 == pytest.approx(0.95, abs=3 * (0.95 * 0.05 / 200) ** 0.5)


# planning


def test_the_detectable_effect_follows_level_and_power() -> None:
    z = NormalDist().inv_cdf
    assert detectable_effect(0.01, alpha=0.01, power=0.9) == pytest.approx((z(0.995) + z(0.9)) * 0.01)


@pytest.mark.parametrize("error", [None, 0.0])
def test_nothing_is_detectable_without_spread(error: float | None) -> None:
    assert detectable_effect(error) is None


def test_two_points_with_a_tenth_flipped_take_1955_questions() -> None:
    # (1.95996 + 0.84162)² * (0.1 - 0.02²) / 0.02² = 7.8489 * 249 = 1954.4
    assert questions_needed(0.02, 0.1) == 1955


def test_the_questions_needed_make_the_difference_detectable() -> None:
    n = questions_needed(0.03, 0.2)
    assert detectable_effect(((0.2 - 0.03**2) / n) ** 0.5) == pytest.approx(0.03, rel=1e-3)


@pytest.mark.parametrize(("difference", "share"), [(0.0, 0.1), (0.2, 0.1), (0.1, 1.5)])
def test_a_difference_larger_than_what_flips_is_an_error(difference: float, share: float) -> None:
    with pytest.raises(SclvlmError, match="needs as many changed verdicts"):
        questions_needed(difference, share)
