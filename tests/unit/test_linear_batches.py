"""A batch equals its examples one by one, to the bit, while arms come and go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from streamer_models.bandits.disjoint_linear import DisjointLinear
from streamer_models.bandits.hybrid_linear import HybridLinear
from streamer_models.bandits.linear_model import LinearModel
from streamer_models.bandits.linucb import LinUCB
from streamer_models.bandits.logistic import LogisticRegression
from streamer_models.bandits.shared_linear import SharedLinear
from tests.unit.linear_examples import Columns, first_outcomes, joined

D, ARMS_MAX, N_ARMS = 5, 8, 12
HALF_LIFE_S = 20_000.0
FACTORIES: dict[str, Callable[[], LinearModel]] = {
    "shared, refreshed": lambda: SharedLinear(D, refresh_every=7),
    "shared, fading": lambda: SharedLinear(D, half_life_s=HALF_LIFE_S, refresh_every=7),
    "disjoint": lambda: DisjointLinear(D, arms_max=ARMS_MAX, sightings_min=2, refresh_every=7),
    "hybrid": lambda: HybridLinear(
        D, n_shared_features=2, arms_max=ARMS_MAX, sightings_min=2, refresh_every=1
    ),
    "logistic": lambda: LogisticRegression(D),
    "logistic, fading": lambda: LogisticRegression(D, half_life_s=HALF_LIFE_S),
    "logistic, disjoint": lambda: LogisticRegression(
        D, per_arm=True, arms_max=ARMS_MAX, sightings_min=2
    ),
    "logistic, disjoint, fading": lambda: LogisticRegression(
        D, per_arm=True, arms_max=ARMS_MAX, half_life_s=HALF_LIFE_S
    ),
}


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


@pytest.mark.parametrize("name", FACTORIES)
def test_batches_may_end_anywhere(name: str) -> None:
    changes, asked = _changes(), first_outcomes(40, D, n_arms=2 * N_ARMS, seed=9)
    n, beliefs = len(changes.after), set()
    for size in (1, 17, n):
        policy = LinUCB(FACTORIES[name]())
        for start in range(0, n, size):
            policy.amend(*changes.at(slice(start, start + size)))
        rng = np.random.default_rng(1)
        scores = policy.scores(asked.contexts, asked.arms, n_draws=1, rng=rng)
        assert np.isfinite(scores).all()
        beliefs.add((policy.expected(asked.contexts, asked.arms).tobytes(), scores.tobytes()))
    assert len(beliefs) == 1


@pytest.mark.parametrize("name", ["hybrid", "logistic, disjoint"])
def test_prediction_is_pure(name: str) -> None:
    policy, asked = LinUCB(FACTORIES[name]()), first_outcomes(40, D, n_arms=99, seed=9)
    policy.amend(*_changes())
    asked.contexts.flags.writeable = False
    runs = [
        policy.model.sample(asked.contexts.copy(), asked.arms, 3, 1.0, np.random.default_rng(2))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    before = policy.expected(asked.contexts, asked.arms)
    policy.choose(asked.contexts, asked.arms, 5, seed=1)
    np.testing.assert_array_equal(policy.expected(asked.contexts, asked.arms), before)
