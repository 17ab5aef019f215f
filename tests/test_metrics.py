from __future__ import annotations

from statistics import NormalDist, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sclvlm.errors import SclvlmError
from sclvlm.metrics import (
    Comparison,
    Finding,
    Interval,
    compare,
    holm,
    mcnemar_exact,
    summarize,
    wilson,
)
from sclvlm.metrics.resampling import Clusters, bootstrap_interval, clustered_error
from sclvlm.records import GradedTrace, GradedTurn, ModelRef, Transition, Verdict

CORRECT, INCORRECT, UNPARSED = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED
ANSWER = {CORRECT: "A", INCORRECT: "B", UNPARSED: None}

verdicts = st.sampled_from(list(Verdict))
runs = st.lists(st.lists(verdicts, min_size=1, max_size=3), min_size=1, max_size=30)


def trace(name: str, *said: Verdict, draw: int = 0, tokens: int = 10) -> GradedTrace:
    turns = tuple(
        GradedTurn(
            role="refined" if index else "initial",
            prompt=[],
            response="",
            num_tokens=tokens * (index + 1),
            finish_reason="stop",
            answer=ANSWER[verdict],
            method="marker",
            verdict=verdict,
        )
        for index, verdict in enumerate(said)
    )
    return GradedTrace(
        id=name,
        draw=draw,
        turns=turns,
        model=ModelRef(path="m"),
        sampling={},
        prompts={},
        seed=0,
        transition=Transition.between(said[0], said[-1]),
    )


def run_of(*said: list[Verdict]) -> list[GradedTrace]:
    return [trace(f"q{index}", *each) for index, each in enumerate(said)]


def alone(graded: list[GradedTrace]) -> dict[str, str]:
    """Every question its own cluster."""
    return {each.id: each.id for each in graded}


def one_turn(right: int, wrong: int) -> list[GradedTrace]:
    return run_of(*[[CORRECT]] * right, *[[INCORRECT]] * wrong)


def flipped(gains: int, losses: int, same: int) -> tuple[list[GradedTrace], list[GradedTrace]]:
    before = run_of(*[[INCORRECT]] * gains, *[[CORRECT]] * losses, *[[CORRECT]] * same)
    after = run_of(*[[CORRECT]] * gains, *[[INCORRECT]] * losses, *[[CORRECT]] * same)
    return before, after


def flips(gains: int, losses: int, same: int) -> Comparison:
    before, after = flipped(gains, losses, same)
    return compare(before, after, alone(before))


# wilson, mcnemar, holm


def test_wilson_of_8_in_10_is_the_reference_value() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_wilson_of_nothing_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="accuracy of nothing"):
        wilson(0, 0)


@given(n=st.integers(1, 10_000), data=st.data(), confidence=st.floats(0.5, 0.999))
def test_wilson_holds_the_share_and_stays_within_0_and_1(n: int, data: st.DataObject, confidence: float) -> None:
    k = data.draw(st.integers(0, n))
    interval = wilson(k, n, confidence)
    assert 0 <= interval.low <= k / n <= interval.high <= 1


@given(n=st.integers(1, 1000), data=st.data())
def test_wilson_of_failures_mirrors_that_of_successes(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    assert wilson(k, n).low == pytest.approx(1 - wilson(n - k, n).high)


def test_mcnemar_of_10_against_2_is_the_reference_value() -> None:
    assert mcnemar_exact(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 2**12)  # 0.038574


def test_mcnemar_without_discordant_pairs_is_1() -> None:
    assert mcnemar_exact(0, 0) == 1.0


@given(b=st.integers(0, 500), c=st.integers(0, 500))
def test_mcnemar_is_a_symmetric_probability(b: int, c: int) -> None:
    assert 0 <= mcnemar_exact(b, c) == mcnemar_exact(c, b) <= 1


def test_holm_multiplies_by_the_tests_that_are_left_and_never_falls() -> None:
    # Sorted .01 .03 .04: 3 * .01, 2 * .03, max(.06, 1 * .04).
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(pvalues: list[float]) -> None:
    adjusted = holm(pvalues)
    for p, q in zip(pvalues, adjusted, strict=True):
        assert p <= q <= min(1, p * len(pvalues))
    assert [adjusted[i] for i in np.argsort(pvalues, kind="stable")] == sorted(adjusted)


# summarize


def test_summary_of_nothing_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="accuracy of nothing"):
        summarize([])


@given(runs)
def test_delta_is_what_became_right_less_what_became_wrong(said: list[list[Verdict]]) -> None:
    run = summarize(run_of(*said))
    assert run.last.accuracy.value - run.first.accuracy.value == pytest.approx(run.delta_ic - run.delta_ci)


@given(runs)
def test_last_accuracy_is_kept_right_answers_and_repaired_wrong_ones(said: list[list[Verdict]]) -> None:
    run = summarize(run_of(*said))
    first = run.first.accuracy.value
    kept = first * (run.confidence_level or 0)
    repaired = (1 - first) * (run.critique_score or 0)
    assert run.last.accuracy.value == pytest.approx(kept + repaired)


@given(runs)
def test_transitions_add_up_to_all_traces(said: list[list[Verdict]]) -> None:
    assert sum(summarize(run_of(*said)).transitions.values()) == len(said)


def test_confidence_level_is_undefined_where_nothing_was_right_first() -> None:
    assert summarize(run_of([INCORRECT, CORRECT])).confidence_level is None


def test_critique_score_is_undefined_where_nothing_was_wrong_first() -> None:
    assert summarize(run_of([CORRECT, CORRECT])).critique_score is None


def test_an_unparsed_answer_is_wrong_and_counted_apart() -> None:
    first = summarize(run_of([UNPARSED], [CORRECT])).first
    assert (first.accuracy.value, first.unparsed.value) == (0.5, 0.5)


def test_unreadable_twice_is_no_change_of_answer() -> None:
    assert summarize(run_of([UNPARSED, UNPARSED], [UNPARSED, INCORRECT])).answer_changed.count == 1


def test_a_trace_that_ended_early_counts_with_its_last_verdict() -> None:
    assert summarize(run_of([CORRECT], [INCORRECT, CORRECT])).last.accuracy.value == 1.0


def test_length_is_the_mean_over_traces_that_reached_the_turn() -> None:
    graded = [trace("a", CORRECT, tokens=10), trace("b", CORRECT, CORRECT, tokens=20)]
    assert [turn.mean_tokens for turn in summarize(graded).turns] == [15.0, 40.0]


# compare


def test_before_and_after_are_accuracies_of_the_same_questions() -> None:
    found = flips(gains=3, losses=1, same=6)
    assert (found.before.value, found.after.value, found.difference) == (0.7, 0.9, pytest.approx(0.2))


def test_comparison_at_the_last_turn_reads_the_last_answer() -> None:
    before, after = (
        run_of([CORRECT, INCORRECT], [CORRECT, CORRECT]),
        run_of([INCORRECT, CORRECT], [CORRECT, CORRECT]),
    )
    assert compare(before, after, alone(before), turn="last").difference == 0.5


@given(st.lists(st.tuples(verdicts, verdicts), min_size=1, max_size=40))
def test_a_difference_is_its_format_part_and_its_content_part(pairs: list[tuple[Verdict, Verdict]]) -> None:
    before, after = run_of(*([a] for a, _ in pairs)), run_of(*([b] for _, b in pairs))
    found = compare(before, after, alone(before), resamples=100)
    assert found.difference == pytest.approx(found.format.share + found.content.share)


def test_format_gain_is_unparsed_to_correct_less_the_reverse() -> None:
    before = run_of([UNPARSED], [UNPARSED], [CORRECT], [INCORRECT])
    after = run_of([CORRECT], [CORRECT], [UNPARSED], [INCORRECT])
    found = compare(before, after, alone(before))
    assert (found.format.gained, found.format.lost, found.format.share, found.content.share) == (
        2,
        1,
        0.25,
        0,
    )


@given(st.lists(st.tuples(verdicts, verdicts), min_size=2, max_size=40))
def test_swapping_the_runs_turns_the_difference_around(pairs: list[tuple[Verdict, Verdict]]) -> None:
    before, after = run_of(*([a] for a, _ in pairs)), run_of(*([b] for _, b in pairs))
    there, back = (compare(*both, alone(before), resamples=100) for both in ((before, after), (after, before)))
    assert (there.difference, there.p_value) == (-back.difference, back.p_value)


def test_the_order_of_the_traces_is_of_no_account() -> None:
    before, after = flipped(gains=30, losses=10, same=60)
    clusters = {each.id: each.id[:2] for each in before}
    assert compare(before, after, clusters) == compare(before[::-1], after[7:] + after[:7], clusters)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert flips(30, 10, 60) == flips(30, 10, 60)


def test_the_same_run_twice_is_within_noise() -> None:
    before = one_turn(right=50, wrong=50)
    assert compare(before, before, alone(before)).finding is Finding.NOISE


def test_many_more_gains_than_losses_are_a_gain() -> None:
    assert flips(40, 5, 55).finding is Finding.GAIN


def test_many_more_losses_than_gains_are_a_loss() -> None:
    assert flips(5, 40, 55).finding is Finding.LOSS


def test_five_gains_alone_are_noise_and_may_be_any_difference() -> None:
    found = flips(5, 0, 0)  # p = 2 / 2**5
    assert (found.interval, found.p_value, found.finding) == ((-1.0, 1.0), 0.0625, Finding.NOISE)


def test_six_gains_alone_are_a_gain() -> None:
    found = flips(6, 0, 0)  # p = 2 / 2**6
    assert (found.interval, found.p_value, found.finding) == ((1.0, 1.0), 0.03125, Finding.GAIN)


def test_four_gains_among_six_are_noise_although_their_interval_leaves_out_zero() -> None:
    found = flips(4, 0, 2)  # p = 2 / 2**4; a resample without any of the four has the chance 3**-6
    assert (found.interval.low > 0, found.p_value, found.finding) == (True, 0.125, Finding.NOISE)


def test_a_single_cluster_says_nothing_about_others() -> None:
    before, after = flipped(40, 0, 10)
    found = compare(before, after, dict.fromkeys(alone(before), "one image"))
    assert (found.interval, found.standard_error, found.p_value) == ((-1, 1), None, 1.0)


def test_gains_of_three_images_are_noise_however_many_questions_they_have() -> None:
    before, after = flipped(40, 0, 10)
    found = compare(before, after, {each.id: str(int(each.id[1:]) % 3) for each in before})
    assert (found.p_value, found.detectable, found.finding) == (0.25, None, Finding.NOISE)


def test_mcnemars_p_takes_no_account_of_clusters() -> None:
    before, after = flipped(10, 2, 8)
    found = compare(before, after, {each.id: str(int(each.id[1:]) % 2) for each in before})
    assert found.mcnemar == mcnemar_exact(10, 2)


# the bootstrap and the standard error


def looped(sums: np.ndarray, sizes: np.ndarray, resamples: int) -> Interval:
    """The textbook bootstrap: draw K clusters one by one."""
    random = np.random.default_rng(1)
    means = []
    for _ in range(resamples):
        drawn = random.integers(len(sums), size=len(sums))
        means.append(sums[drawn].sum() / sizes[drawn].sum())
    return Interval(*np.quantile(means, [0.025, 0.975]))


def test_the_bootstrap_agrees_with_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 6, size=80).astype(float)
    sums = np.array([random.integers(-size, size + 1) for size in sizes]).astype(float)
    fast = bootstrap_interval(Clusters(sums, sizes), resamples=20_000, confidence=0.95, seed=0)
    # A 2.5 % quantile of 20,000 means of spread 0.1 is known to about 0.1 * 2.7 / sqrt(20,000) = 0.002.
    assert fast == pytest.approx(looped(sums, sizes, 20_000), abs=0.01)


def test_the_bootstrap_interval_is_near_the_normal_one_for_many_questions() -> None:
    found = flips(gains=300, losses=200, same=1500)
    assert found.standard_error is not None
    half = NormalDist().inv_cdf(0.975) * found.standard_error
    assert found.interval == pytest.approx((0.05 - half, 0.05 + half), abs=0.002)


def test_questions_that_move_together_widen_the_interval() -> None:
    before, after = flipped(40, 20, 40)
    # Questions q0 to q9 share an image, q10 to q19 the next, and so on: each ten moves as one.
    together = compare(before, after, {each.id: each.id[1:-1] for each in before})
    apart = compare(before, after, alone(before))
    assert together.interval.low < apart.interval.low < apart.interval.high < together.interval.high


def test_copying_every_question_leaves_the_clustered_error_as_it_was() -> None:
    once = np.array([1.0, -1.0, 0.0, 1.0])
    copies = 25
    together = clustered_error(Clusters(once * copies, np.full(4, float(copies))))
    assert together == pytest.approx(clustered_error(Clusters(once, np.ones(4))))


def test_the_clustered_error_without_clusters_is_the_usual_one() -> None:
    differences = [1.0] * 3 + [-1.0] + [0.0] * 6
    error = clustered_error(Clusters(np.array(differences), np.ones(10)))
    assert error == pytest.approx(stdev(differences) / 10**0.5)


def test_the_detectable_effect_is_2_80_standard_errors() -> None:
    found = flips(30, 10, 60)
    assert found.standard_error is not None
    assert found.detectable == pytest.approx((1.95996 + 0.84162) * found.standard_error, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_seed_gives_an_interval_that_holds_the_difference(seed: int) -> None:
    before, after = flipped(30, 10, 60)
    interval = compare(before, after, alone(before), resamples=500, seed=seed).interval
    assert interval.low <= 0.2 <= interval.high


# alignment


def test_runs_on_different_questions_name_some_of_them_and_the_remedy() -> None:
    before, after = one_turn(3, 0), [*one_turn(2, 0), trace("other", CORRECT)]
    with pytest.raises(SclvlmError, match=r"1 \(q2\) only before, 1 \(other\) only after\. Evaluate both"):
        compare(before, after, alone(before))


def test_a_question_answered_twice_in_a_run_is_an_error() -> None:
    before = one_turn(2, 0)
    with pytest.raises(SclvlmError, match=r"the run after answers 1 \(q0\) more than once"):
        compare(before, [before[0], *before], alone(before))


def test_draws_of_one_question_are_aligned_by_draw() -> None:
    before = [trace("q", CORRECT, draw=0), trace("q", INCORRECT, draw=1), trace("r", CORRECT)]
    assert compare(before, before[::-1], {"q": "q", "r": "r"}).difference == 0


def test_a_question_without_cluster_is_an_error() -> None:
    before = one_turn(2, 0)
    with pytest.raises(SclvlmError, match=r"no cluster for 1 \(q1\)"):
        compare(before, before, {"q0": "x"})


def test_comparing_nothing_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="accuracy of nothing"):
        compare([], [], {})
