"""Posteriors kept by rank-one steps against those solved from sums."""

from __future__ import annotations

import numpy as np
import pytest

from streamer_models.bandits.factor_steps import Q_MIN, step
from streamer_models.bandits.linear_posterior import LinearPrior
from streamer_models.bandits.linear_rows import LinearRows
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


PRIOR = LinearPrior(mean=np.zeros(D), strength=1.0, reward=1.0, arm_strength=1.0)


def _rows(*, refresh_every: int, prior: LinearPrior = PRIOR) -> LinearRows:
    rows = LinearRows(D, kept=prior, refresh_every=refresh_every)
    rows.reserve(1)
    return rows


def _learn(rows: LinearRows, changes: Columns, weights: Floats | None = None) -> None:
    one = np.zeros(len(changes.after), dtype=np.int32)
    rows.learn(one, changes.contexts, changes.before, changes.after, changes.ts_ms, weights)


def _inverse(rows: LinearRows) -> Floats:
    inverse: Floats = rows.factors[0] @ rows.factors[0].T
    return inverse


def _drift(rows: LinearRows) -> float:
    """Greatest difference to what the statistics say, relative to the greatest number there."""
    kept = (_inverse(rows), rows.posterior(0).mean)
    rows.refresh()
    exact = (_inverse(rows), rows.posterior(0).mean)
    return max(
        float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        for ours, theirs in zip(kept, exact, strict=True)
    )


@pytest.mark.parametrize("prior_mean", [0.0, 0.5])
def test_steps_follow_outcomes_that_come_change_and_go(prior_mean: float) -> None:
    changes = with_amendments(first_outcomes(300, D))
    m0 = np.full(D, prior_mean)
    rows = _rows(
        refresh_every=10**9, prior=LinearPrior(mean=m0, strength=1.0, reward=1.0, arm_strength=1.0)
    )
    _learn(rows, changes)
    kept = settled(changes)
    a, residual = ridge(kept._replace(after=kept.after - kept.contexts @ m0))
    np.testing.assert_allclose(_inverse(rows) @ a, np.eye(D), atol=1e-6)
    np.testing.assert_allclose(rows.posterior(0).mean, m0 + residual, atol=1e-6)
    np.testing.assert_array_equal(rows.factors[0], np.tril(rows.factors[0]))


def test_an_example_of_a_weight_counts_as_so_many() -> None:
    """Also where its outcome changes, and goes with the weight it came with."""
    first = first_outcomes(200, D)
    weights = np.random.default_rng(2).uniform(1, 20, len(first.after))
    rows = _rows(refresh_every=10**9)
    _learn(rows, first._replace(after=1.0 - first.after), weights)
    _learn(rows, first._replace(before=1.0 - first.after), weights)
    gone = np.arange(0, 200, 3)
    nothing = np.full(len(gone), np.nan)
    _learn(rows, first.at(gone)._replace(before=first.after[gone], after=nothing), weights[gone])
    kept = np.setdiff1d(np.arange(200), gone)
    a, mean = ridge(first.at(kept), weights=weights[kept])
    np.testing.assert_allclose(_inverse(rows) @ a, np.eye(D), atol=1e-6)
    np.testing.assert_allclose(rows.posterior(0).mean, mean, atol=1e-6)
    assert rows.statistics(0).n == pytest.approx(weights[kept].sum(), rel=1e-6)
    assert _drift(rows) < 1e-6


def test_refreshing_bounds_the_drift_of_a_million_updates() -> None:
    # Features that differ by a hundredth: the condition of A is 6e5, so rounding shows.
    rng = np.random.default_rng(1)
    stepped, refreshed = _rows(refresh_every=10**9), _rows(refresh_every=10_000)
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
    print(f"{drift:.1e} without, {drift_refreshed:.1e} with refresh")
    assert drift_refreshed < 2e-7
    assert drift > 5 * drift_refreshed


def test_a_step_that_would_lose_its_digits_is_not_taken() -> None:
    factor, z = np.eye(2) * 1e3**0.5, np.ones(2)
    x, m0 = np.array([1.0, 0.0]), np.zeros(2)
    # 1e-3 of evidence is there, 1 is taken back: A would be negative.
    assert not step(factor, z, x, m0, 1.0, np.nan, 1.0, np.zeros(2))
    np.testing.assert_array_equal(factor, np.eye(2) * 1e3**0.5)
    np.testing.assert_array_equal(z, np.ones(2))
    assert Q_MIN > 0


def test_taking_back_the_only_large_example_is_exact_by_a_refresh() -> None:
    x = np.zeros((1, D))
    x[0, 0] = 1_024.0  # q would be 1e-6: too little
    once = Columns(x, np.zeros(1, np.uint64), np.array([np.nan]), np.ones(1), np.zeros(1, np.int64))
    rows = _rows(refresh_every=10**9)
    _learn(rows, once)
    assert rows.posterior(0).mean[0] > 1e-4
    _learn(rows, once._replace(before=once.after, after=once.before))
    assert not rows.values.any()
    np.testing.assert_array_equal(rows.posterior(0).mean, np.zeros(D))
    np.testing.assert_array_equal(rows.factors[0], np.eye(D))
