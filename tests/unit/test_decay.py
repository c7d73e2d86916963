"""Decayed counters against brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer_models.counters.decay import (
    add_decayed,
    decayed_values,
    half_lives_ms,
)
from streamer_models.state.decayed_cells import EPOCH_HALF_LIVES
from streamer_models.state.table import Merge, TableSpec, fold

HALF_LIVES = half_lives_ms([3_600, 86_400, 7 * 86_400])
YEAR_MS = 365 * 86_400_000
NOW_MS = 1_700_000_000_000


def _counted(
    ts_ms: NDArray[np.int64], weights: NDArray[np.float32], *, n_rows: int = 1
) -> NDArray[np.int64]:
    cells = np.zeros((n_rows, 4 * len(HALF_LIVES)), dtype=np.int64)
    slots = (np.arange(len(ts_ms)) % n_rows).astype(np.int32)
    add_decayed(cells, slots, ts_ms, weights, HALF_LIVES)
    return cells


def _brute_force(
    ts_ms: NDArray[np.int64], weights: NDArray[np.float32], at_ms: int
) -> NDArray[np.float64]:
    ages = (at_ms - ts_ms)[:, None] / HALF_LIVES
    values: NDArray[np.float64] = (weights[:, None] * 2.0**-ages).sum(axis=0)
    return values


def _events(n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Events of three years, many of them recent, in any order."""
    rng = np.random.default_rng(seed)
    spans = rng.choice([3_600_000, 86_400_000, 30 * 86_400_000, 3 * YEAR_MS], n)
    ts_ms = (NOW_MS - rng.random(n) * spans).astype(np.int64)
    return ts_ms, rng.choice([1, 2.5, 0.125], n).astype(np.float32)


@pytest.mark.parametrize("order", ["in time", "backwards", "shuffled"])
def test_counters_equal_brute_force_over_years(order: str) -> None:
    ts_ms, weights = _events(2_000, seed=1)
    arrival = {"in time": np.argsort(ts_ms), "backwards": np.argsort(-ts_ms)}
    at = arrival.get(order, np.arange(len(ts_ms)))
    values = decayed_values(_counted(ts_ms[at], weights[at]), HALF_LIVES, NOW_MS)[0]
    np.testing.assert_allclose(values, _brute_force(ts_ms, weights, NOW_MS), rtol=1e-3)


def test_cells_do_not_depend_on_the_order_of_events() -> None:
    ts_ms, weights = _events(500, seed=2)
    rng = np.random.default_rng(3)
    cells = _counted(ts_ms, weights)
    for _ in range(5):
        at = rng.permutation(len(ts_ms))
        np.testing.assert_array_equal(_counted(ts_ms[at], weights[at]), cells)


def test_partitions_merge_in_any_order() -> None:
    ts_ms, weights = _events(600, seed=4)
    spec = TableSpec("item_popularity", "item", Merge.DECAYED, "i8", 4 * len(HALF_LIVES))
    parts = [_counted(ts_ms[p::3], weights[p::3]) for p in range(3)]
    whole = _counted(ts_ms, weights)
    for order in permutations(range(3)):
        merged = np.zeros_like(whole)
        for p in order:
            fold(spec, merged, np.zeros(1, dtype=np.int32), parts[p])
        np.testing.assert_array_equal(merged, whole)


def test_values_are_right_wherever_in_an_epoch_they_are_read() -> None:
    """Just before, at and after the border of an epoch, and deep inside it."""
    length = int(HALF_LIVES[0]) * EPOCH_HALF_LIVES
    border = NOW_MS // length * length
    ts_ms = border + np.array([-7_200_000, -1, 0, 1, 3_600_000], dtype=np.int64)
    weights = np.ones(5, dtype=np.float32)
    for n in range(1, 6):
        for at_ms in (int(ts_ms[n - 1]), int(ts_ms[n - 1]) + 1_000, border + 15 * 3_600_000):
            values = decayed_values(_counted(ts_ms[:n], weights[:n]), HALF_LIVES, at_ms)[0]
            expected = _brute_force(ts_ms[:n], weights[:n], at_ms)
            np.testing.assert_allclose(values, expected, rtol=1e-3)


def test_what_is_long_past_reads_as_nothing() -> None:
    cells = _counted(np.array([NOW_MS]), np.ones(1, dtype=np.float32))
    later = NOW_MS + 2 * EPOCH_HALF_LIVES * int(HALF_LIVES[0])
    values = decayed_values(cells, HALF_LIVES, later)[0]
    assert values[0] == 0.0
    assert 0 < values[1] < values[2] < 1


def test_a_time_far_ahead_reads_as_nothing_now() -> None:
    cells = _counted(np.array([NOW_MS + 50 * YEAR_MS]), np.ones(1, dtype=np.float32))
    assert decayed_values(cells, HALF_LIVES, NOW_MS).tolist() == [[0.0, 0.0, 0.0]]


def test_a_clock_a_little_ahead_counts_in_full() -> None:
    length = int(HALF_LIVES[0]) * EPOCH_HALF_LIVES
    border = NOW_MS // length * length
    cells = _counted(np.array([border + 2_000]), np.ones(1, dtype=np.float32))
    values = decayed_values(cells, HALF_LIVES, border - 3_000)[0]
    np.testing.assert_allclose(values, 1.0, rtol=2e-3)


def test_hot_counters_do_not_overflow() -> None:
    """10^9 events at the very end of an epoch, where they weigh most."""
    length = int(HALF_LIVES[0]) * EPOCH_HALF_LIVES
    last = NOW_MS // length * length + length - 1
    weights = np.full(1_000, 1e6, dtype=np.float32)
    cells = _counted(np.full(1_000, last), weights)
    assert decayed_values(cells, HALF_LIVES, last)[0, 0] == pytest.approx(1e9, rel=1e-6)


def test_dislikes_are_not_counted() -> None:
    weights = np.array([-1, 0, np.nan], dtype=np.float32)
    assert not _counted(np.full(3, NOW_MS), weights).any()


@pytest.mark.parametrize("half_lives_s", [(), (0.0,), (60, -1)])
def test_half_lives_are_checked(half_lives_s: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="at least one half-life"):
        half_lives_ms(half_lives_s)
