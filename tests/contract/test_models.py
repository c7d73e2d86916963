"""What every model promises: one suite over all of them, alone and together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
import pytest

from streamer_models.counters.history import UserHistory
from streamer_models.counters.popularity import Popularity
from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.factorization.mf import ImplicitMF, item_scores
from streamer_models.state.ingest import Feedback
from streamer_models.state.partition import Bounds
from streamer_models.state.protocols import Model
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Change, Merge, recent_keys
from tests.learning import (
    LARGE,
    SMALL,
    Stored,
    learn,
    learn_in_batches,
    merged_by_hand,
    new_state,
    shared_snapshot,
    snapshot,
    stream,
)

Factory = Callable[[], list[Model]]


def _mf(loss: str, *, regularization: float = 0.0) -> ImplicitMF:
    return ImplicitMF(
        n_factors=5,
        loss=loss,
        regularization=regularization,
        n_negatives=3,
        recent_share=0.5,
        n_recent_items=16,
    )


FACTORIES: dict[str, Factory] = {
    "history": lambda: [UserHistory(length=5)],
    "popularity": lambda: [Popularity(half_lives_s=(60, 3_600, 86_400))],
    "bpr": lambda: [_mf("bpr")],
    "logistic": lambda: [_mf("logistic", regularization=0.01)],
    "softmax": lambda: [_mf("softmax")],
    "biased_mf": lambda: [BiasedMF(n_factors=5)],
    "all": lambda: [
        UserHistory(length=5),
        Popularity(half_lives_s=(60, 3_600)),
        _mf("bpr"),
        BiasedMF(n_factors=5),
    ],
}

every_model = pytest.mark.parametrize("factory", FACTORIES.values(), ids=list(FACTORIES))


@every_model
def test_seeded_runs_are_bit_identical(factory: Factory) -> None:
    feedback = stream(600, seed=1)
    runs = []
    for _ in range(2):
        models = factory()
        state = new_state(models)
        learn(feedback, state, models)
        runs.append(snapshot(state))
    assert runs[0] == runs[1]
    assert all(runs[0][spec.name] for model in models for spec in model.tables())


@every_model
@pytest.mark.parametrize("bounds", [SMALL, LARGE], ids=["evicting", "roomy"])
def test_batches_may_end_anywhere(factory: Factory, bounds: Bounds) -> None:
    """One batch, one by one, and at random places, to the bit, evictions included."""
    feedback = stream(1_000, seed=2)
    rng = np.random.default_rng(3)
    splits: list[Sequence[int]] = [
        (),
        range(1, len(feedback)),
        *(np.sort(rng.integers(0, len(feedback), n)).tolist() for n in (3, 20, 100)),
    ]
    seen = []
    for cuts in splits:
        models = factory()
        state = new_state(models, bounds=bounds)
        learn_in_batches(feedback, state, models, cuts)
        seen.append(snapshot(state))
    assert (state.items.n_evicted > 100) == (bounds is SMALL)
    assert all(run == seen[0] for run in seen)


@every_model
def test_a_reload_in_the_middle_changes_nothing(factory: Factory) -> None:
    """From checkpoints alone, and from a checkpoint with the changes committed after it."""
    feedback = stream(1_000, seed=4)
    models = factory()
    whole = new_state(models)
    learn(feedback, whole, models)

    stored = Stored()
    state = new_state(models)
    for start, end in ((0, 150), (150, 151), (151, 480), (480, 700)):
        changes = learn(feedback, state, models, start=start, end=end)
        loaded = stored.load(new_state(models))
        for change in changes:
            loaded.apply(change)
        assert snapshot(loaded) == snapshot(state)
        loaded.watermark_ms = state.watermark_ms
        # What was replayed is as dirty as what was learned: both checkpoint to the same rows.
        state = loaded
        stored.checkpoint(state)
        assert snapshot(stored.load(new_state(models))) == snapshot(state)
        state = stored.load(new_state(models))
    learn(feedback, state, models, start=700)
    assert snapshot(state) == snapshot(whole)


@every_model
def test_inputs_are_not_written_to(factory: Factory) -> None:
    feedback = stream(300, seed=5)
    again = stream(300, seed=5)
    models = factory()
    learn(feedback, new_state(models), models)
    for column in ("offsets", "ts_ms", "rewards", "values"):
        np.testing.assert_array_equal(getattr(feedback, column), getattr(again, column))
    assert feedback.user_ids == again.user_ids
    assert feedback.item_ids == again.item_ids


def test_prediction_changes_nothing_and_adds_no_ids() -> None:
    models = FACTORIES["all"]()
    state = new_state(models, bounds=LARGE)
    feedback = stream(300, seed=6)
    learn(feedback, state, models)
    before = snapshot(state)
    own, merged = state.own, state.shared.tables
    factors, biases = ImplicitMF.item_arrays(merged["item_factors"].values)
    stranger = np.zeros(5, dtype=np.float32)
    known = state.users.find("user-3")
    first = item_scores(own["user_factors"].values[known, :-1], factors, biases)
    # Somebody new is scored by item biases, and nobody else's scores move.
    np.testing.assert_array_equal(item_scores(stranger, factors, biases), biases)
    assert state.users.find("nobody") == -1
    second = item_scores(own["user_factors"].values[known, :-1], factors, biases)
    np.testing.assert_array_equal(first, second)
    items = merged["item_rating_factors"].values
    users = np.zeros((len(items), 6), dtype=np.float32)
    totals = merged["rating_totals"].values[0]
    assert np.isfinite(BiasedMF.predict(users, items, totals)).all()
    Popularity(half_lives_s=(60, 3_600)).trending(
        merged["item_popularity"].values, int(feedback.ts_ms[-1])
    )
    recent_keys(own["user_history"].values[known])
    assert snapshot(state) == before


@every_model
def test_contributions_merge_in_any_order(factory: Factory) -> None:
    """A learner's merged rows = initial values + what each partition contributed."""
    models = factory()
    shared = SharedState(models)
    states = [new_state(models, shared=shared, bounds=LARGE, partition=p) for p in range(3)]
    streams = [stream(300, seed=10 + p) for p in range(3)]
    logs: list[tuple[int, int, list[Change]]] = []
    for start in range(0, 300, 50):
        for p, state in enumerate(states):
            changes = learn(streams[p], state, models, start=start, end=start + 50)
            logs.append((start, p, changes))
    merged = shared_snapshot(shared)
    assert merged == merged_by_hand(models, states)
    for order in permutations(range(3)):
        loaded = SharedState(models)
        for p in order:
            stored = Stored()
            fresh = new_state(models, shared=loaded, bounds=LARGE, partition=p)
            for _, _, changes in (log for log in logs if log[1] == p):
                for change in changes:
                    fresh.apply(change)
            stored.checkpoint(fresh)
        assert shared_snapshot(loaded) == merged
    # A follower reads the same logs, each in its order, but interleaved otherwise.
    follower = SharedState(models)
    for _, _, changes in sorted(logs, key=lambda log: (log[1], log[0])):
        for change in changes:
            follower.apply(change)
    assert shared_snapshot(follower) == merged


@every_model
def test_three_partitions_that_evict_agree_with_their_logs(factory: Factory) -> None:
    models = factory()
    shared = SharedState(models)
    states = [new_state(models, shared=shared, partition=p) for p in range(3)]
    streams = [stream(400, seed=20 + p) for p in range(3)]
    follower = SharedState(models)
    for start in range(0, 400, 80):
        for p, state in enumerate(states):
            for change in learn(streams[p], state, models, start=start, end=start + 80):
                follower.apply(change)
    assert min(state.items.n_evicted for state in states) > 50
    assert shared_snapshot(follower) == shared_snapshot(shared)
    summed = merged_by_hand(models, states)
    for name, rows in shared_snapshot(shared).items():
        # Cells of decayed counters keep the epoch of what was withdrawn from them.
        if shared.tables[name.removeprefix("merged ")].spec.merge is Merge.SUM:
            assert rows == summed[name]


@every_model
def test_evicting_everything_restores_initial_values(factory: Factory) -> None:
    models = factory()
    state = new_state(models, bounds=LARGE)
    learn(stream(500, seed=7), state, models)
    keys = state.items.keys[state.items.live_slots()]
    state.shared.acquire("item", keys)  # another partition has them, and contributed nothing
    state.evict("item", state.items.live_slots())
    state.evict("user", state.users.live_slots())
    for model in models:
        for spec in model.tables():
            if not spec.shared or spec.entity != "item":
                continue
            values = state.shared.tables[spec.name].values[state.shared.item_map.find(keys)]
            if spec.merge is Merge.DECAYED:
                values = values[:, 1::2]  # no mantissa is left, whatever its epoch
            initial = model.initial(spec.name, keys)
            np.testing.assert_array_equal(values, 0 if initial is None else initial)
    assert len(state.users) == len(state.items) == 0
    assert state.users.n_slots == state.items.n_slots == 0


@every_model
def test_finite_after_many_wild_updates(factory: Factory) -> None:
    n = 100_000
    calm = stream(n, seed=8, n_users=20, n_items=20)
    rng = np.random.default_rng(9)
    wild = Feedback(
        calm.offsets,
        calm.ts_ms,
        calm.user_ids,
        calm.item_ids,
        np.float32(10.0 ** rng.uniform(-3, 6, n)) * np.sign(calm.rewards),
        calm.values * 10_000,
    )
    models = factory()
    state = new_state(models, bounds=LARGE)
    learn(wild, state, models)
    for table in (*state.own.values(), *state.shared.tables.values()):
        assert np.isfinite(table.values).all(), table.spec.name
    for name in ("item_factors", "item_rating_factors"):
        if name in state.shared.tables:
            largest = np.abs(state.shared.tables[name].values.astype(np.int64)).max()
            assert 0 < largest <= 64 << 24
    for name in ("item_adagrad", "item_popularity"):
        if name in state.shared.tables:
            assert state.shared.tables[name].values.min() >= 0  # nothing wrapped around


@every_model
def test_bounds_hold(factory: Factory) -> None:
    models = factory()
    state = new_state(models)
    learn(stream(3_000, seed=11, n_users=500, n_items=2_000), state, models)
    assert len(state.users) <= SMALL.users_max
    assert len(state.items) <= SMALL.items_max
    rows_max = {"user": SMALL.users_max, "item": SMALL.items_max}
    for table in (*state.own.values(), *state.contributions.values()):
        if table.spec.entity in rows_max:
            assert len(table) <= rows_max[table.spec.entity], table.spec.name
    assert state.shared.n_items == len(state.items)
    assert all(len(table) <= max(256, SMALL.items_max) for table in state.shared.tables.values())


@every_model
def test_rescaling_by_nothing_changes_nothing(factory: Factory) -> None:
    models = factory()
    state = new_state(models, bounds=LARGE)
    learn(stream(300, seed=12), state, models)
    before = snapshot(state)
    for model in models:
        model.rescale(state.shared, [])
    assert snapshot(state) == before
