"""Tables of a model that the scorer has never heard of are merged, published and read like any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from streamer.replica import id_rows
from streamer.replica.merged_state import MergedState
from streamer.replica.metrics import ReplicaMetrics
from streamer.replica.replica import Replica
from streamer.replica.tables import Tables
from streamer.simulation.broker import ManualClock
from streamer_models.counters.decay import add_decayed, decayed_values
from streamer_models.counters.popularity import Popularity
from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.factorization.mf import ImplicitMF
from streamer_models.state.decayed_cells import CELLS_WIDTH
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.readable import (
    Readable,
    ReadColumns,
    ReadDecayed,
    ReadFactors,
    ReadLists,
    ReadRows,
)
from streamer_models.state.shared import SharedState
from streamer_models.state.table import (
    FIXED_POINT_UNIT,
    ID_ENTITIES,
    ITEM,
    USER,
    Array,
    Keys,
    Merge,
    Slots,
    TableSpec,
)
from tests.scoring import HOUR_MS, START_MS, Click, Partitions

HALF_LIVES = np.array([2 * HOUR_MS, 24 * HOUR_MS])
N_INDICES = 7
N_NEIGHBOURS = 6
"""So few that many fall off a list."""
N_PARTITIONS_MAX = 3

Merged = dict[str, dict[int, NDArray[np.float64]]]
"""By table and key: what a reader makes of the row."""


def _spec(entity: str, merge: Merge, dtype: str, width: int, suffix: str = "") -> TableSpec:
    return TableSpec(f"made_up_{entity}_{merge}{suffix}", entity, merge, dtype, width)


class MadeUp(Model):
    """One table of each merge kind over users, items and plain indices, in all ways of reading."""

    def __init__(self) -> None:
        self.own = [
            ReadRows(_spec(USER, Merge.REPLACE, "f4", 3)),
            ReadRows(_spec(USER, Merge.RECENT, "u8", 1 + 4)),
        ]
        cells_width, half_lives = CELLS_WIDTH * len(HALF_LIVES), tuple(HALF_LIVES.tolist())
        self.merged: list[Readable] = []
        for entity in (USER, "slot", ITEM):
            decayed = _spec(entity, Merge.DECAYED, "i8", cells_width, "_columns")
            numbers = _spec(entity, Merge.SUM, "i8", 2, "_columns")
            # Those of the last entity, items, are asked for by name below.
            self.numbers = ReadColumns(numbers, units=(1.0, 0.25), totalled=True)
            self.decayed = ReadDecayed(decayed, half_lives, totalled=True)
            self.merged += [
                ReadRows(_spec(entity, Merge.MAX, "i8", 2)),
                ReadRows(_spec(entity, Merge.SUM, "i8", 2), many_at_once=True),
                ReadRows(_spec(entity, Merge.DECAYED, "i8", cells_width)),
                self.numbers,
                self.decayed,
                ReadFactors(_spec(entity, Merge.SUM, "i4", 4, "_factors")),
            ]
        self.lists = [
            ReadLists(_spec(entity, Merge.NEIGHBOURS, "u8", 2 * N_NEIGHBOURS))
            for entity in (USER, ITEM)
        ]

    def settings(self) -> Mapping[str, Any]:
        return {}

    def tables(self) -> Sequence[TableSpec]:
        return [reading.spec for reading in self.readable()]

    def readable(self) -> Sequence[Readable]:
        return [*self.own, *self.merged, *self.lists]

    def initial(self, table: str, keys: Keys) -> Array | None:
        """Factors and sums of new ids are not zero."""
        spec = next(spec for spec in self.tables() if spec.name == table)
        if spec.merge is not Merge.SUM:
            return None
        return (keys[:, np.newaxis] % np.uint64(97) + np.arange(spec.width)).astype(spec.dtype)

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Change rows of the users, of the items and of some indices at random."""
        batch = inputs.feedback
        rng = np.random.default_rng(int(batch.offsets[0]))
        slots_of = {
            USER: batch.user_slots,
            ITEM: batch.item_slots,
            "slot": rng.integers(N_INDICES, size=len(batch)).astype(np.int32),
        }
        for spec in self.tables():
            table = (state.contributions if spec.shared else state.own)[spec.name]
            if spec.entity == "slot":
                table.reserve(N_INDICES)
            slots = slots_of[spec.entity]
            if spec.merge in (Merge.RECENT, Merge.NEIGHBOURS):
                table.merge(slots, self._changes(spec, len(slots), rng))
                continue
            table.touch(slots)
            self._write(spec, table.values, slots, batch.ts_ms, rng)

    @staticmethod
    def _changes(spec: TableSpec, n: int, rng: np.random.Generator) -> Array:
        changes = np.zeros((n, spec.change_width), dtype=spec.dtype)
        changes[:, 0] = rng.integers(1, 20, n)  # a key
        if spec.merge is Merge.NEIGHBOURS:
            changes[:, 1] = rng.integers(0, 5, n)
        return changes

    @staticmethod
    def _write(
        spec: TableSpec, values: Array, slots: Slots, ts_ms: Array, rng: np.random.Generator
    ) -> None:
        if spec.merge is Merge.DECAYED:
            weights = rng.integers(1, 4, len(slots)).astype(np.float32)
            add_decayed(values, slots, ts_ms, weights, HALF_LIVES)
            return
        changes = rng.integers(1, 1_000, (len(slots), spec.width)).astype(spec.dtype)
        if spec.merge is Merge.SUM:
            np.add.at(values, slots, changes)
        elif spec.merge is Merge.MAX:
            np.maximum.at(values, slots, changes)
        else:
            values[slots] = changes


# --- what it should be: made of what the partitions hold ------------------------------------------


def brute_force(model: MadeUp, states: Sequence[PartitionState], at_ms: int) -> Merged:
    """Every table of the merged rows of every id that lives, by loops over partitions."""
    expected: Merged = {}
    for reading in model.readable():
        spec = reading.spec
        held: dict[int, list[Array]] = {}
        if spec.merge is Merge.NEIGHBOURS:
            expected[spec.name] = side_by_side(spec, states)
            continue
        for state in states:
            table = (state.contributions if spec.shared else state.own)[spec.name]
            for key, slot in _live(spec, state).items():
                held.setdefault(key, []).append(table.values[slot])
        start = dict.fromkeys(held, np.zeros(spec.width))
        keys = np.array(list(held), dtype=np.uint64)
        initial = model.initial(spec.name, keys) if spec.entity in ID_ENTITIES else None
        if initial is not None:
            start = dict(zip(held, initial, strict=True))
        rows = {key: _merged(spec.merge, start[key], each) for key, each in held.items()}
        expected[spec.name] = {key: as_read(reading, row, at_ms) for key, row in rows.items()}
    return expected


def side_by_side(
    spec: TableSpec, states: Sequence[PartitionState]
) -> dict[int, NDArray[np.float64]]:
    """Lists of all ids, those of one partition beside those of the other, zeros where it has none;
    as the partitions hold them."""
    lists: dict[int, NDArray[np.float64]] = {}
    for p, state in enumerate(states):
        for key, slot in _live(spec, state).items():
            of_all = lists.setdefault(key, _padded(np.zeros((0, spec.width))))
            of_all[p] = state.own[spec.name].values[slot]
    return lists


def _padded(lists: Array) -> NDArray[np.float64]:
    padded = np.zeros((N_PARTITIONS_MAX, 2 * N_NEIGHBOURS))
    padded[: len(lists)] = lists
    return padded


def _live(spec: TableSpec, state: PartitionState) -> dict[int, int]:
    if spec.entity not in ID_ENTITIES:
        return (
            {i: i for i in range(N_INDICES)} if len(state.own[f"made_up_slot_{Merge.MAX}"]) else {}
        )
    ids = state.ids[spec.entity]
    return {int(ids.keys[slot]): slot for slot in ids.live_slots().tolist()}


def _merged(merge: Merge, start: Array, rows: Sequence[Array]) -> Array:
    if merge is Merge.SUM:
        return np.asarray(start + np.sum(rows, axis=0))
    if merge is Merge.MAX:
        return np.asarray(np.max(rows, axis=0))
    if merge is Merge.DECAYED:
        merged = []
        for cell in range(0, len(start), 2):
            epoch = max(int(row[cell]) for row in rows)
            merged += [epoch, sum(int(row[cell + 1]) for row in rows if row[cell] == epoch)]
        return np.array(merged)
    (row,) = rows  # a user is in one partition
    return row


def as_read(reading: Readable, row: Array, at_ms: int) -> NDArray[np.float64]:
    """What a row says: of cells the counts at a time."""
    if reading.spec.merge is Merge.DECAYED:
        at = decayed_values(row[np.newaxis].astype(np.int64), HALF_LIVES, at_ms)[0]
        kept = np.float32 if isinstance(reading, ReadDecayed) else np.float64
        return np.asarray(at.astype(kept), dtype=np.float64)
    if isinstance(reading, ReadColumns):
        return np.asarray(row * np.array(reading.units))
    if isinstance(reading, ReadFactors):
        return np.asarray(row * FIXED_POINT_UNIT)
    return row.astype(np.float64)


# --- what it is -----------------------------------------------------------------------------------


def told(tables: Tables, model: MadeUp, at_ms: int) -> Merged:
    """Every row that lives of every table, as a reader who knows nothing but the model reads it."""
    found: Merged = {}
    for reading in model.readable():
        ids = tables.ids(reading)
        rows = np.flatnonzero(ids.live).astype(np.int32)
        assert ids.map.find(ids.keys[rows]).tolist() == rows.tolist()
        values = _read(tables, reading, rows, at_ms)
        found[reading.spec.name] = dict(zip(ids.keys[rows].tolist(), values, strict=True))
    return found


def _read(tables: Tables, reading: Readable, rows: Slots, at_ms: int) -> Sequence[Array]:
    if isinstance(reading, ReadLists):
        lists = tables.read(reading).lists(tables.ids(reading).keys[rows])
        return [_padded(each) for each in lists.swapaxes(0, 1)]
    if isinstance(reading, ReadRows):
        written, values = tables.read(reading).rows(rows)
        stored = np.zeros((len(rows), reading.spec.width), dtype=reading.spec.dtype)
        if len(written):
            stored[written] = values
        return [as_read(reading, row, at_ms) for row in stored]
    if isinstance(reading, ReadFactors):
        view = tables.read(reading)
        return list(np.column_stack([view.rows(rows), view.biases[rows]]).astype(np.float64))
    if isinstance(reading, ReadDecayed):
        assert tables.read(reading).at_ms == at_ms
    return list(tables.read(reading).values[rows].astype(np.float64))


def assert_equal(found: Merged, expected: Merged) -> None:
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert found[name].keys() == rows.keys(), name
        for key, row in rows.items():
            np.testing.assert_array_equal(found[name][key], row, err_msg=f"{name} {key}")


# --- the same -------------------------------------------------------------------------------------


def replica_of(learned: Partitions) -> Replica:
    return Replica(
        store=learned.store,
        models=learned.models,
        n_partitions=len(learned.states),
        clock=ManualClock(START_MS),
        metrics=ReplicaMetrics(CollectorRegistry()),
    )


def some_clicks(rng: np.random.Generator, partition: int, step: int, n: int) -> list[Click]:
    """Of users of a partition's own, on items of all: most of them come, and go for good. Times are
    within two epochs of each half-life, as far as cells remember."""
    users = step * n // 2 + rng.integers(n, size=n)
    items = step * n // 2 + rng.integers(n, size=n)
    often = rng.random(n) < 0.2
    users[often], items[often] = users[often] % 5, items[often] % 9
    return [
        Click(f"u{partition}-{user}", f"i{item}", START_MS + int(ms))
        for user, item, ms in zip(users, items, rng.integers(30 * HOUR_MS, size=n), strict=True)
    ]


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_following_and_loading_equal_the_brute_force(
    n_partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through evictions, withdrawals, checkpoints and packing; versions stay as they were."""
    monkeypatch.setattr(id_rows, "_ROWS_MIN", 64)
    model = MadeUp()
    learned = Partitions(n_partitions, models=[model], bounds=Bounds(users_max=40, items_max=50))
    replica = replica_of(learned)
    replica.load()
    rng = np.random.default_rng(7)
    kept = []
    for step in range(27):
        partition = int(rng.integers(n_partitions))
        learned.commit(partition, some_clicks(rng, partition, step, 40))
        if step % 7 == 3:
            learned.checkpoint(partition)
        if step % 3 != 2:
            continue  # the next time, several commits at once
        while replica.follow(timeout_s=0):
            pass
        tables = replica.current().tables
        at_ms = tables.read(model.decayed).at_ms
        found = told(tables, model, at_ms)
        assert_equal(found, brute_force(model, learned.states, at_ms))
        kept.append((tables, at_ms, found))
    assert len({tables.of_entity(ITEM).generation for tables, _, _ in kept}) > 1
    assert len({tables.of_entity(USER).generation for tables, _, _ in kept}) > 1
    assert min(state.items.n_evicted for state in learned.states) > 50
    fresh = replica_of(learned)
    fresh.load()
    assert fresh.current().model(MadeUp) is model
    tables, at_ms, found = kept[-1]
    assert_equal(told(fresh.current().tables, model, at_ms), found)
    for tables, at_ms, found in kept:
        assert_equal(told(tables, model, at_ms), found)


def test_totals_are_the_sums_over_all_rows() -> None:
    model = MadeUp()
    learned = Partitions(2, models=[model], bounds=Bounds(users_max=20, items_max=30))
    replica = replica_of(learned)
    rng = np.random.default_rng(3)
    for step in range(6):
        learned.commit(step % 2, some_clicks(rng, step % 2, step, 30))
    replica.load()
    tables = replica.current().tables
    states, decayed = learned.states, tables.read(model.decayed)
    held = [state.contributions[model.numbers.spec.name].values.sum(axis=0) for state in states]
    np.testing.assert_array_equal(
        tables.read(model.numbers).totals, np.sum(held, axis=0) * model.numbers.units
    )
    each = decayed.values[decayed.ids.live].astype(np.float64)
    np.testing.assert_allclose(decayed.totals, each.sum(axis=0), rtol=1e-6)


def test_what_no_model_declares_so_is_refused() -> None:
    model, other = MadeUp(), Popularity()
    tables = replica_of(Partitions(1, models=[model])).current().tables
    with pytest.raises(KeyError, match="must name it in readable"):
        tables.read(other.counts)
    with pytest.raises(KeyError, match="made_up_item_sum_columns"):
        tables.read(ReadRows(model.numbers.spec))  # it is read in columns


def test_rows_of_several_partitions_need_a_way_to_merge() -> None:
    for merge in (Merge.REPLACE, Merge.RECENT, Merge.NEIGHBOURS):
        with pytest.raises(ValueError, match="does not say how to merge"):
            ReadRows(_spec(ITEM, merge, "u8", 5))
    with pytest.raises(ValueError, match="its merge kind must be sum, not neighbours"):
        ReadColumns(_spec(ITEM, Merge.NEIGHBOURS, "u8", 4))
    with pytest.raises(ValueError, match="its merge kind must be neighbours, not sum"):
        ReadLists(_spec(ITEM, Merge.SUM, "i8", 4))
    with pytest.raises(ValueError, match="1 units for 2 columns"):
        ReadColumns(_spec(ITEM, Merge.SUM, "i8", 2), units=(1.0,))
    with pytest.raises(ValueError, match="factors are i4, not i8"):
        ReadFactors(_spec(ITEM, Merge.SUM, "i8", 4))
    with pytest.raises(ValueError, match="its merge kind must be decayed, not sum"):
        ReadDecayed(_spec(ITEM, Merge.SUM, "i8", 4), (1_000,))


def test_a_reading_of_a_table_that_a_model_does_not_have_is_refused() -> None:
    class Wrong(MadeUp):
        def readable(self) -> Sequence[Readable]:
            return [Popularity().counts]

        def tables(self) -> Sequence[TableSpec]:
            return []

    with pytest.raises(ValueError, match=r"Wrong declares ReadColumns.*none of its tables"):
        MergedState([Wrong()])


def test_each_factorization_is_read_by_its_own_kind() -> None:
    learned = Partitions(1, models=[ImplicitMF(n_factors=3), BiasedMF(n_factors=5)])
    replica = replica_of(learned)
    learned.commit(0, [Click("u", "a", rating=4.0), Click("u", "b", rating=1.0)])
    replica.load()
    version = replica.current()
    row = version.users.map.find_one(id_key(b"u"))
    kinds: list[tuple[type[ImplicitMF | BiasedMF], int]] = [(ImplicitMF, 3), (BiasedMF, 5)]
    for kind, n_factors in kinds:
        factors = version.factors(kind)
        assert factors is not None
        p, scores = factors.user(row), factors.scores(row)
        assert p is not None
        assert p.shape == (n_factors,)
        assert scores is not None
        at = np.arange(version.items.n_rows, dtype=np.int32)
        wanted = factors.items.rows(at) @ p + factors.items.biases[at]
        np.testing.assert_allclose(scores, wanted, rtol=1e-5)  # processors sum differently
        assert factors.scores(-1) is None
