"""LinUCB against the formulas of its papers, written down with inverses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamer_models.bandits.in_memory import InMemoryBandit, published_bandit
from streamer_models.bandits.linear_memory import LinearMemory
from streamer_models.bandits.linear_rows import LinearRows
from tests.unit.linear_examples import (
    DAY_MS,
    NOW_MS,
    Columns,
    Floats,
    first_outcomes,
    ridge,
    settled,
    with_amendments,
)

D = 6
ALPHA = 0.7


def linucb(form: str, n_features: int = D, **settings: Any) -> InMemoryBandit:
    strength = settings.get("prior_strength", 1.0)
    given = {"alpha": ALPHA, "blend_strength": strength, **settings}
    return published_bandit("linucb", n_features, form=form, **given)


def memory(policy: InMemoryBandit) -> LinearMemory:
    assert isinstance(policy.learned, LinearMemory)
    return policy.learned


def _scores(policy: InMemoryBandit, examples: Columns) -> Floats:
    estimate = policy.estimate(examples.contexts, examples.arms)
    scores: Floats = estimate.expected + ALPHA * estimate.deviations()
    return scores


def _bounds(x: Floats, mean: Floats, a: Floats) -> Floats:
    squares = np.einsum("ni,ij,nj->n", x, np.linalg.inv(a), x)
    bounds: Floats = x @ mean + ALPHA * np.sqrt(squares)
    return bounds


@pytest.mark.parametrize("prior_strength", [1.0, 25.0])
def test_shared_bounds_are_those_of_ridge_regression(prior_strength: float) -> None:
    policy = linucb("shared", prior_strength=prior_strength)
    changes, asked = with_amendments(first_outcomes(300, D)), first_outcomes(70, D, seed=9)
    policy.amend(*changes)
    a, mean = ridge(settled(changes), prior_strength=prior_strength)
    expected = _bounds(asked.contexts, mean, a)
    np.testing.assert_allclose(_scores(policy, asked), expected, atol=1e-6)


def test_disjoint_bounds_are_those_of_each_arm_s_own_examples() -> None:
    policy = linucb("disjoint")
    changes, asked = with_amendments(first_outcomes(300, D)), first_outcomes(70, D, seed=9)
    policy.amend(*changes)
    scores, kept = _scores(policy, asked), settled(changes)
    for arm in np.unique(asked.arms):
        a, mean = ridge(kept.at(kept.arms == arm))
        own = asked.arms == arm
        expected = _bounds(asked.contexts[own], mean, a)
        np.testing.assert_allclose(scores[own], expected, atol=1e-6)


def test_an_unknown_arm_has_the_prior_and_scoring_it_adds_nothing() -> None:
    policy = linucb("disjoint", prior_strength=4.0)
    asked = first_outcomes(10, D)
    expected = ALPHA * np.linalg.norm(asked.contexts, axis=1) / 2.0
    for _ in range(2):
        np.testing.assert_allclose(_scores(policy, asked), expected)
    assert len(memory(policy).arms) == 0


def test_pooled_arms_start_from_the_mean_of_the_shared_model() -> None:
    policy = linucb("disjoint", pooled=True, prior_strength=3.0)
    examples, asked = first_outcomes(400, D), first_outcomes(50, D, n_arms=9, seed=9)
    policy.update(examples.contexts, examples.arms, examples.after, examples.ts_ms)
    _, shared = ridge(examples, prior_strength=3.0)
    scores = policy.expected(asked.contexts, asked.arms)
    for arm in np.unique(asked.arms):  # 6 to 9 were never seen
        own = examples.at(examples.arms == arm)
        residual = own._replace(after=own.after - own.contexts @ shared)
        _, mean = ridge(residual, prior_strength=3.0)
        at = asked.arms == arm
        np.testing.assert_allclose(scores[at], asked.contexts[at] @ (shared + mean), atol=1e-6)


def test_outcomes_that_change_and_go_are_followed_in_any_order() -> None:
    changes, asked = with_amendments(first_outcomes(300, D)), first_outcomes(70, D, seed=9)
    for form in ("shared", "disjoint"):
        stepped, direct = linucb(form), linucb(form)
        stepped.amend(*changes)
        shuffled = np.random.default_rng(3).permutation(len(settled(changes).after))
        direct.amend(*settled(changes).at(shuffled))
        np.testing.assert_allclose(_scores(stepped, asked), _scores(direct, asked), atol=1e-6)
        stepped.refresh()
        direct.refresh()
        np.testing.assert_array_equal(_scores(stepped, asked), _scores(direct, asked))


@pytest.mark.parametrize("order", ["in time", "late"])
def test_decaying_bounds_are_those_of_weighed_ridge_regression(order: str) -> None:
    half_life_s = 20_000.0
    examples, asked = first_outcomes(600, D), first_outcomes(70, D, seed=9)
    at = np.argsort(examples.ts_ms if order == "in time" else -examples.ts_ms)
    policy = linucb("shared", half_life_s=half_life_s)
    policy.amend(*examples.at(at))
    weights = 2.0 ** ((examples.ts_ms - examples.ts_ms.max()) / (half_life_s * 1_000))
    a, mean = ridge(examples, weights=weights)
    expected = _bounds(asked.contexts, mean, a)
    np.testing.assert_allclose(_scores(policy, asked), expected, atol=1e-5)
    statistics = memory(policy).shared.statistics(0)
    np.testing.assert_allclose(statistics.n, weights.sum(), atol=1e-4)


def test_decaying_evidence_of_an_idle_arm_leaves_it_uncertain_again() -> None:
    policy = linucb("disjoint", 1, half_life_s=3_600.0)
    one, two = (np.array([arm], dtype=np.uint64) for arm in (1, 2))
    x, r = np.ones((1, 1)), np.ones(1)
    for _ in range(50):
        policy.update(x, one, r, np.array([NOW_MS]))
    sure = policy.estimate(x, one).deviations()[0]
    policy.update(x, two, r, np.array([NOW_MS + DAY_MS]))
    mean = policy.expected(x, one)[0]
    assert mean < 0.01
    assert policy.estimate(x, one).deviations()[0] > 0.99 > 5 * sure


def test_a_uniform_share_gives_every_action_a_chance() -> None:
    policy = linucb("shared", uniform_share=0.2)
    asked = first_outcomes(5, D)
    draws = [policy.choose(asked.contexts, asked.arms, 1, seed) for seed in range(300)]
    best = int(np.argmax(_scores(policy, asked)))
    assert {int(draw.order[0]) for draw in draws} == set(range(5))
    for draw in draws:
        assert draw.propensities[0] == pytest.approx(0.84 if draw.order[0] == best else 0.04)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contexts": np.full((1, D), 1_025.0)}, "within ±1024"),
        ({"contexts": np.full((1, D), np.nan)}, "features up to nan"),
        ({"contexts": np.ones((1, D + 1))}, "a row an action"),
        ({"after": np.ones(2)}, "has one of each"),
        ({"weights": np.ones(2)}, r"weights of shape \(2,\) for 1 examples"),
        ({"weights": np.zeros(1)}, "a weight of 0 must be above 0 and at most 1000"),
        ({"weights": np.full(1, np.nan)}, "a weight of nan"),
        ({"weights": np.full(1, 1_001.0)}, "a weight of 1001"),
    ],
)
def test_examples_that_can_t_be_learned_are_refused(
    change: dict[str, Floats], message: str
) -> None:
    policy, given = linucb("shared"), dict(change)
    weights = given.pop("weights", None)
    with pytest.raises(ValueError, match=message):
        policy.amend(*first_outcomes(1, D)._replace(**given), weights=weights)  # type: ignore[arg-type]
    assert not memory(policy).shared.values.any()


def test_settings_out_of_range_are_refused() -> None:
    for make in (
        lambda: linucb("shared", 0),
        lambda: linucb("shared", prior_strength=0.0),
        lambda: LinearRows(D, refresh_every=0),
        lambda: linucb("shared", half_life_s=0.0001),
        lambda: linucb("disjoint", arms_max=0),
        lambda: linucb("wide"),
        lambda: linucb("shared", alpha=-1.0),
        lambda: linucb("shared", uniform_share=1.5),
    ):
        with pytest.raises(ValueError, match="must be"):
            make()
    with pytest.raises(ValueError, match="'magic' is unknown; there are linear-thompson"):
        published_bandit("magic")
    with pytest.raises(ValueError, match="linucb has no setting temperature"):
        linucb("shared", temperature=1.0)


def test_bandits_of_other_settings_do_not_add_up() -> None:
    with pytest.raises(ValueError, match=r"prior_strength=1.0.*prior_strength=2.0"):
        linucb("shared").merge(linucb("shared", prior_strength=2.0))
    with pytest.raises(ValueError, match=r"pooled=False.*pooled=True"):
        linucb("disjoint").merge(linucb("disjoint", pooled=True))
    with pytest.raises(ValueError, match="half_life_ms of 0 and 5000"):
        linucb("shared").merge(linucb("shared", half_life_s=5.0))
    with pytest.raises(ValueError, match="n_features of 6 and 3"):
        linucb("shared").merge(linucb("shared", 3))
