"""Textbook models against their formulas, written down once more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from river import optim, reco

from streamer.config.specs import duration_ms, parse_specs
from streamer.errors import ConfigError
from streamer.events import Event
from streamer.replay.baselines.factors import BiasedFactors, ImplicitFactors
from streamer.replay.baselines.isgd import ISGD
from streamer.replay.baselines.item_cosine import ItemCosine
from streamer.replay.baselines.popularity import PopularityBaseline
from streamer.replay.histories import Histories
from streamer.replay.interactions import UNKNOWN, Interaction, OnlineModel, RatingModel, TopKModel
from streamer.replay.models import MODELS, build_model
from streamer.replay.positives import parse_positives
from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.factorization.mf import ImplicitMF, item_scores
from tests.default_types import TYPES
from tests.unit.replay_logs import event

Pair = tuple[int, int]


def pairs(n: int, *, seed: int, n_users: int = 12, n_items: int = 20) -> list[Pair]:
    """Different (user, item) in random order, rows as they come."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(n_users * n_items)[:n]
    users: dict[int, int] = {}
    items: dict[int, int] = {}
    return [
        (
            users.setdefault(int(each) // n_items, len(users)),
            items.setdefault(int(each) % n_items, len(items)),
        )
        for each in chosen
    ]


def taught(model: OnlineModel, learned: list[Pair], values: list[float] | None = None) -> None:
    for number, (user, item) in enumerate(learned):
        value = 5.0 if values is None else values[number]
        happened = event(f"u{user}", f"i{item}", number * 1_000, value=value)
        model.learn(interaction(number, happened, user, item))


def interaction(
    number: int, happened: Event, user: int, item: int, reward: float = 1.0
) -> Interaction:
    return Interaction(number=number, event=happened, user_row=user, item_row=item, reward=reward)


# --- popularity -----------------------------------------------------------------------------------


def test_popularity_halves_what_is_old() -> None:
    learned = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 0)]
    by_events, by_time = (
        PopularityBaseline(half_life_events=2),
        PopularityBaseline(half_life_ms=2_000),
    )
    for model in (by_events, by_time):
        taught(model, learned)
        scores = model.score(0, 4_000, 3)
        expected = np.array([2.0**-2 + 1, 2.0**-1.5 + 2.0**-1, 2.0**-0.5])
        assert_allclose(scores / scores.sum(), expected / expected.sum())
    counted = PopularityBaseline()
    taught(counted, learned)
    assert counted.score(UNKNOWN, 0, 3).tolist() == [2, 2, 1]


def test_decayed_popularity_stays_finite_over_thousands_of_half_lives() -> None:
    model = PopularityBaseline(half_life_events=1)
    taught(model, [(0, at % 2) for at in range(5_001)])
    scores = model.score(0, 0, 2)
    assert np.isfinite(scores).all()
    assert scores[0] / scores[1] == pytest.approx(2)


def test_popularity_takes_one_half_life() -> None:
    with pytest.raises(ConfigError, match="give one"):
        PopularityBaseline(half_life_events=5, half_life_ms=5)
    with pytest.raises(ConfigError, match="above 0"):
        PopularityBaseline(half_life_events=0)


# --- item cosine ----------------------------------------------------------------------------------


def test_item_cosine_is_the_cosine_of_columns() -> None:
    learned = pairs(120, seed=1)
    n_users, n_items = max(user for user, _ in learned) + 1, max(item for _, item in learned) + 1
    consumed = np.zeros((n_users, n_items))
    for user, item in learned:
        consumed[user, item] = 1
    model = ItemCosine()
    taught(model, [*learned, learned[0]])  # a repeat changes nothing
    counts = consumed.sum(axis=0)
    cosines = consumed.T @ consumed / np.sqrt(np.outer(counts, counts))
    np.fill_diagonal(cosines, 0)  # an item is no neighbour of its own
    for user in range(n_users):
        expected = consumed[user] @ cosines + 1e-9 * counts
        assert_allclose(model.score(user, 0, n_items), expected)
    assert_allclose(model.score(UNKNOWN, 0, n_items), 1e-9 * counts)


def test_item_cosine_has_a_bound() -> None:
    model = ItemCosine(items_max=300)
    taught(model, [(0, at) for at in range(300)])
    with pytest.raises(ConfigError, match="items_max"):
        taught(model, [(0, 300)])


# --- factors --------------------------------------------------------------------------------------


def test_isgd_takes_the_steps_of_the_paper() -> None:
    model = ISGD(factors=4, steps=2, rate=0.1, regularization=0.2, seed=3)
    taught(model, [(0, 0)])
    user = np.random.default_rng([3, 0]).normal(0, 0.1, (256, 4))[0]
    item = np.random.default_rng([3, 1]).normal(0, 0.1, (256, 4))[0]
    for _ in range(2):
        error = 1 - user @ item
        user, item = (
            user + 0.1 * (error * item - 0.2 * user),
            item + 0.1 * (error * user - 0.2 * item),
        )
    assert_allclose(model.score(0, 0, 1), [-abs(1 - user @ item)], rtol=1e-5)
    assert model.score(UNKNOWN, 0, 1).tolist() == [-1]
    before = model.score(0, 0, 1).copy()
    model.learn(interaction(1, event("u0", "i0", 1), 0, 0, reward=0.0))
    assert model.score(0, 0, 1).tolist() == before.tolist()


def test_factors_rank_as_the_live_learner_would() -> None:
    learned = pairs(200, seed=2)
    model = ImplicitFactors(ImplicitMF(n_factors=10, seed=1))
    taught(model, learned)
    n_items = len(model.state.items)
    merged = model.shared.tables["item_factors"].values[model.state.item_rows[:n_items]]
    factors, biases = ImplicitMF.item_arrays(merged)
    for user in (0, 3, 7):
        own = model.state.own["user_factors"].values[user, :-1]
        assert np.abs(own).max() > 0
        expected = item_scores(own, factors, biases)
        assert_allclose(model.score(user, 0, n_items), expected, atol=1e-5)
    assert_allclose(model.score(UNKNOWN, 0, n_items), biases, atol=1e-6)


def test_ratings_are_predicted_as_the_live_learner_would() -> None:
    learned = pairs(150, seed=3)
    values = np.random.default_rng(0).integers(1, 6, len(learned)).astype(float).tolist()
    model = BiasedFactors(BiasedMF(n_factors=6))
    assert model.predict(UNKNOWN, UNKNOWN) == 0
    taught(model, learned, values)
    shared = model.shared.tables
    totals = shared["rating_totals"].values[0]
    users = model.state.own["user_rating_factors"].values
    items = shared["item_rating_factors"].values[model.state.item_rows[:5]]
    expected = BiasedMF.predict(users[[2] * 5], items, totals)
    found = [model.predict(2, item) for item in range(5)]
    assert_allclose(found, expected, rtol=1e-5)
    unknown_item = BiasedMF.predict(users[[2]], np.zeros_like(items[:1]), totals)
    assert model.predict(2, UNKNOWN) == pytest.approx(unknown_item[0])
    assert model.predict(UNKNOWN, UNKNOWN) == pytest.approx(np.mean(values))
    order = np.argsort(model.score(2, 0, 5))
    assert order.tolist() == np.argsort(expected).tolist()


@pytest.mark.parametrize("name", MODELS)
def test_predictions_change_nothing_and_know_no_unknown(name: str) -> None:
    spec = parse_specs([name])[0]
    model = build_model(spec, task="rating" if name == "running-mean" else "topk", seed=0)
    learned = pairs(100, seed=4)
    taught(model, learned)
    n_items = max(item for _, item in learned) + 1
    for _ in range(2):
        if isinstance(model, TopKModel):
            first = model.score(1, 10**9, n_items).copy()
            assert first.shape == (n_items,)
            assert np.isfinite(model.score(UNKNOWN, 10**9, n_items)).all()
            assert model.score(1, 10**9, n_items).tolist() == first.tolist()
        if isinstance(model, RatingModel):
            assert model.predict(1, 1) == model.predict(1, 1)


def test_river_ranks_and_rates_what_it_predicts() -> None:
    learned = pairs(60, seed=5)
    values = np.random.default_rng(1).integers(1, 6, len(learned)).astype(float).tolist()
    text = "river:reco.BiasedMF(n_factors=4, seed=1, latent_optimizer=optim.SGD(0.05))"
    model = build_model(parse_specs([text])[0], task="rating", seed=0)
    taught(model, learned, values)
    theirs: Any = reco.BiasedMF(n_factors=4, seed=1, latent_optimizer=optim.SGD(0.05))
    for (user, item), value in zip(learned, values, strict=True):
        theirs.learn_one(user=user, item=item, y=value)
    expected = [theirs.predict_one(user=1, item=item) for item in range(5)]
    assert model.score(1, 0, 5).tolist() == expected
    assert model.predict(1, 3) == expected[3]
    regressor = "river:preprocessing.OneHotEncoder() | linear_model.LinearRegression()"
    model = build_model(parse_specs([regressor])[0], task="rating", seed=0)
    taught(model, learned, values)
    assert len(set(model.score(1, 0, 5).tolist())) > 1


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("popularitty", "unknown; choose one of popularity"),
        ("popularity:halflife=3", "its parameters are: half_life_events, half_life"),
        ("popularity:half_life=7", "no duration"),
        ("isgd:factors=0", "at least 1"),
        ("mf-bpr:n_factors=0", "n_factors=0"),
        ("isgd:rate=1,rate=2", "given twice"),
        ("running-mean", "can't do --task topk"),
        ("river:reco.BiasedMF()", "give seed="),
        ("river:linear_model.LogisticRegression()", "neither a recommender nor a regressor"),
        ("river:open('/etc/passwd')", "is not a class of river"),
    ],
)
def test_models_that_cannot_be_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build_model(parse_specs([text])[0], task="topk", seed=0)


def test_a_list_of_models_has_each_once() -> None:
    with pytest.raises(ConfigError, match="twice"):
        parse_specs(["isgd,isgd"])
    with pytest.raises(ConfigError, match="at least one"):
        parse_specs([" , "])
    quoted = parse_specs(["river:f(a='x,y=1'),isgd", "popularity"])
    assert [spec.text for spec in quoted] == ["river:f(a='x,y=1')", "isgd", "popularity"]


def test_durations_have_units() -> None:
    assert [duration_ms(text) for text in ("30s", "1.5h", "250ms", "0", "2w")] == [
        30_000,
        5_400_000,
        250,
        0,
        1_209_600_000,
    ]
    for wrong in ("7", "-1d", "d", "1y"):
        with pytest.raises(ValueError, match="no duration"):
            duration_ms(wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("value>=4", [False, True, False]),
        ("type=click|purchase", [False, False, True]),
        ("type!=click", [True, True, False]),
        ("value > 1 and value<4.5", [True, False, False]),
    ],
)
def test_positives_are_what_is_asked_for(text: str, expected: list[bool]) -> None:
    events = [
        event("a", "x", 1, value=2.0),
        event("a", "x", 1, value=5.0),
        event("a", "x", 1, kind="click", value=None),
    ]
    assert [parse_positives(text, TYPES)(each) for each in events] == expected


@pytest.mark.parametrize("text", ["value", "value>=high", "type=clik", "", "type>=click"])
def test_positives_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="positives"):
        parse_positives(text, TYPES)


def test_histories_keep_what_each_user_consumed_over_all_growth() -> None:
    histories = Histories()
    expected: dict[int, list[int]] = {}
    for user, item in np.random.default_rng(0).integers(0, 700, (5_000, 2)).tolist():
        histories.add(user, item)
        expected.setdefault(user, []).append(item)
    assert {user: histories.items(user).tolist()[::-1] for user in expected} == expected
    assert len(histories.items(UNKNOWN)) == histories.n_of(UNKNOWN) == 0
    flags = np.zeros(700, dtype=np.uint8)
    histories.mark(5, flags, 1)
    assert np.flatnonzero(flags).tolist() == sorted(set(expected[5]))
    histories.mark(UNKNOWN, flags, 0)
    histories.mark(10**6, flags, 0)
    assert flags.any()
    histories.mark(5, flags, 0)
    assert not flags.any()
