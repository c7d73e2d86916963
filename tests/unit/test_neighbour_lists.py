"""Bounded neighbour lists: the fold against a plain dict, and lists of several partitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_models.state.ids.key_map import KeyMap
from streamer_models.state.keyed_rows import KeyedRows
from streamer_models.state.partition_lists import PartitionLists
from streamer_models.state.table import ITEM, Array, Merge, Rows, Table, TableSpec, fold

Cell = tuple[int, int]


def _spec(length: int) -> TableSpec:
    return TableSpec("neighbours", ITEM, Merge.NEIGHBOURS, "u8", 2 * length)


def _cells(cells: list[Cell]) -> Array:
    return np.array(cells, dtype=np.uint64).reshape(-1, 2)


def _keys(*keys: int) -> Array:
    return np.array(keys, dtype=np.uint64)


def by_dict(cells: list[Cell], length: int) -> dict[int, int]:
    """The rule as it is stated; a dict is in order of arrival, and so is the first of several
    smallest entries, but where a newcomer took the place of another."""
    places: list[Cell] = []
    for key, weight in cells:
        known = [i for i, (other, _) in enumerate(places) if other == key]
        if not weight:
            continue
        if known:
            places[known[0]] = key, places[known[0]][1] + weight
        elif len(places) < length:
            places.append((key, weight))
        else:
            weights = [other for _, other in places]
            places[weights.index(min(weights))] = key, weight
    return dict(places)


def folded(row: Array) -> dict[int, int]:
    """The neighbours of a row, in the order of their places."""
    keys, weights = row.reshape(2, -1)
    n = int((weights > 0).sum())
    assert not weights[n:].any(), "taken places come first"
    return dict(zip(keys[:n].tolist(), weights[:n].tolist(), strict=True))


@given(
    st.integers(1, 5),
    # Key 0 is what empty places hold.
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8), st.integers(0, 4)), max_size=60),
)
def test_cells_fold_as_the_rule_says(length: int, cells: list[tuple[int, int, int]]) -> None:
    values = np.zeros((2, 2 * length), dtype=np.uint64)
    slots = np.array([slot for slot, _, _ in cells], dtype=np.int32)
    fold(_spec(length), values, slots, _cells([(key, weight) for _, key, weight in cells]))
    for row in range(2):
        expected = by_dict([(key, weight) for slot, key, weight in cells if slot == row], length)
        assert list(folded(values[row]).items()) == list(expected.items())


@pytest.mark.parametrize("length", [63, 64, 65, 200])
def test_long_lists_are_looked_through_to_their_ends(length: int) -> None:
    rng = np.random.default_rng(length)
    cells = np.column_stack([rng.integers(0, 3 * length, 4_000), rng.integers(0, 50, 4_000)])
    values = np.zeros((1, 2 * length), dtype=np.uint64)
    start = 0
    for end in (length // 2, length, 2 * length, len(cells)):
        part = cells[start:end].astype(np.uint64)
        fold(_spec(length), values, np.zeros(len(part), dtype=np.int32), part)
        expected = by_dict(list(map(tuple, cells[:end].tolist())), length)
        assert list(folded(values[0]).items()) == list(expected.items())
        start = end


def test_a_newcomer_starts_at_its_own_weight() -> None:
    values = np.zeros((1, 4), dtype=np.uint64)
    slots = np.zeros(4, dtype=np.int32)
    fold(_spec(2), values, slots, _cells([(7, 9), (8, 5), (9, 1), (2**64 - 1, 3)]))
    assert folded(values[0]) == {7: 9, 2**64 - 1: 3}


def test_a_table_remembers_its_cells_in_order() -> None:
    table = Table(_spec(2), rows_max=4)
    table.reserve(4)
    slots = np.array([3, 1, 3, 3], dtype=np.int32)
    table.merge(slots[:2], _cells([(5, 1), (6, 2)]))
    table.merge(slots[2:], _cells([(5, 4), (7, 8)]))
    assert table.changed
    changed, cells = table.changes()
    assert changed.tolist() == slots.tolist()
    again = np.zeros_like(table.values)
    fold(table.spec, again, changed, cells)
    np.testing.assert_array_equal(again, table.values)
    assert folded(table.values[3]) == {5: 5, 7: 8}
    table.settle()
    assert not table.changed


def test_rows_by_key_are_zero_again_once_dropped() -> None:
    rows = KeyedRows(_spec(2))
    rows.fold(_keys(40, 50, 40), _cells([(1, 1), (2, 2), (3, 3)]))
    rows.drop(_keys(50, 60))
    rows.fold(_keys(70), _cells([(4, 4)]))  # maybe where the other was
    found = np.full((4, 4), 9, dtype=np.uint64)
    rows.take(_keys(40, 50, 60, 70), found)
    assert [folded(row) for row in found] == [{1: 1, 3: 3}, {}, {}, {4: 4}]


def test_lists_of_all_partitions_stand_side_by_side_by_rising_number() -> None:
    spec = _spec(2)
    lists = PartitionLists(spec)
    assert lists.read(_keys(10, 20)).shape == (0, 2, 4)
    table, slots = Table(spec, rows_max=4), KeyMap()
    lists.fold(5, Rows(_keys(10, 20), _cells([(1, 1), (2, 2)])))
    lists.own(3, table, slots)
    lists.load(1, Rows(_keys(20), np.array([[7, 0, 9, 0]], dtype=np.uint64)))
    slots.insert(_keys(10), np.array([2], dtype=np.int32))
    table.reserve(3)
    table.merge(np.array([2], dtype=np.int32), _cells([(8, 3)]))
    found = [[folded(row) for row in of] for of in lists.read(_keys(10, 20, 30))]
    assert found == [[{}, {7: 9}, {}], [{8: 3}, {}, {}], [{1: 1}, {2: 2}, {}]]
    lists.drop(5, _keys(20))
    lists.drop(4, _keys(20))
    table.merge(np.array([2], dtype=np.int32), _cells([(8, 1)]))
    found = [[folded(row) for row in of] for of in lists.read(_keys(10, 20, 30))]
    assert found == [[{}, {7: 9}, {}], [{8: 4}, {}, {}], [{1: 1}, {}, {}]]
    with pytest.raises(AssertionError, match="partition 3 is owned"):
        lists.fold(3, Rows(_keys(10), _cells([(1, 1)])))
