"""The contract of a model: checks that any model passes, alone or with others.

They hold what exactly-once, replay and merging rest on, so a model that passes can be learned on
any number of machines, killed, moved and verified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import pairwise, permutations
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.testing.contents import (
    Snapshot,
    Stored,
    merged_by_hand,
    shared_snapshot,
    snapshot,
)
from streamer.testing.streams import (
    LARGE,
    SMALL,
    Stream,
    learn_in_batches,
    learn_stream,
    made_up,
    new_state,
)
from streamer_models.state.columns import Columns
from streamer_models.state.inputs import NOTHING
from streamer_models.state.model import Model
from streamer_models.state.partition import Bounds, PartitionState, all_specs
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Change, Merge, TableSpec

_INDEXED_MAX: Final = 1 << 16
NewModels = Callable[[], Model | Sequence[Model]]
"""Makes a model, or several that learn together; each time the same."""
ModelCheck = Callable[..., None]
"""A check: takes :data:`NewModels` and ``n_features``, raises AssertionError."""


def check_model(new_models: NewModels, *, n_features: int = 3) -> None:
    """Run every check; with pytest, parametrize a test over :data:`MODEL_CHECKS` instead.

    Parameters
    ----------
    new_models
        Makes the model; its bounds, lengths and half-lives should be small, so that a stream of
        500 events reaches them.
    n_features
        Width of the examples' features that the model was made for, where it learns from those.

    Raises
    ------
    AssertionError
        Says which rule is broken, and where.
    """
    for check in MODEL_CHECKS:
        check(new_models, n_features=n_features)


def check_tables(new_models: NewModels, *, n_features: int = 3) -> None:
    """Tables have names of their own, are always the same, and merge exactly; what is read of a
    model are tables of its own, and its settings are JSON."""
    models = _made(new_models)
    try:
        all_specs(models)
    except ValueError as error:
        raise AssertionError(f"tables that cannot be: {error}") from error
    assert _tables(models) == _tables(_made(new_models)), "tables() must always say the same"
    for model, again in zip(models, _made(new_models), strict=True):
        try:
            said = [msgspec.json.encode(each.settings()) for each in (model, again)]
        except (TypeError, ValueError) as error:
            raise AssertionError(f"settings() must be as JSON has them: {error}") from error
        assert said[0] == said[1], f"two models made alike must have the same settings(): {said}"
    for spec in _tables(models):
        exact = not spec.shared or np.dtype(spec.dtype).kind in "iu"
        assert exact, (
            f"table {spec.name}: contributions of several partitions merge exactly as integers"
            f" alone, not as {spec.dtype}"
        )
    for model in models:
        for reading in model.readable():
            assert reading.spec in model.tables(), (
                f"readable() names {reading.spec.name}, and tables() has no such table"
            )


def check_tables_are_learned(new_models: NewModels, *, n_features: int = 3) -> None:
    """Each table that a model names has rows after a while, or it would not be needed."""
    models = _made(new_models)
    state = new_state(models, bounds=LARGE)
    learn_stream(made_up(600, seed=1, n_features=n_features), state, models)
    rows = snapshot(state)
    for spec in _tables(models):
        assert rows[spec.name], f"table {spec.name}: 600 events of all types taught nothing"


def check_seeded_runs_are_bit_identical(new_models: NewModels, *, n_features: int = 3) -> None:
    """A run is a function of the stream and the seed; nothing is kept in the model itself."""
    stream = made_up(300, seed=1, n_features=n_features)
    models, runs = _made(new_models), []
    for learners in (models, models, _made(new_models)):
        state = new_state(learners, bounds=SMALL)
        learn_stream(stream, state, learners)
        runs.append(snapshot(state))
    _assert_same(runs[1], runs[0], "a model that learned before must learn the same again")
    _assert_same(runs[2], runs[0], "two models made alike must learn the same")


def check_batches_may_end_anywhere(new_models: NewModels, *, n_features: int = 3) -> None:
    """One batch, one by one, and at random places, to the bit, evictions included."""
    stream = made_up(300, seed=2, n_features=n_features)  # 148 users and 70 items evicted
    rng = np.random.default_rng(3)
    splits: list[Sequence[int]] = [
        range(1, len(stream)),
        *(np.sort(rng.integers(0, len(stream), n)).tolist() for n in (3, 20, 100)),
    ]
    for bounds in (SMALL, LARGE):
        models = _made(new_models)
        whole = new_state(models, bounds=bounds)
        learn_stream(stream, whole, models)
        assert (whole.items.n_evicted > 50) == (bounds is SMALL)
        for cuts in splits:
            state = new_state(models, bounds=bounds)
            learn_in_batches(stream, state, models, cuts)
            kind = "that evict" if bounds is SMALL else "with room for all"
            rule = f"{len(cuts) + 1} batches {kind} must teach what one does"
            _assert_same(snapshot(state), snapshot(whole), rule)


def check_a_reload_changes_nothing(new_models: NewModels, *, n_features: int = 3) -> None:
    """From checkpoints alone, and from a checkpoint with the changes committed after it."""
    stream = made_up(500, seed=4, n_features=n_features)
    models = _made(new_models)
    whole = new_state(models, bounds=SMALL)
    cuts = (75, 76, 240, 350)
    learn_in_batches(stream, whole, models, cuts)
    stored = Stored()
    state = new_state(models, bounds=SMALL)
    for start, end in pairwise((0, *cuts)):
        changes = learn_stream(stream, state, models, start=start, end=end)
        loaded = stored.load(new_state(models, bounds=SMALL))
        for change in changes:
            loaded.apply(change)
        loaded.watermark_ms = state.watermark_ms
        rule = "changes applied must give what was learned: touch() rows before writing them"
        _assert_same(snapshot(loaded), snapshot(state), rule)
        # What was replayed is as dirty as what was learned: both checkpoint to the same rows.
        stored.checkpoint(loaded)
        state = stored.load(new_state(models, bounds=SMALL))
        _assert_same(snapshot(state), snapshot(loaded), "a checkpoint must load as it was")
        other = SharedState(models)
        other.load(state.partition, *stored.contents())
        rule = "another learner must make of a checkpoint what its owner does"
        _assert_same(shared_snapshot(other), shared_snapshot(state.shared), rule)
    learn_stream(stream, state, models, start=cuts[-1])
    _assert_same(snapshot(state), snapshot(whole), "a reload in the middle must change nothing")


def check_inputs_are_not_written_to(new_models: NewModels, *, n_features: int = 3) -> None:
    """Columns are shared by all models that learn."""
    stream = made_up(300, seed=5, n_features=n_features)
    again = made_up(300, seed=5, n_features=n_features)
    models = _made(new_models)
    learn_stream(stream, new_state(models, bounds=LARGE), models)
    for kind in ("feedback", "events", "shown", "examples", "choices", "said"):
        columns, expected = getattr(stream, kind), getattr(again, kind)
        for column in (each.name for each in fields(columns)):
            same = np.array_equal(
                _flat(getattr(columns, column)),
                _flat(getattr(expected, column)),
                equal_nan=column in ("values", "before", "after", "gains"),
            )
            assert same, f"inputs must not be written to: {kind}.{column} has changed"
    keys = stream.item_embeddings.keys
    same = np.array_equal(stream.item_embeddings.of(keys)[0], again.item_embeddings.of(keys)[0])
    assert same, "inputs must not be written to: item_embeddings has changed"


def _flat(column: Any) -> NDArray[Any]:
    """A column as one array; that of slates is an array an element, and some are columns."""
    if isinstance(column, Columns):
        return np.concatenate([_flat(each).ravel() for each in column.columns()])
    arrays = isinstance(column, tuple) and column and isinstance(column[0], np.ndarray)
    return np.concatenate([each.ravel() for each in column]) if arrays else np.asarray(column)


def check_nothing_teaches_nothing(new_models: NewModels, *, n_features: int = 3) -> None:
    """A step may lack any kind of input."""
    models = _made(new_models)
    for stream in (None, made_up(200, seed=6, n_features=n_features)):
        state = new_state(models, bounds=SMALL)
        if stream is not None:
            learn_stream(stream, state, models)
        for model in models:
            assert model.make_room(NOTHING, state) is None, "nothing ahead needs no room"
            model.learn(NOTHING, state, state.shared)
        change = state.collect()
        changed = [*change.withdrawn, *change.ids, *change.tables]
        assert not changed, f"learning nothing must change nothing, it changed {changed}"


def check_contributions_merge_in_any_order(new_models: NewModels, *, n_features: int = 3) -> None:
    """A learner's merged rows = initial values + what each partition contributed."""
    models = _made(new_models)
    shared = SharedState(models)
    streams = [made_up(300, seed=10 + p, n_features=n_features) for p in range(3)]
    states, logs = _side_by_side(models, shared, streams, bounds=LARGE)
    merged = shared_snapshot(shared)
    by_hand = merged_by_hand(models, states)
    rule = "merged rows must be initial values + contributions"
    _assert_same({name: merged[name] for name in by_hand}, by_hand, rule)
    for order in permutations(range(len(states))):
        loaded = SharedState(models)
        for p in order:
            fresh = new_state(models, loaded, bounds=LARGE, partition=p)
            for change in (change for q, change in logs if q == p):
                fresh.apply(change)
        rule = "partitions may be loaded in any order"
        _assert_same(shared_snapshot(loaded), merged, rule)
    # A follower reads the same logs, each in its order, but interleaved otherwise.
    follower = SharedState(models)
    for p, change in sorted(logs, key=lambda log: log[0]):
        follower.apply(p, change)
    _assert_same(shared_snapshot(follower), merged, "logs may be followed in any interleaving")


def check_partitions_that_evict_agree_with_their_logs(
    new_models: NewModels, *, n_features: int = 3
) -> None:
    """What is evicted is withdrawn from the merged rows, for the learner and for a follower."""
    models = _made(new_models)
    shared = SharedState(models)
    streams = [made_up(300, seed=20 + p, n_features=n_features) for p in range(3)]
    states, logs = _side_by_side(models, shared, streams, bounds=SMALL)
    follower = SharedState(models)
    for p, change in logs:
        follower.apply(p, change)
    assert min(state.items.n_evicted for state in states) > 50
    merged = shared_snapshot(shared)
    rule = "a follower of the logs must hold what was learned"
    _assert_same(shared_snapshot(follower), merged, rule)
    by_hand = merged_by_hand(models, states)
    for name, rows in by_hand.items():
        # Cells of decayed counters keep the epoch of what was withdrawn from them.
        if shared.tables[name.removeprefix("merged ")].spec.merge is Merge.SUM:
            rule = "what was evicted must be withdrawn"
            _assert_same({name: merged[name]}, {name: rows}, rule)


def check_evicting_everything_restores_initial_values(
    new_models: NewModels, *, n_features: int = 3
) -> None:
    """An id that is gone leaves nothing behind."""
    models = _made(new_models)
    state = new_state(models, bounds=LARGE)
    learn_stream(made_up(500, seed=7, n_features=n_features), state, models)
    keys = {entity: ids.keys[ids.live_slots()] for entity, ids in state.ids.items()}
    for entity, ids in state.ids.items():
        if entity in state.shared.ids:  # another partition has them, and contributed nothing
            state.shared.acquire(entity, keys[entity])
        state.evict(entity, ids.live_slots())
        assert len(ids) == ids.n_slots == 0, entity
    for model in models:
        for spec in model.tables():
            if spec.entity not in keys:
                continue
            if not spec.shared:
                left = state.own[spec.name].values.any()
                assert not left, f"table {spec.name}: rows of ids that are gone must be zero"
                continue
            rows = state.shared.rows(spec, keys[spec.entity])
            values = state.shared.tables[spec.name].values[rows]
            if spec.merge is Merge.DECAYED:
                values = values[:, 1::2]  # no mantissa is left, whatever its epoch
            initial = model.initial(spec.name, keys[spec.entity])
            same = np.array_equal(
                values, np.broadcast_to(0 if initial is None else initial, values.shape)
            )
            assert same, f"table {spec.name}: with all ids evicted, rows must be at initial()"


def check_finite_after_wild_updates(new_models: NewModels, *, n_features: int = 3) -> None:
    """Rewards up to 10^6 and values far from ratings, 100,000 times over 20 users and 20 items."""
    state = wildly_learned(new_models, n_features=n_features)
    for table in (*state.own.values(), *state.shared.tables.values()):
        assert np.isfinite(table.values).all(), f"table {table.spec.name}: a value is not finite"


def wildly_learned(
    new_models: NewModels, *, n: int = 100_000, n_features: int = 3
) -> PartitionState:
    """A partition after ``n`` wild events."""
    calm = made_up(n, seed=8, n_users=20, n_items=20, n_features=n_features)
    rng = np.random.default_rng(9)
    calm.feedback.rewards[:] = np.sign(calm.feedback.rewards) * np.float32(
        10.0 ** rng.uniform(-3, 6, len(calm.feedback))
    )
    calm.feedback.values[:] *= 10_000
    calm.events.values[:] *= 10_000
    models = _made(new_models)
    state = new_state(models, bounds=LARGE)
    learn_stream(calm, state, models)
    return state


def check_bounds_hold(new_models: NewModels, *, n_features: int = 3) -> None:
    """However many ids come, rows stay within the bounds."""
    models = _made(new_models)
    state = new_state(models, bounds=SMALL)
    stream = made_up(1_500, seed=11, n_users=500, n_items=2_000, n_features=n_features)
    # With bounds so small a batch is learned in parts of a few events, each planned with all that
    # is left of it: in one batch that is most of the work.
    learn_in_batches(stream, state, models, range(50, len(stream), 50))
    for entity, ids in state.ids.items():
        assert len(ids) <= ids.rows_max, f"{len(ids)} ids of {entity}, at most {ids.rows_max}"
    for table in (*state.own.values(), *state.contributions.values()):
        if table.spec.entity in state.ids:
            rows_max = state.ids[table.spec.entity].rows_max
            assert len(table) <= rows_max, f"table {table.spec.name}: more than {rows_max} rows"
    rows_max = max(256, *(ids.rows_max for ids in state.ids.values()))
    for table in state.shared.tables.values():
        # Rows that no id comes with are as many as a model has numbers for.
        bound = rows_max if table.spec.entity in state.shared.ids else _INDEXED_MAX
        assert len(table) <= bound, f"table {table.spec.name}: more than {bound} merged rows"


def check_rescaling_by_nothing_changes_nothing(
    new_models: NewModels, *, n_features: int = 3
) -> None:
    """A learner that is alone takes full steps."""
    models = _made(new_models)
    state = new_state(models, bounds=LARGE)
    learn_stream(made_up(300, seed=12, n_features=n_features), state, models)
    before = snapshot(state)
    for model in models:
        model.rescale(state.shared, [])
    _assert_same(snapshot(state), before, "rescale() by no changes must change nothing")


def _made(new_models: NewModels) -> list[Model]:
    made = new_models()
    return [made] if isinstance(made, Model) else list(made)


def _tables(models: Sequence[Model]) -> list[TableSpec]:
    return [spec for model in models for spec in model.tables()]


def _side_by_side(
    models: Sequence[Model], shared: SharedState, streams: Sequence[Stream], *, bounds: Bounds
) -> tuple[list[PartitionState], list[tuple[int, Change]]]:
    """Partitions of one learner, a fifth of each learned in turn; their states and their log."""
    states = [new_state(models, shared, bounds=bounds, partition=p) for p in range(len(streams))]
    log = []
    for turn in range(5):
        for p, (stream, state) in enumerate(zip(streams, states, strict=True)):
            start, end = (len(stream) * t // 5 for t in (turn, turn + 1))
            changes = learn_stream(stream, state, models, start=start, end=end)
            log += [(p, change) for change in changes]
    return states, log


def _assert_same(found: Snapshot, expected: Snapshot, rule: str) -> None:
    for table, rows in expected.items():
        differing = sorted(
            key for key in {*rows, *found[table]} if rows.get(key) != found[table].get(key)
        )
        assert not differing, (
            f"{rule}: table {table!r} differs in {len(differing)} of {len(rows)} rows, the first"
            f" with key {differing[0]:016x}"
        )


MODEL_CHECKS: list[ModelCheck] = [
    check_tables,
    check_tables_are_learned,
    check_inputs_are_not_written_to,
    check_nothing_teaches_nothing,
    check_rescaling_by_nothing_changes_nothing,
    check_seeded_runs_are_bit_identical,
    check_a_reload_changes_nothing,
    check_batches_may_end_anywhere,
    check_contributions_merge_in_any_order,
    check_partitions_that_evict_agree_with_their_logs,
    check_evicting_everything_restores_initial_values,
    check_bounds_hold,
    check_finite_after_wild_updates,
]
"""Every check, in the order of :func:`check_model`."""
