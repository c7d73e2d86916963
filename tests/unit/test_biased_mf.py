"""Biased matrix factorization: one step by hand, a known structure, and real ratings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.state.ingest import Feedback
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from tests.learning import LARGE, learn, new_state

DATA = Path(os.environ.get("STREAMER_DATA", Path(__file__).parents[3] / "shared" / "data"))


def _ratings(
    users: NDArray[np.int64], items: NDArray[np.int64], ratings: NDArray[np.float64]
) -> Feedback:
    n = len(users)
    return Feedback(
        offsets=np.arange(n),
        ts_ms=np.arange(n) * 1_000,
        user_ids=[f"user-{user}" for user in users],
        item_ids=[f"item-{item}" for item in items],
        rewards=np.ones(n, dtype=np.float32),
        values=ratings,
    )


def _predicted(
    state: PartitionState, users: NDArray[np.int64], items: NDArray[np.int64]
) -> NDArray[np.float64]:
    user_slots = [state.users.find(f"user-{user}") for user in users]
    item_slots = [state.items.find(f"item-{item}") for item in items]
    return BiasedMF.predict(
        state.own["user_rating_factors"].values[user_slots],
        state.shared.tables["item_rating_factors"].values[state.item_rows[item_slots]],
        state.shared.tables["rating_totals"].values[0],
    )


def test_one_step_by_hand() -> None:
    model = BiasedMF(
        n_factors=3,
        bias_rate=0.1,
        factor_rate=0.5,
        bias_regularization=0.2,
        factor_regularization=0.3,
    )
    models: list[Model] = [model]
    state = new_state(models, bounds=LARGE)
    zeros = np.zeros(2, dtype=int)
    learn(_ratings(zeros, zeros, np.array([3.0, 5.0])), state, models)
    initial = model.initial("item_rating_factors", state.items.keys[:1])
    assert initial is not None
    q = initial[0, :3] * 2.0**-24
    p, user_bias, item_bias = np.zeros(3), 0.0, 0.0
    # The first rating is the mean itself, so its error is 0: only regularization moves q.
    q = q - 0.5 * 0.3 * q
    error = 5 - 4  # the mean of 3 and 5 is known to the second step; p and biases are zero yet
    p, q = p + 0.5 * (error * q - 0.3 * p), q + 0.5 * (error * p - 0.3 * q)
    user_bias, item_bias = 0.1 * error, 0.1 * error
    user = state.own["user_rating_factors"].values[0]
    item = state.shared.tables["item_rating_factors"].values[state.item_rows[0]] * 2.0**-24
    np.testing.assert_allclose(user, [*p, user_bias], rtol=1e-5)
    np.testing.assert_allclose(item, [*q, item_bias], rtol=1e-5, atol=1e-7)
    totals = state.shared.tables["rating_totals"].values[0]
    assert totals.tolist() == [8 << 24, 2]


def test_biases_and_factors_are_learned() -> None:
    """Ratings made of user and item biases and one taste: the rest of the error vanishes."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 30, 40_000), rng.integers(0, 30, 40_000)
    user_bias, item_bias = rng.normal(size=30) * 0.3, rng.normal(size=30) * 0.3
    taste = np.where(users % 2 == items % 2, 0.8, -0.8)
    ratings = 3 + user_bias[users] + item_bias[items] + taste
    models: list[Model] = [BiasedMF(n_factors=4, bias_regularization=0, factor_regularization=0)]
    state = new_state(models, bounds=LARGE)
    learn(_ratings(users, items, ratings), state, models)
    error = _predicted(state, users[:1_000], items[:1_000]) - ratings[:1_000]
    assert np.sqrt((error**2).mean()) < 0.05


def test_a_stranger_is_predicted_the_mean() -> None:
    models: list[Model] = [BiasedMF(n_factors=2)]
    state = new_state(models, bounds=LARGE)
    learn(_ratings(np.arange(4), np.arange(4), np.array([1.0, 2, 3, 4])), state, models)
    unknown = np.zeros((1, 3))
    predicted = BiasedMF.predict(
        unknown.astype(np.float32),
        unknown.astype(np.int32),
        state.shared.tables["rating_totals"].values[0],
    )
    assert predicted.tolist() == [2.5]


@pytest.mark.parametrize("value", [np.nan, 65_537.0, -1e6, np.inf])
def test_what_is_no_rating_teaches_nothing(value: float) -> None:
    models: list[Model] = [BiasedMF(n_factors=2)]
    state = new_state(models, bounds=LARGE)
    ratings = np.array([value, 65_536.0, value])
    changes = learn(_ratings(np.arange(3), np.arange(3), ratings), state, models)
    for table in ("user_rating_factors", "item_rating_factors"):
        assert len(changes[0].tables[table]) == 1
    assert changes[0].tables["rating_totals"].values[0, 1] == 1


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="n_factors=0"):
        BiasedMF(n_factors=0)


def test_real_ratings_are_predicted_better_than_by_their_mean() -> None:
    """Predict, then learn, one by one: the first 10,000 ratings of MovieLens."""
    path = DATA / "ml-latest-small" / "ratings.csv"
    if not path.exists():
        pytest.skip(f"no data at {path}: see STREAMER_DATA")
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    rows = rows[np.argsort(rows[:, 3], kind="stable")][:10_000]
    ratings = rows[:, 2]
    feedback = _ratings(rows[:, 0].astype(int), rows[:, 1].astype(int), ratings)
    models: list[Model] = [BiasedMF()]
    state = new_state(models, bounds=LARGE)
    predicted = np.zeros(len(rows))
    for i in range(len(rows)):
        user, item = state.users.find(feedback.user_ids[i]), state.items.find(feedback.item_ids[i])
        users = np.zeros((1, 11), dtype=np.float32)
        items = np.zeros((1, 11), dtype=np.int32)
        if user >= 0:
            users[0] = state.own["user_rating_factors"].values[user]
        if item >= 0:
            items[0] = state.shared.tables["item_rating_factors"].values[state.item_rows[item]]
        totals = state.shared.tables["rating_totals"]
        totals.reserve(1)
        predicted[i] = BiasedMF.predict(users, items, totals.values[0])[0]
        learn(feedback, state, models, start=i, end=i + 1)
    errors = np.clip(predicted, 0.5, 5) - ratings
    plain = np.cumsum(ratings)[:-1] / np.arange(1, len(rows)) - ratings[1:]
    assert np.sqrt((errors**2).mean()) < 0.92 * np.sqrt((plain**2).mean())
