"""Three learners add up to one, to the bit: statistics are sums of integers."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from streamer_models.bandits.in_memory import InMemoryBandit, published_bandit
from streamer_models.bandits.linear_memory import LinearMemory
from tests.unit.linear_examples import Columns, first_outcomes, settled, with_amendments

D = 5
SETTINGS: dict[str, dict[str, Any]] = {
    "shared": {"form": "shared"},
    "shared, decaying": {"form": "shared", "half_life_s": 20_000.0},
    "disjoint": {"form": "disjoint"},
    "disjoint, decaying": {"form": "disjoint", "half_life_s": 20_000.0},
    "disjoint, pooled": {"form": "disjoint", "pooled": True},
}
every_model = pytest.mark.parametrize("name", SETTINGS)


def made(**settings: Any) -> InMemoryBandit:
    return published_bandit("linear-thompson", D, **settings)


def memory(policy: InMemoryBandit) -> LinearMemory:
    assert isinstance(policy.learned, LinearMemory)
    return policy.learned


def _estimates(policy: InMemoryBandit) -> bytes:
    asked = first_outcomes(40, D, n_arms=9, seed=9)  # arms 6 to 9 are unknown
    estimate = policy.estimate(asked.contexts, asked.arms)
    draws = estimate.sample(3, scale=0.5, rng=np.random.default_rng(1))
    parts = (estimate.expected, estimate.deviations(), draws)
    return b"".join(part.tobytes() for part in parts)


def _learned(name: str, changes: Columns) -> InMemoryBandit:
    policy = made(**SETTINGS[name])
    policy.amend(*changes)
    return policy


@every_model
def test_three_learners_of_any_split_add_up_to_one(name: str) -> None:
    """With outcomes that change and go, each at the learner that had the example, as users stay."""
    changes = with_amendments(first_outcomes(300, D))
    one = _learned(name, changes)
    one.refresh()
    # By a feature that nobody else has: all changes of an example go to one learner.
    learner = (np.abs(changes.contexts[:, 1]) * 1e6).astype(np.int64) % 3
    for order in permutations(range(3)):
        parts = [_learned(name, changes.at(learner == at)) for at in order]
        parts[0].merge(parts[1])
        parts[0].merge(parts[2])
        assert _estimates(parts[0]) == _estimates(one)


@every_model
def test_an_order_leaves_no_trace_after_a_refresh(name: str) -> None:
    changes = with_amendments(first_outcomes(300, D))
    newest = changes.ts_ms.max()
    kept = settled(changes)
    assert kept.ts_ms.max() == newest  # where evidence fades, now is the newest time ever learned
    policies = [
        _learned(name, columns)
        for columns in (
            changes,
            changes.at(np.random.default_rng(4).permutation(len(changes.after))),
            kept,
        )
    ]
    for policy in policies:
        policy.refresh()
    assert len({_estimates(policy) for policy in policies}) == 1


@every_model
def test_a_merged_learner_learns_on(name: str) -> None:
    changes, more = first_outcomes(200, D), first_outcomes(200, D, seed=5)
    merged, other = (_learned(name, changes.at(slice(i, None, 2))) for i in range(2))
    merged.merge(other)
    merged.amend(*more)
    one = _learned(name, Columns._make(map(np.concatenate, zip(changes, more, strict=True))))
    merged.refresh()
    one.refresh()
    assert _estimates(merged) == _estimates(one)


def test_the_integers_themselves_are_sums_of_rows() -> None:
    changes = with_amendments(first_outcomes(200, D))
    parts = [made(form="shared") for _ in range(3)]
    disjoint = made(form="disjoint")
    for i, part in enumerate(parts):
        part.amend(*changes.at(slice(i, None, 3)))
    disjoint.amend(*changes)
    learned = memory(disjoint)
    live = learned.arms.live()
    assert learned.arms.keys[live].tolist() == [1, 2, 3, 4, 5]
    assert learned.own is not None
    rows = learned.own.values[live]
    total = np.sum([memory(part).shared.values[0] for part in parts], axis=0)
    np.testing.assert_array_equal(total, rows.sum(axis=0))
    np.testing.assert_array_equal(learned.shared.values[0], total)


def test_the_posterior_that_follows_is_the_one_that_is_solved() -> None:
    changes = with_amendments(first_outcomes(200, D))
    policy = made(form="shared")
    policy.amend(*changes)
    learned = memory(policy)
    kept = learned.posterior(learned.prior)
    solved = learned.prior.posterior(learned.shared.statistics(0))
    np.testing.assert_allclose(kept.mean, solved.mean, atol=1e-6)
    np.testing.assert_allclose(kept.factor, solved.factor, atol=1e-6)
    assert kept.noise == pytest.approx(solved.noise, rel=1e-6)
    policy.refresh()
    assert learned.posterior(learned.prior).packed() == solved.packed()
