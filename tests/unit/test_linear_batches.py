"""A batch equals its examples one by one, to the bit, while arms come and go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamer_models.bandits.in_memory import InMemoryBandit
from streamer_models.bandits.policies.base import ContextColumns
from streamer_models.bandits.policies.linucb import LinUCB, LinUCBSettings
from tests.unit.linear_examples import Columns, first_outcomes, joined

D, ARMS_MAX, N_ARMS = 5, 8, 12
HALF_LIFE_S = 20_000.0
Given = dict[str, Any]
SETTINGS: dict[str, tuple[Given, Given]] = {
    "shared, refreshed": ({}, {"refresh_every": 7}),
    "shared, decaying": ({}, {"half_life_s": HALF_LIFE_S}),
    "shared, standardized": ({"standardized": True}, {}),
    "disjoint": (
        {"form": "disjoint", "pooled": False},
        {"arms_max": ARMS_MAX, "sightings_min": 2, "refresh_every": 7},
    ),
    "pooled": ({"form": "disjoint"}, {"arms_max": ARMS_MAX, "sightings_min": 2}),
    "pooled, decaying": (
        {"form": "disjoint"},
        {"arms_max": ARMS_MAX, "half_life_s": HALF_LIFE_S},
    ),
}
"""Of the policy, and of its statistics."""


def made(name: str) -> InMemoryBandit:
    settings, bounds = SETTINGS[name]
    settings = {"prior_strength": 1.0, **settings}
    columns = ContextColumns(np.zeros(D), standardized=settings.pop("standardized", False))
    return InMemoryBandit(LinUCB(LinUCBSettings(**settings), columns), **bounds)


def _changes() -> Columns:
    """Nearly in time order; every fourth outcome is another soon after, every eighth none."""
    first = first_outcomes(400, D, n_arms=N_ARMS)
    first = first._replace(ts_ms=np.sort(first.ts_ms) + np.arange(400) % 7 * 90_000)
    parts = []
    for start in range(0, 400, 40):
        part = first.at(slice(start, start + 40))
        other = part._replace(before=part.after, after=1.0 - part.after).at(slice(0, None, 4))
        gone = other._replace(before=other.after, after=np.full(10, np.nan)).at(slice(0, None, 2))
        parts += [part, other, gone]
    return joined(*parts)


@pytest.mark.parametrize("name", SETTINGS)
def test_batches_may_end_anywhere(name: str) -> None:
    changes, asked = _changes(), first_outcomes(40, D, n_arms=2 * N_ARMS, seed=9)
    n, estimates = len(changes.after), set()
    for size in (1, 17, n):
        policy = made(name)
        for start in range(0, n, size):
            policy.amend(*changes.at(slice(start, start + size)))
        estimate = policy.estimate(asked.contexts, asked.arms)
        widths = estimate.deviations()
        assert np.isfinite(widths).all()
        estimates.add((estimate.expected.tobytes(), widths.tobytes()))
    assert len(estimates) == 1


@pytest.mark.parametrize("name", ["disjoint", "pooled, decaying"])
def test_prediction_is_pure(name: str) -> None:
    policy, asked = made(name), first_outcomes(40, D, n_arms=99, seed=9)
    policy.amend(*_changes())
    asked.contexts.flags.writeable = False
    runs = [
        policy.estimate(asked.contexts.copy(), asked.arms).sample(
            3, scale=1.0, rng=np.random.default_rng(2)
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    before = policy.expected(asked.contexts, asked.arms)
    policy.choose(asked.contexts, asked.arms, 5, seed=1)
    np.testing.assert_array_equal(policy.expected(asked.contexts, asked.arms), before)
