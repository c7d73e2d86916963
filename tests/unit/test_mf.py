"""Implicit matrix factorization: gradients, known answers, and steps shared by learners."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.testing.contents import shared_snapshot
from streamer_models.counters.history import UserHistory
from streamer_models.counters.popularity import Popularity
from streamer_models.factorization.mf import ImplicitMF, item_scores
from streamer_models.factorization.mf_step import LOSSES, slopes
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.ingest import Feedback, learn_feedback
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Change, IdChange, Rows, recent_keys
from tests.learning import LARGE, learn, new_state


def _feedback(
    users: NDArray[np.int64], items: NDArray[np.int64], rewards: NDArray[np.float32] | None = None
) -> Feedback:
    n = len(users)
    return Feedback(
        offsets=np.arange(n),
        ts_ms=np.arange(n) * 1_000 + 1_700_000_000_000,
        user_ids=[f"user-{user}" for user in users],
        item_ids=[f"item-{item}" for item in items],
        rewards=np.ones(n, dtype=np.float32) if rewards is None else rewards,
        values=np.full(n, np.nan),
    )


def _scores(state: PartitionState, user: int, n_items: int) -> NDArray[np.float32]:
    """Scores of items 0 ... n - 1 for a user."""
    slots = np.array([state.items.find(f"item-{item}") for item in range(n_items)])
    rows = state.shared.tables["item_factors"].values[state.item_rows[slots]]
    factors = state.own["user_factors"].values[state.users.find(f"user-{user}"), :-1]
    return item_scores(factors, *ImplicitMF.item_arrays(rows))


def _blocks(n: int, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users of 4 groups like the items of their own group alone; some items are popular."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 80, n)
    items = (10 * rng.random(n) ** 2).astype(int) * 4 + users % 4
    return users, items


@pytest.mark.parametrize("loss", LOSSES)
def test_a_checkerboard_is_learned(loss: str) -> None:
    """Even users like even items: every one of them above every odd one, and the other way."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, 20, 6_000)
    items = rng.integers(0, 10, 6_000) * 2 + users % 2
    models: list[Model] = [ImplicitMF(n_factors=8, loss=loss, n_negatives=5)]
    state = new_state(models, bounds=LARGE)
    learn(_feedback(users, items), state, models)
    for user in range(20):
        scores = _scores(state, user, 20)
        assert scores[user % 2 :: 2].min() > scores[1 - user % 2 :: 2].max()


@pytest.mark.parametrize("loss", LOSSES)
def test_it_beats_popularity_on_blocks(loss: str) -> None:
    users, items = _blocks(8_000, seed=1)
    models: list[Model] = [ImplicitMF(n_factors=8, loss=loss, n_negatives=10), Popularity()]
    state = new_state(models, bounds=LARGE)
    learn(_feedback(users, items), state, models)
    slots = np.array([state.items.find(f"item-{item}") for item in range(40)])
    counts = state.contributions["item_counts"].values[slots, 0]
    hits = {"mf": 0, "popularity": 0}
    for user, item in zip(*_blocks(500, seed=2), strict=True):
        hits["mf"] += item in np.argsort(-_scores(state, user, 40))[:5]
        hits["popularity"] += item in np.argsort(-counts)[:5]
    assert hits["mf"] > 1.5 * hits["popularity"] > 0


def _loss(loss: str, scores: NDArray[np.float64], weight: float) -> float:
    """The losses as their papers write them."""

    def log_sigmoid(x: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return -np.log1p(np.exp(-np.asarray(x, dtype=np.float64)))

    positive, negatives = scores[0], scores[1:]
    if weight < 0:
        return float(weight * log_sigmoid(-positive))
    if loss == "bpr":
        return float(-weight * log_sigmoid(positive - negatives).mean())
    if loss == "logistic":
        return float(-weight * (log_sigmoid(positive) + log_sigmoid(-negatives).mean()))
    return float(-weight * (positive - np.log(np.exp(scores).sum())))


@pytest.mark.parametrize("weight", [1.0, 2.5, -0.5])
@pytest.mark.parametrize("loss", LOSSES)
def test_slopes_are_the_gradient(loss: str, weight: float) -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=5)
    out = np.zeros(5, dtype=np.float32)
    slopes(scores.astype(np.float32), 5, weight, LOSSES.index(loss), out)
    for c in range(5):
        step = np.eye(5)[c] * 1e-5
        numeric = (_loss(loss, scores + step, weight) - _loss(loss, scores - step, weight)) / 2e-5
        assert out[c] == pytest.approx(-numeric, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_scores_may_be_extreme(loss: str) -> None:
    for scores in ([1e4, -1e4, 0], [-1e4, 1e4, 1e4]):
        out = np.zeros(3, dtype=np.float32)
        slopes(np.array(scores, dtype=np.float32), 3, 1.0, LOSSES.index(loss), out)
        assert np.isfinite(out).all()
        assert out.sum() == pytest.approx(0, abs=1.01)


def test_the_first_step_is_adagrads() -> None:
    """A zero user vector leaves item factors; the user moves by rate · g / √(mean g²)."""
    models: list[Model] = [ImplicitMF(n_factors=4, loss="bpr", n_negatives=1, learning_rate=0.15)]
    state = new_state(models, bounds=LARGE)
    learn(_feedback(np.array([0, 1]), np.array([0, 1])), state, models)
    items = state.shared.tables["item_factors"].values[state.item_rows[:2]] * 2.0**-24
    initial = models[0].initial("item_factors", state.items.keys[:2])
    assert initial is not None
    np.testing.assert_array_equal(items[:, :4], initial[:, :4] * 2.0**-24)
    gradient = 0.5 * (items[1, :4] - items[0, :4])
    user = state.own["user_factors"].values[state.users.find("user-1")]
    expected = 0.15 * gradient / np.sqrt((gradient**2).mean())
    np.testing.assert_allclose(user[:4], expected, rtol=1e-4)
    assert user[4] == pytest.approx((gradient**2).mean(), rel=1e-5)
    np.testing.assert_allclose(items[:, 4], [-0.15, 0.15], rtol=1e-5)


def test_a_dislike_lowers_the_score() -> None:
    models: list[Model] = [ImplicitMF(n_factors=4)]
    state = new_state(models, bounds=LARGE)
    users, items = np.zeros(40, dtype=int), np.arange(40) % 4
    rewards = np.where(items == 2, -1, 1).astype(np.float32)
    learn(_feedback(users, items, rewards), state, models)
    assert _scores(state, 0, 4).argmin() == 2


def test_a_reward_that_is_not_finite_is_refused() -> None:
    models: list[Model] = [ImplicitMF(n_factors=4)]
    state = new_state(models, bounds=LARGE)
    zero = np.zeros(1, dtype=int)
    with pytest.raises(ValueError, match="not finite"):
        learn(_feedback(zero, zero, np.array([np.inf], dtype=np.float32)), state, models)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="loss='hinge' one of"):
        ImplicitMF(loss="hinge")
    with pytest.raises(ValueError, match="n_factors=0"):
        ImplicitMF(n_factors=0)


# --- steps of several learners -----------------------------------------------------------------


def _learned(model: ImplicitMF, shared: SharedState) -> PartitionState:
    """A learner that has taken, and not yet collected, a batch."""
    state = new_state([model], bounds=LARGE, shared=shared)
    users, items = _blocks(300, seed=4)
    learn(_feedback(users, items), state, [model])
    more = _feedback(*_blocks(100, seed=5))
    more.offsets[:] += 300
    assert len(list(learn_feedback(more, state, [model], from_offset=300, to_offset=400))) == 1
    return state


def _others(names: list[str], factors: int, bias: int) -> Change:
    keys = np.array([id_key(name.encode()) for name in names], dtype=np.uint64)
    values = np.tile(np.array([factors, bias], dtype=np.int64), (len(names), 1))
    no_ids: dict[str, IdChange] = {}
    return Change(withdrawn={}, ids=no_ids, tables={"item_adagrad": Rows(keys, values)})


def test_steps_are_shortened_by_what_others_learned() -> None:
    model = ImplicitMF(n_factors=4)
    shared = SharedState([model])
    state = _learned(model, shared)
    rows = shared.item_map.find(
        np.array([id_key(f"item-{item}".encode()) for item in range(40)], dtype=np.uint64)
    )
    items, squares = shared.tables["item_factors"], shared.tables["item_adagrad"]
    touched, changes = items.changes()
    change_of = dict(zip(touched.tolist(), changes.astype(float), strict=True))
    before = {row: items.values[row] - change_of[row] for row in rows.tolist()}
    own, accumulators = squares.values[rows].astype(float), squares.values.copy()
    # As much again as this learner has for item 0, three times as much (in two parts) for item 1.
    others = [
        _others(["item-0", "item-of-others"], int(own[0, 0]), int(own[0, 1])),
        _others(["item-1"], int(own[1, 0]), 0),
        _others(["item-1"], int(2 * own[1, 0]), 0),
    ]
    model.rescale(shared, others)
    for item, shares in ((0, [0.5**0.5, 0.5**0.5]), (1, [0.5, 1.0]), (2, [1.0, 1.0])):
        row = int(rows[item])
        kept = items.values[row] - before[row]
        expected = change_of[row] * np.repeat(shares, [4, 1])
        np.testing.assert_allclose(kept, expected, atol=0.51)
    np.testing.assert_array_equal(squares.values, accumulators)
    assert "item_factors" in state.collect().tables


def test_the_order_of_others_does_not_matter() -> None:
    names = [f"item-{item}" for item in range(20)]
    others = [_others(names[i:], 10**8 * (i + 1), 10**7) for i in range(4)]
    seen = []
    for order in (others, others[::-1]):
        model = ImplicitMF(n_factors=4)
        shared = SharedState([model])
        _learned(model, shared)
        model.rescale(shared, order)
        seen.append(shared_snapshot(shared))
    assert seen[0] == seen[1]


def test_feedback_worth_nothing_is_history_and_moves_no_factor() -> None:
    users, items = _blocks(300, seed=4)
    rewards = np.ones(len(users), dtype=np.float32)
    rewards[200:] = 0
    models: list[Model] = [UserHistory(), ImplicitMF(n_factors=4, regularization=0.01)]
    state = new_state(models, bounds=LARGE)
    feedback = _feedback(users, items, rewards)
    learn(feedback, state, models, end=200)
    before = shared_snapshot(state.shared)["merged item_factors"]
    factors = state.own["user_factors"].values.copy()
    learn(feedback, state, models, start=200)
    after = shared_snapshot(state.shared)["merged item_factors"]
    assert {key: after[key] for key in before} == before
    np.testing.assert_array_equal(state.own["user_factors"].values[: len(factors)], factors)
    row = state.own["user_history"].values[state.users.find(f"user-{users[-1]}")]
    assert recent_keys(row)[0] == id_key(f"item-{items[-1]}".encode())


def test_weight_decay_shrinks_and_never_throws_a_new_item() -> None:
    """A user without a vector gives items no gradient: AdaGrad's rate is at its largest then."""
    feedback = Feedback(
        offsets=np.arange(50, dtype=np.int64),
        ts_ms=np.full(50, 1_700_000_000_000, dtype=np.int64),
        user_ids=[f"u{i}" for i in range(50)],
        item_ids=[f"i{i % 5}" for i in range(50)],
        rewards=np.ones(50, dtype=np.float32),
        values=np.full(50, np.nan),
    )
    sizes = {}
    for regularization in (0.0, 0.05):
        model = ImplicitMF(n_factors=4, n_negatives=2, regularization=regularization)
        state = new_state([model], bounds=LARGE)
        for _ in learn_feedback(feedback, state, [model], from_offset=0, to_offset=50):
            state.collect()
        factors, _ = ImplicitMF.item_arrays(state.shared.tables["item_factors"].values[:5])
        sizes[regularization] = float(np.abs(factors).mean())
    assert 0 < sizes[0.05] < sizes[0.0]


def test_a_decay_that_would_overshoot_is_refused() -> None:
    with pytest.raises(ValueError, match="below 1"):
        ImplicitMF(learning_rate=5.0, regularization=0.2)
