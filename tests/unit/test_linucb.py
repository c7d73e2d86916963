"""LinUCB against the formulas of its papers, written down with inverses."""

from __future__ import annotations

import numpy as np
import pytest

from streamer_models.bandits.disjoint_linear import DisjointLinear
from streamer_models.bandits.hybrid_linear import HybridLinear
from streamer_models.bandits.linucb import LinUCB
from streamer_models.bandits.shared_linear import SharedLinear
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

D, K = 6, 2
ALPHA = 0.7
RNG = np.random.default_rng(0)  # bounds need none


def _scores(policy: LinUCB, examples: Columns) -> Floats:
    scores: Floats = policy.scores(examples.contexts, examples.arms, n_draws=1, rng=RNG)[0]
    return scores


def _bounds(x: Floats, mean: Floats, a: Floats, middle: Floats | None = None) -> Floats:
    """With covariance ``A⁻¹`` or, where a middle is given, ``A⁻¹ middle A⁻¹``."""
    inverse = np.linalg.inv(a)
    covariance = inverse if middle is None else inverse @ middle @ inverse
    squares = np.einsum("ni,ij,nj->n", x, covariance, x)
    bounds: Floats = x @ mean + ALPHA * np.sqrt(squares)
    return bounds


@pytest.mark.parametrize("prior_strength", [1.0, 25.0])
def test_shared_bounds_are_those_of_ridge_regression(prior_strength: float) -> None:
    policy = LinUCB(SharedLinear(D, prior_strength=prior_strength), alpha=ALPHA)
    changes, asked = with_amendments(first_outcomes(300, D)), first_outcomes(70, D, seed=9)
    policy.amend(*changes)
    a, mean = ridge(settled(changes), prior_strength=prior_strength)
    expected = _bounds(asked.contexts, mean, a)
    np.testing.assert_allclose(_scores(policy, asked), expected, atol=1e-6)


def test_disjoint_bounds_are_those_of_each_arm_s_own_examples() -> None:
    policy = LinUCB(DisjointLinear(D), alpha=ALPHA)
    changes, asked = with_amendments(first_outcomes(300, D)), first_outcomes(70, D, seed=9)
    policy.amend(*changes)
    scores, kept = _scores(policy, asked), settled(changes)
    for arm in np.unique(asked.arms):
        a, mean = ridge(kept.at(kept.arms == arm))
        own = asked.arms == arm
        expected = _bounds(asked.contexts[own], mean, a)
        np.testing.assert_allclose(scores[own], expected, atol=1e-6)


def test_an_unknown_arm_has_the_prior_and_scoring_it_adds_nothing() -> None:
    policy = LinUCB(DisjointLinear(D, prior_strength=4.0), alpha=ALPHA)
    asked = first_outcomes(10, D)
    expected = ALPHA * np.linalg.norm(asked.contexts, axis=1) / 2.0
    for _ in range(2):
        np.testing.assert_allclose(_scores(policy, asked), expected)
    model = policy.model
    assert isinstance(model, DisjointLinear)
    assert len(model.arms) == 0


def test_arms_shrunk_to_the_shared_model_start_from_its_mean() -> None:
    policy = LinUCB(DisjointLinear(D, shrink_to_shared=True, prior_strength=3.0), alpha=0.0)
    examples, asked = first_outcomes(400, D), first_outcomes(50, D, n_arms=9, seed=9)
    policy.update(examples.contexts, examples.arms, examples.after, examples.ts_ms)
    _, shared = ridge(examples, prior_strength=3.0)
    scores = _scores(policy, asked)
    for arm in np.unique(asked.arms):  # 6 to 9 were never seen
        own = examples.at(examples.arms == arm)
        residual = own._replace(after=own.after - own.contexts @ shared)
        _, mean = ridge(residual, prior_strength=3.0)
        at = asked.arms == arm
        np.testing.assert_allclose(scores[at], asked.contexts[at] @ (shared + mean), atol=1e-6)


def test_hybrid_bounds_are_those_of_algorithm_2() -> None:
    """Li et al. (2010), Algorithm 2, as printed: inverses and products at every step."""
    policy = LinUCB(HybridLinear(D, n_shared_features=K), alpha=ALPHA)
    examples = first_outcomes(300, D, n_arms=4)
    a0, b0 = np.eye(K), np.zeros(K)
    a = {arm: np.eye(D - K) for arm in range(1, 6)}
    b_cross = {arm: np.zeros((D - K, K)) for arm in a}
    b = {arm: np.zeros(D - K) for arm in a}
    inv = np.linalg.inv
    for i in range(len(examples.after)):
        one = examples.at(slice(i, i + 1))
        for arm in a:  # arm 5 is never seen
            zx, a_inv, a0_inv = one.contexts[0], inv(a[arm]), inv(a0)
            z, x = zx[:K], zx[K:]
            beta = a0_inv @ b0
            theta = a_inv @ (b[arm] - b_cross[arm] @ beta)
            cross = a0_inv @ b_cross[arm].T @ a_inv @ x
            s = z @ a0_inv @ z - 2 * z @ cross + x @ a_inv @ x
            s += x @ a_inv @ b_cross[arm] @ cross
            score = _scores(policy, one._replace(arms=np.array([arm], dtype=np.uint64)))[0]
            assert score == pytest.approx(z @ beta + x @ theta + ALPHA * s**0.5, abs=1e-6)
        arm, r = int(one.arms[0]), one.after[0]
        z, x = one.contexts[0, :K], one.contexts[0, K:]
        a0 += b_cross[arm].T @ inv(a[arm]) @ b_cross[arm]
        b0 += b_cross[arm].T @ inv(a[arm]) @ b[arm]
        a[arm] += np.outer(x, x)
        b_cross[arm] += np.outer(x, z)
        b[arm] += r * x
        a0 += np.outer(z, z) - b_cross[arm].T @ inv(a[arm]) @ b_cross[arm]
        b0 += r * z - b_cross[arm].T @ inv(a[arm]) @ b[arm]
        policy.update(one.contexts, one.arms, one.after, one.ts_ms)


def test_hybrid_outcomes_that_change_and_go_are_followed_in_any_order() -> None:
    changes, asked = with_amendments(first_outcomes(300, D)), first_outcomes(70, D, seed=9)
    stepped = LinUCB(HybridLinear(D, n_shared_features=K), alpha=ALPHA)
    stepped.amend(*changes)
    direct = LinUCB(HybridLinear(D, n_shared_features=K), alpha=ALPHA)
    shuffled = np.random.default_rng(3).permutation(len(settled(changes).after))
    direct.amend(*settled(changes).at(shuffled))
    np.testing.assert_allclose(_scores(stepped, asked), _scores(direct, asked), atol=1e-6)
    stepped.refresh()
    direct.refresh()
    np.testing.assert_array_equal(_scores(stepped, asked), _scores(direct, asked))


@pytest.mark.parametrize("order", ["in time", "late"])
def test_fading_bounds_are_those_of_discounted_linucb(order: str) -> None:
    half_life_s = 20_000.0
    examples, asked = first_outcomes(600, D), first_outcomes(70, D, seed=9)
    at = np.argsort(examples.ts_ms if order == "in time" else -examples.ts_ms)
    policy = LinUCB(SharedLinear(D, half_life_s=half_life_s), alpha=ALPHA)
    policy.amend(*examples.at(at))
    model = policy.model
    assert isinstance(model, SharedLinear)
    step_ms = int(half_life_s * 1_000) // 32
    now_ms = examples.ts_ms.max() // step_ms * step_ms
    weights = 2.0 ** ((examples.ts_ms - now_ms) / (half_life_s * 1_000))
    v, mean = ridge(examples, weights=weights)
    v_squares, _ = ridge(examples, weights=weights**2)
    expected = _bounds(asked.contexts, mean, v, v_squares)
    np.testing.assert_allclose(_scores(policy, asked), expected, atol=1e-5)
    np.testing.assert_allclose(model.statistics().n, weights.sum(), atol=1e-4)


def test_fading_evidence_of_an_idle_arm_leaves_it_uncertain_again() -> None:
    policy = LinUCB(DisjointLinear(1, half_life_s=3_600.0), alpha=1.0)
    one, two = (np.array([arm], dtype=np.uint64) for arm in (1, 2))
    x, r = np.ones((1, 1)), np.ones(1)
    for _ in range(50):
        policy.update(x, one, r, np.array([NOW_MS]))
    sure = policy.scores(x, one, n_draws=1, rng=RNG)[0, 0] - policy.expected(x, one)[0]
    policy.update(x, two, r, np.array([NOW_MS + DAY_MS]))
    mean = policy.expected(x, one)[0]
    assert mean < 0.01
    assert policy.scores(x, one, n_draws=1, rng=RNG)[0, 0] - mean > 0.99 > 5 * sure


def test_a_uniform_share_gives_every_action_a_chance() -> None:
    policy = LinUCB(SharedLinear(D), uniform_share=0.2)
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
    ],
)
def test_examples_that_can_t_be_learned_are_refused(
    change: dict[str, Floats], message: str
) -> None:
    policy = LinUCB(SharedLinear(D))
    with pytest.raises(ValueError, match=message):
        policy.amend(*first_outcomes(1, D)._replace(**change))  # type: ignore[arg-type]
    model = policy.model
    assert isinstance(model, SharedLinear)
    assert not model.statistics_row().any()


def test_settings_out_of_range_are_refused() -> None:
    for make in (
        lambda: SharedLinear(0),
        lambda: SharedLinear(D, prior_strength=0.0),
        lambda: SharedLinear(D, refresh_every=0),
        lambda: SharedLinear(D, half_life_s=0.001),
        lambda: DisjointLinear(D, arms_max=0),
        lambda: HybridLinear(D, n_shared_features=D),
        lambda: LinUCB(SharedLinear(D), alpha=-1.0),
        lambda: LinUCB(SharedLinear(D), uniform_share=1.5),
    ):
        with pytest.raises(ValueError, match="must be"):
            make()


def test_models_of_other_settings_do_not_add_up() -> None:
    with pytest.raises(ValueError, match=r"prior_strength of 1.0 and 2.0"):
        SharedLinear(D).merge(SharedLinear(D, prior_strength=2.0))
    with pytest.raises(ValueError, match="shrink_to_shared"):
        DisjointLinear(D).merge(DisjointLinear(D, shrink_to_shared=True))
    with pytest.raises(ValueError, match="n_shared_features"):
        HybridLinear(D, n_shared_features=2).merge(HybridLinear(D, n_shared_features=3))
