"""Tables: growth, what changed, and how changes merge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_models.state.table import (
    Array,
    Merge,
    Table,
    TableSpec,
    TouchedSlots,
    check_specs,
    empty_rows,
    fold,
    recent_keys,
)


def _slots(*slots: int) -> Array:
    return np.array(slots, dtype=np.int32)


def _spec(merge: Merge, dtype: str = "i8", width: int = 2) -> TableSpec:
    return TableSpec("table", "item", merge, dtype, width)


def test_rows_are_kept_while_it_grows_and_bounded() -> None:
    table = Table(_spec(Merge.REPLACE), rows_max=300)
    table.reserve(10)
    table.values[9] = 7
    table.reserve(257)
    assert len(table) == 300  # doubling stops at the bound
    assert table.values[9].tolist() == [7, 7]
    assert not table.values[10:].any()
    with pytest.raises(ValueError, match="301 rows asked for, at most 300"):
        table.reserve(301)


def test_touched_slots_are_a_set_in_order_of_first_touch() -> None:
    touched = TouchedSlots()
    touched.reserve(10)
    touched.add(_slots(3, -1, 5, 3))
    assert touched.slots().tolist() == [3, 5]
    touched.add(_slots(5, 1))
    assert touched.slots().tolist() == [3, 5, 1]
    touched.clear()
    assert len(touched) == 0
    touched.add(_slots(5))
    assert touched.slots().tolist() == [5]


def test_a_replaced_row_is_its_own_change() -> None:
    table = Table(_spec(Merge.REPLACE, "f4"), rows_max=10)
    table.reserve(10)
    table.touch(_slots(2, 2, 1))
    table.values[2] = (1.5, 2)
    slots, values = table.changes()
    assert slots.tolist() == [2, 1]
    assert values.tolist() == [[1.5, 2], [0, 0]]
    table.settle()
    assert len(table.changes()[0]) == 0


def test_a_sum_changes_by_the_difference_and_wraps_back() -> None:
    table = Table(_spec(Merge.SUM, "i4"), rows_max=10)
    table.reserve(10)
    table.values[4] = (2**31 - 1, -5)
    table.touch(_slots(4))
    table.touch(_slots(4))  # a second touch must not forget where the row started
    table.values[4] = (-(2**31), -7)
    slots, changes = table.changes()
    other = np.zeros((10, 2), dtype=np.int32)
    other[4] = (2**31 - 1, -5)
    fold(table.spec, other, slots, changes)
    np.testing.assert_array_equal(other, table.values)


def test_a_share_of_what_was_added_is_kept() -> None:
    table = Table(_spec(Merge.SUM, "i4"), rows_max=10)
    table.reserve(10)
    table.values[:] = 100
    table.touch(_slots(7, 3))
    table.values[7] = (200, 0)
    table.values[3] = (101, 100)
    table.scale_changes(np.array([0, 1]), np.array([[0.5, 0.25], [0.4, 1.0]]))
    assert table.values[7].tolist() == [150, 75]
    assert table.values[3].tolist() == [100, 100]
    assert (np.delete(table.values, [7, 3], axis=0) == 100).all()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1)
        ),
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)
def test_decayed_changes_merge_in_any_order(batches, random) -> None:  # type: ignore[no-untyped-def]
    """Two owners learn batches; a reader that folds both logs interleaved gets what is right."""
    spec = _spec(Merge.DECAYED)
    owners = [Table(spec, rows_max=1) for _ in range(2)]
    logs: list[list[Array]] = [[], []]
    for owner in owners:
        owner.reserve(1)
    for at, events in batches:
        owners[at].touch(_slots(0))
        for event in events:
            fold(spec, owners[at].values, _slots(0), np.array([event]))
        logs[at].append(owners[at].changes()[1])
        owners[at].settle()
    follower = np.zeros((1, 2), dtype=np.int64)
    queues = [list(log) for log in logs]
    while any(queues):
        queue = random.choice([queue for queue in queues if queue])
        fold(spec, follower, _slots(0), queue.pop(0))
    everything = [event for _, events in batches for event in events]
    newest = max((epoch for epoch, _ in everything), default=0)
    assert follower[0].tolist() == [newest, sum(m for epoch, m in everything if epoch == newest)]


def test_rings_keep_the_newest_first() -> None:
    table = Table(_spec(Merge.RECENT, "u8", 4), rows_max=5)
    table.reserve(5)
    keys = np.array([[2**64 - 1], [2], [3], [4], [5]], dtype=np.uint64)
    table.merge(_slots(0, 1, 0, 0, 0), keys)
    assert recent_keys(table.values[0]).tolist() == [5, 4, 3]
    assert recent_keys(table.values[1]).tolist() == [2]
    assert recent_keys(table.values[2]).tolist() == []
    slots, changes = table.changes()
    again = np.zeros_like(table.values)
    fold(table.spec, again, slots, changes)
    np.testing.assert_array_equal(again, table.values)


def test_a_layout_that_cannot_be_is_refused() -> None:
    check_specs([_spec(Merge.SUM)])
    with pytest.raises(ValueError, match="'table' is used twice"):
        check_specs([_spec(Merge.SUM), _spec(Merge.REPLACE)])
    with pytest.raises(ValueError, match="width 3 must be even"):
        check_specs([_spec(Merge.DECAYED, width=3)])
    with pytest.raises(ValueError, match="width 3 must be even"):
        check_specs([_spec(Merge.NEIGHBOURS, "u8", width=3)])
    with pytest.raises(ValueError, match=r"neighbour lists are u8 rows of ids .*, not i8 rows"):
        check_specs([_spec(Merge.NEIGHBOURS)])


def test_no_rows_have_the_right_shape() -> None:
    ring = _spec(Merge.RECENT, "u8", 9)
    assert empty_rows(ring).values.shape == (0, 1)
    assert empty_rows(ring, change=False).values.shape == (0, 9)
    assert empty_rows(ring).values.dtype == np.uint64
    assert empty_rows(_spec(Merge.NEIGHBOURS, "u8", 20)).values.shape == (0, 2)
