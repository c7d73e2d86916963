"""Our factorizations and policies as models of river."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from river import bandit, base, checks, compose, evaluate, metrics
from river import preprocessing as pre

from streamer.testing.contents import snapshot
from streamer_models.bandits.in_memory import published_bandit
from streamer_models.bandits.linear_statistics import FEATURE_MAX
from streamer_models.bandits.protocols import LearningBandit
from streamer_models.river_adapter.policies import FeatureColumns, PolicyBandit, PolicyRegressor
from streamer_models.river_adapter.recommenders import (
    ImplicitRecommender,
    RatingRecommender,
    RiverRecommender,
)
from tests.learning import LARGE, learn, new_state, stream


def check(model: base.Estimator) -> None:
    """river's own checks, some of which draw from the global generator."""
    random.seed(0)
    checks.check_estimator(model)


def progressive(dataset: Any, model: Any, metric: Any) -> float:
    """What river's progressive validation scores: each example predicted, then learned."""
    return float(evaluate.progressive_val_score(dataset, model, metric()).get())


# --- our factorizations as recommenders of river --------------------------------------------------

RECOMMENDERS = [ImplicitRecommender, RatingRecommender]


@pytest.mark.parametrize("recommender", RECOMMENDERS)
def test_recommenders_pass_the_checks_of_river(recommender: Callable[[], RiverRecommender]) -> None:
    check(recommender())


@pytest.mark.parametrize("recommender", RECOMMENDERS)
def test_one_by_one_is_to_the_bit_what_the_learner_learns(
    recommender: Callable[..., RiverRecommender],
) -> None:
    river = recommender(n_factors=4, seed=5)
    feedback = stream(400, seed=1)
    for at in range(400):
        reward = float(feedback.values[at] if recommender is RatingRecommender else 1.0)
        if not np.isnan(reward):
            river.learn_one(feedback.user_ids[at], feedback.item_ids[at], reward)
    keep = ~np.isnan(feedback.values) | (recommender is ImplicitRecommender)
    n = int(keep.sum())
    part = type(feedback)(
        offsets=np.arange(n),
        ts_ms=np.arange(n),
        user_ids=[repr(user) for user, kept in zip(feedback.user_ids, keep, strict=True) if kept],
        item_ids=[repr(item) for item, kept in zip(feedback.item_ids, keep, strict=True) if kept],
        rewards=np.where(recommender is RatingRecommender, feedback.values, 1.0)[keep].astype("f4"),
        values=np.where(recommender is RatingRecommender, feedback.values, 1.0)[keep],
    )
    state = new_state([river._model], bounds=LARGE)
    learn(part, state, [river._model])
    assert snapshot(state) == snapshot(river._state)


@pytest.mark.parametrize("recommender", RECOMMENDERS)
def test_predicting_changes_nothing_and_adds_nobody(
    recommender: Callable[..., RiverRecommender],
) -> None:
    model = recommender(n_factors=4)
    assert model.predict_one("nobody", "nothing") == 0.0
    for at in range(50):
        model.learn_one(at % 7, at % 11, 1 + at % 5)
    before = pickle.dumps(model)
    known = model.predict_one(3, 4)
    assert model.predict_one(3, 4) == known
    assert np.isfinite(model.predict_one("nobody", 4))
    assert np.isfinite(model.predict_one(3, "nothing"))
    assert sorted(model.rank(3, {0, 1, "nothing"}), key=repr) == ["nothing", 0, 1]
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("recommender", RECOMMENDERS)
def test_tables_are_bounded_and_ids_of_other_types_are_other_ids(
    recommender: Callable[..., RiverRecommender],
) -> None:
    model = recommender(n_factors=2, users_max=20, items_max=10)
    for at in range(3_000):
        model.learn_one(at % 97, at % 41, 1.0)
    assert len(model._state.users) <= 20
    assert len(model._state.items) <= 10
    assert model._state.n_dirty < 3_000
    model.learn_one("1", "1", 5.0)
    assert model.predict_one("1", "1") != model.predict_one(1, 1)


@pytest.mark.parametrize("y", [float("nan"), float("inf"), 1e300])
def test_a_reward_that_is_none_is_refused(y: float) -> None:
    model = ImplicitRecommender(n_factors=2)
    with pytest.raises(ValueError, match="must be within"):
        model.learn_one("ann", "jazz", y)
    assert len(model._state.users) == 0


def ratings(n: int) -> Any:
    """Users like one of two genres, each in river's form for recommenders."""
    rng = np.random.default_rng(3)
    users, items = rng.integers(0, 40, n), rng.integers(0, 30, n)
    likes = (users % 2) == (items % 2)
    values = np.where(likes, 4.5, 1.5) + rng.normal(0, 0.3, n)
    return [
        ({}, float(value), {"user": f"user-{user}", "item": f"item-{item}"})
        for user, item, value in zip(users, items, values, strict=True)
    ]


def test_ratings_are_predicted_in_rivers_progressive_validation_and_in_a_pipeline() -> None:
    dataset = ratings(6_000)
    model: Any = RatingRecommender(n_factors=8, seed=1)
    clipped = pre.PredClipper(model, y_min=1, y_max=5)
    alone = progressive(dataset, clipped, metrics.MAE)
    pipeline = compose.Pipeline(pre.StandardScaler(), clipped.clone())
    assert progressive(dataset, pipeline, metrics.MAE) == alone
    # The mean is wrong by 1.5, and the noise alone makes 0.24.
    assert alone < 0.75


# --- our policies as a regressor and as a bandit of river -----------------------------------------


linucb = partial(published_bandit, "linucb", 12, form="shared")
thompson = partial(published_bandit, "linear-thompson", 4)
ucb1 = partial(published_bandit, "ucb1", alpha=0.2)


@pytest.mark.parametrize(("new_policy", "n_features"), [(ucb1, 1), (linucb, 12), (thompson, 4)])
def test_policy_regressors_pass_the_checks_of_river(
    new_policy: Callable[[], LearningBandit], n_features: int
) -> None:
    check(PolicyRegressor(new_policy, n_features))


def test_a_policy_regressor_can_be_made_by_rivers_checks_alone() -> None:
    for params in PolicyRegressor._unit_test_params():
        check(PolicyRegressor(**params))


def test_a_linear_policy_ends_a_pipeline() -> None:
    rng = np.random.default_rng(4)
    dataset = [
        ({"price": float(price), "age": float(age)}, float(0.02 * price - 0.5 * age))
        for price, age in zip(rng.normal(500, 50, 2_000), rng.normal(3, 1, 2_000), strict=True)
    ]
    model = pre.StandardScaler() | PolicyRegressor(linucb, n_features=12)
    # The target's standard deviation is sqrt(1 + .25) = 1.12.
    assert progressive(dataset, model, metrics.MAE) < 0.1
    assert model.predict_one({"price": 500.0, "age": 3.0}) == pytest.approx(8.5, abs=0.1)


def test_a_policy_regressor_learns_arms_in_rivers_progressive_validation() -> None:
    rng = np.random.default_rng(0)
    rates = {"jazz": 0.7, "rock": 0.2}
    dataset = [
        ({"item": item, "hour": 3.0}, float(rng.random() < rates[item]))
        for item in rng.choice(list(rates), 2_000).tolist()
    ]
    model = PolicyRegressor(ucb1, arm="item")
    score = progressive(dataset, model, metrics.MSE)
    # The variance within arms, .7 * .3 and .2 * .8, is .185 on average; without arms it is .247.
    assert score < 0.2
    assert model.predict_one({"item": "jazz"}) == pytest.approx(0.7, abs=0.05)


def test_columns_are_given_once_and_never_by_a_prediction() -> None:
    columns = FeatureColumns(3)
    assert columns.row({"a": 1.0}).tolist() == [1.0, 0.0, 0.0]
    columns.add({"a": 1.0, "text": "x", "b": True, "c": 2.0})
    assert columns.n_left_out == 1
    assert columns.row({"c": 1.0, "b": True, "a": -1e9}).tolist() == [1.0, -FEATURE_MAX, 1.0]
    assert columns.row({"a": float("nan"), "b": "x"}).tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="n_features=0"):
        FeatureColumns(0)


@pytest.mark.parametrize("new_policy", [ucb1, thompson])
def test_a_policy_bandit_wins_in_rivers_offline_evaluation(
    new_policy: Callable[[], LearningBandit],
) -> None:
    rng = np.random.default_rng(1)
    genres = ["jazz", "rock", "folk", "soul"]
    history: list[Any] = [
        (genres, {"hour": 1.0}, chosen, float(rng.random() < 0.1 + 0.2 * genres.index(chosen)))
        for chosen in rng.choice(genres, 4_000).tolist()
    ]

    def mean_reward(policy: bandit.base.Policy) -> float:
        reward: Any
        reward, n = bandit.evaluate_offline(policy, iter(history))
        return float(reward.get()) / n

    policy = PolicyBandit(new_policy, n_features=4, seed=3)
    earned = mean_reward(policy)
    # At random 0.4; the best arm has 0.7.
    assert earned > 0.6
    assert policy.ranking[0] == "soul"
    assert mean_reward(policy.clone()) == earned
