"""Memory does not grow with the number of samples, and what is done beside the model is cheap."""

from __future__ import annotations

import pytest

from benchmarks.bookkeeping import MOST_GROWTH, MOST_MS, measured

FEW, MANY = 1_000, 30_000


@pytest.fixture(scope="module", name="found")
def measured_twice() -> dict[int, dict[str, float]]:
    return {number: measured(number) for number in (FEW, MANY)}


def test_thirty_times_the_samples_need_no_more_memory(found: dict[int, dict[str, float]]) -> None:
    assert found[MANY]["peak MB"] < MOST_GROWTH * found[FEW]["peak MB"]


def test_a_sample_costs_less_than_a_millisecond_beside_the_model(found: dict[int, dict[str, float]]) -> None:
    assert sum(found[MANY][part] for part in ("check", "ask", "count")) < MOST_MS
