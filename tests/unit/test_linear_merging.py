"""Three learners add up to one, to the bit: statistics are sums of integers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from streamer_models.bandits.disjoint_linear import DisjointLinear
from streamer_models.bandits.hybrid_linear import HybridLinear
from streamer_models.bandits.linear_model import LinearModel
from streamer_models.bandits.linucb import LinUCB
from streamer_models.bandits.shared_linear import SharedLinear
from tests.unit.linear_examples import Columns, first_outcomes, settled, with_amendments

D = 5
Factory = Callable[[], LinearModel]
FACTORIES: dict[str, Factory] = {
    "shared": lambda: SharedLinear(D),
    "shared, fading": lambda: SharedLinear(D, half_life_s=20_000.0),
    "disjoint": lambda: DisjointLinear(D),
    "disjoint, fading": lambda: DisjointLinear(D, half_life_s=20_000.0),
    "disjoint, shrunk": lambda: DisjointLinear(D, shrink_to_shared=True),
    "hybrid": lambda: HybridLinear(D, n_shared_features=2),
}
every_model = pytest.mark.parametrize("name", FACTORIES)


def _beliefs(policy: LinUCB) -> bytes:
    asked = first_outcomes(40, D, n_arms=9, seed=9)  # arms 6 to 9 are unknown
    rng = np.random.default_rng(1)
    means = policy.expected(asked.contexts, asked.arms)
    bounds = policy.scores(asked.contexts, asked.arms, n_draws=1, rng=rng)
    samples = policy.model.sample(asked.contexts, asked.arms, 3, 0.5, rng)
    return means.tobytes() + bounds.tobytes() + samples.tobytes()


def _learned(name: str, changes: Columns) -> LinUCB:
    policy = LinUCB(FACTORIES[name]())
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
        assert _beliefs(parts[0]) == _beliefs(one)


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
    assert len({_beliefs(policy) for policy in policies}) == 1


@every_model
def test_a_merged_learner_learns_on(name: str) -> None:
    changes, more = first_outcomes(200, D), first_outcomes(200, D, seed=5)
    merged, other = (_learned(name, changes.at(slice(i, None, 2))) for i in range(2))
    merged.merge(other)
    merged.amend(*more)
    one = _learned(name, Columns._make(map(np.concatenate, zip(changes, more, strict=True))))
    merged.refresh()
    one.refresh()
    assert _beliefs(merged) == _beliefs(one)


def test_the_integers_themselves_are_sums_of_rows() -> None:
    changes = with_amendments(first_outcomes(200, D))
    parts = [SharedLinear(D) for _ in range(3)]
    disjoint = DisjointLinear(D)
    for i, model in enumerate(parts):
        LinUCB(model).amend(*changes.at(slice(i, None, 3)))
    LinUCB(disjoint).amend(*changes)
    arms, rows = disjoint.statistics_rows()
    assert arms.tolist() == [1, 2, 3, 4, 5]
    total = np.sum([model.statistics_row() for model in parts], axis=0)
    np.testing.assert_array_equal(total, rows.sum(axis=0))
    assert disjoint.statistics(3).n == rows[2, 0] / 2**24


def test_the_posterior_of_a_model_is_what_it_scores_by() -> None:
    changes, asked = first_outcomes(200, D), first_outcomes(40, D, seed=9)
    model = SharedLinear(D)
    LinUCB(model).amend(*changes)
    belief = model.posterior()
    means, squares = model.means_and_squares(asked.contexts, asked.arms)
    np.testing.assert_allclose(belief.expected(asked.contexts), means, atol=1e-6)
    np.testing.assert_allclose(belief.deviations(asked.contexts) ** 2, squares, atol=1e-6)
