"""Bounded arms: admission, expiry, and outcomes that nobody remembers."""

from __future__ import annotations

import numpy as np
import pytest

from streamer_models.bandits.arms import ArmRows
from streamer_models.bandits.in_memory import published_bandit
from streamer_models.bandits.linear_memory import LinearMemory
from streamer_models.state.table import Keys

ONE = np.ones((1, 1))
NAN = np.array([np.nan])


def _arms(*keys: int) -> Keys:
    return np.array(keys, dtype=np.uint64)


def _resolve(table: ArmRows, keys: Keys, *ts_ms: int) -> list[int]:
    """Rows of all examples, expiring where that is needed."""
    times = np.array(ts_ms, dtype=np.int64)
    rows: list[int] = []
    while len(rows) < len(keys):
        more, _ = table.resolve(keys[len(rows) :], times[len(rows) :])
        rows += more.tolist()
        if len(rows) < len(keys):
            table.expire()
    return rows


def test_arms_keep_their_rows_and_unknown_ones_have_none() -> None:
    table = ArmRows(arms_max=4)
    assert _resolve(table, _arms(7, 8, 7, 9), 1, 2, 3, 4) == [0, 1, 0, 2]
    assert table.find(_arms(9, 5, 7)).tolist() == [2, -1, 0]
    assert len(table) == table.n_rows == 3


def test_the_idlest_arm_goes_and_its_row_is_used_again() -> None:
    table = ArmRows(arms_max=2)
    _resolve(table, _arms(7, 8, 7), 10, 20, 30)
    assert _resolve(table, _arms(9), 40) == [1]
    assert table.find(_arms(7, 8, 9)).tolist() == [0, -1, 1]
    assert table.n_expired == 1


def test_an_arm_is_admitted_at_its_last_needed_sighting() -> None:
    table = ArmRows(arms_max=2, sightings_min=3)
    assert _resolve(table, _arms(7, 7, 8, 7, 7), 1, 2, 3, 4, 5) == [-1, -1, -1, 0, 0]
    assert table.n_passed_over == 3
    # An outcome of time 2 was passed over: so is its amendment.
    assert _resolve(table, _arms(7), 2) == [-1]


def test_an_outcome_that_an_expired_arm_took_with_it_is_not_taken_back_from_its_successor() -> None:
    policy = published_bandit("linucb", 1, arms_max=1)
    for key, ts_ms in ((7, 10), (8, 20), (7, 30)):
        policy.update(ONE, _arms(key), np.ones(1), np.array([ts_ms]))
    known = policy.expected(ONE, _arms(7))
    policy.amend(ONE, _arms(7), np.ones(1), NAN, np.array([10]))
    np.testing.assert_array_equal(policy.expected(ONE, _arms(7)), known)
    policy.amend(ONE, _arms(7), np.ones(1), NAN, np.array([30]))
    assert policy.expected(ONE, _arms(7))[0] == pytest.approx(0.0, abs=1e-9)


def test_what_gone_arms_said_of_the_shared_model_stays() -> None:
    rng = np.random.default_rng(1)
    bounded, unbounded = (
        published_bandit("linucb", 3, form="disjoint", pooled=True, arms_max=n) for n in (4, 10_000)
    )
    for ts_ms in range(400):
        x = rng.normal(size=(1, 3))
        r = np.array([x[0, 0] - 2.0 * x[0, 1] + 0.1 * rng.normal()])
        for policy in (bounded, unbounded):
            policy.update(x, _arms(ts_ms // 10), r, np.array([ts_ms]))
    asked = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    unknown = _arms(10**6, 10**6)
    for policy in (bounded, unbounded):
        np.testing.assert_allclose(policy.expected(asked, unknown), [1.0, -2.0], atol=0.03)
    np.testing.assert_array_equal(
        bounded.expected(asked, unknown), unbounded.expected(asked, unknown)
    )
    assert isinstance(bounded.learned, LinearMemory)
    assert len(bounded.learned.arms) <= 4


def test_too_many_arms_together_are_refused() -> None:
    ours, theirs = ArmRows(arms_max=2), ArmRows(arms_max=2)
    _resolve(ours, _arms(7, 8), 1, 2)
    _resolve(theirs, _arms(8, 9), 1, 2)
    with pytest.raises(ValueError, match="3 arms together, at most arms_max=2"):
        ours.absorb(theirs)
    assert len(ours) == 2
