"""Inverses kept by rank-one steps against inverses of sums."""

from __future__ import annotations

import numpy as np
import pytest

from streamer_models.bandits.linear_rows import LinearRows
from streamer_models.bandits.sherman_morrison import Q_MIN, step
from tests.unit.linear_examples import (
    NOW_MS,
    Columns,
    Floats,
    first_outcomes,
    ridge,
    settled,
    with_amendments,
)

D = 8


def _rows(*, refresh_every: int, half_life_s: float = 0.0) -> LinearRows:
    rows = LinearRows(D, prior_strength=1.0, half_life_s=half_life_s, refresh_every=refresh_every)
    rows.reserve(1)
    return rows


def _learn(rows: LinearRows, changes: Columns) -> None:
    one = np.zeros(len(changes.after), dtype=np.int32)
    rows.learn(one, changes.contexts, changes.before, changes.after, changes.ts_ms)


def _drift(rows: LinearRows) -> float:
    """Greatest difference to what the statistics say, relative to the greatest number there."""
    kept: list[Floats] = [rows.inverse[0].copy(), rows.theta[0].copy(), rows.spread[0].copy()]
    rows.refresh()
    exact = (rows.inverse[0], rows.theta[0], rows.spread[0])
    return max(
        float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        for ours, theirs in zip(kept, exact, strict=True)
    )


def test_steps_follow_outcomes_that_come_change_and_go() -> None:
    changes = with_amendments(first_outcomes(300, D))
    rows = _rows(refresh_every=10**9)
    _learn(rows, changes)
    a, mean = ridge(settled(changes))
    np.testing.assert_allclose(rows.inverse[0] @ a, np.eye(D), atol=1e-6)
    np.testing.assert_allclose(rows.theta[0], mean, atol=1e-6)


@pytest.mark.parametrize("half_life_s", [0.0, 100_000.0])
def test_refreshing_bounds_the_drift_of_a_million_updates(half_life_s: float) -> None:
    # Features that differ by a hundredth: the condition of A is 6e5, so rounding shows.
    rng = np.random.default_rng(1)
    stepped = _rows(refresh_every=10**9, half_life_s=half_life_s)
    refreshed = _rows(refresh_every=10_000, half_life_s=half_life_s)
    n = 10_000
    for batch in range(101):
        x = (1.0 + 0.01 * rng.normal(size=(n, D))).astype(np.float32).astype(np.float64)
        r = x @ np.arange(D) + rng.normal(size=n)
        ts_ms = NOW_MS + 1_000 * np.arange(batch * n, (batch + 1) * n)
        # The last batch is one short of a refresh: drift is at its greatest.
        kept = slice(0, n - (batch == 100))
        changes = Columns(x, np.zeros(n, np.uint64), np.full(n, np.nan), r, ts_ms).at(kept)
        _learn(stepped, changes)
        _learn(refreshed, changes)
    drift, drift_refreshed = _drift(stepped), _drift(refreshed)
    print(f"half_life_s={half_life_s:g}: {drift:.1e} without, {drift_refreshed:.1e} with refresh")
    # Where evidence fades, statistics have 20 bits after the point, and all is computed afresh 32
    # times a half-life anyway.
    assert drift_refreshed < (1e-5 if half_life_s else 2e-7)
    assert half_life_s or drift > 5 * drift_refreshed


def test_the_spread_of_fading_evidence_needs_only_steps() -> None:
    examples = first_outcomes(400, D)
    examples = examples._replace(ts_ms=NOW_MS + np.arange(400))  # inside one 1/32 of the half-life
    rows = _rows(refresh_every=10**9, half_life_s=1e9)
    _learn(rows, examples)
    assert _drift(rows) < 1e-6
    weights = 2.0 ** ((examples.ts_ms - NOW_MS) / 1e12)
    v, _ = ridge(examples, weights=weights)
    v_squares, _ = ridge(examples, weights=weights**2)
    expected = np.linalg.inv(v) @ v_squares @ np.linalg.inv(v)
    np.testing.assert_allclose(rows.spread[0], expected, rtol=1e-3, atol=1e-7)


def test_a_step_that_would_lose_its_digits_is_not_taken() -> None:
    inverse, theta = np.eye(2) * 1e3, np.ones(2)
    x = np.array([1.0, 0.0])
    none = np.zeros((0, 0))
    # 1e-3 of evidence is there, 1 is taken back: A would be negative.
    assert not step(inverse, none, theta, x, 1.0, np.nan, 1.0, np.zeros(2), np.zeros(2))
    np.testing.assert_array_equal(inverse, np.eye(2) * 1e3)
    np.testing.assert_array_equal(theta, np.ones(2))
    assert Q_MIN > 0


def test_taking_back_the_only_large_example_is_exact_by_a_refresh() -> None:
    x = np.zeros((1, D))
    x[0, 0] = 1_024.0  # q would be 1e-6: too little
    once = Columns(x, np.zeros(1, np.uint64), np.array([np.nan]), np.ones(1), np.zeros(1, np.int64))
    rows = _rows(refresh_every=10**9)
    _learn(rows, once)
    assert rows.theta[0, 0] > 1e-4
    _learn(rows, once._replace(before=once.after, after=once.before))
    assert not rows.values.any()
    np.testing.assert_array_equal(rows.theta[0], np.zeros(D))
    np.testing.assert_array_equal(rows.inverse[0], np.eye(D))
