"""A row store answers like a dict, and what it published stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.replica.row_store import CHUNK_BITS, RowStore, RowView
from streamer_models.state.table import Merge, TableSpec, fold, recent_keys
from streamer_models.state.top_rows import Ranked

CHUNK_ROWS = 1 << CHUNK_BITS
PLAIN = TableSpec("plain", "user", Merge.REPLACE, "f4", 2)


def told(view: RowView, n_rows: int) -> dict[int, list[float]]:
    rows = {row: view.row(row) for row in range(n_rows)}
    return {row: found.tolist() for row, found in rows.items() if found is not None}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1_000), n_rows=st.integers(1, 3_000))
def test_like_a_dict_at_any_time(seed: int, n_rows: int) -> None:
    rng = np.random.default_rng(seed)
    store, expected = RowStore(PLAIN), dict[int, list[float]]()
    store.reserve(n_rows)
    published = []
    for step in range(25):
        rows = rng.permutation(n_rows)[: rng.integers(n_rows + 1)].astype(np.int32)
        values = rng.integers(100, size=(len(rows), 2)).astype(np.float32)
        store.put(rows, values)
        expected |= dict(zip(rows.tolist(), values.tolist(), strict=True))
        dropped = rng.integers(n_rows, size=n_rows // 20).astype(np.int32)
        store.drop(np.unique(dropped))
        for row in dropped.tolist():
            expected.pop(row, None)
        published.append((store.publish(n_rows), dict(expected)))
        assert told(published[step][0], n_rows) == expected
    for view, then in published:
        assert told(view, n_rows) == then


def test_space_is_bounded_by_what_is_alive() -> None:
    store = RowStore(PLAIN)
    store.reserve(10_000)
    rows = np.arange(10_000, dtype=np.int32)
    for value in range(40):
        store.put(rows, np.full((10_000, 2), value, dtype=np.float32))
    n_chunks = sum(chunk is not None for chunk in store.publish(10_000).chunks)
    assert n_chunks * CHUNK_ROWS <= 2 * 10_000 + 3 * CHUNK_ROWS


def test_hot_rows_do_not_strand_the_space_of_cold_ones() -> None:
    store = RowStore(PLAIN)
    store.reserve(10_000)
    store.put(np.arange(10_000, dtype=np.int32), np.ones((10_000, 2), dtype=np.float32))
    hot = np.arange(0, 10_000, 50, dtype=np.int32)
    for value in range(2, 600):
        store.put(hot, np.full((len(hot), 2), value, dtype=np.float32))
    view = store.publish(10_000)
    assert sum(chunk is not None for chunk in view.chunks) * CHUNK_ROWS <= 2 * 10_000 + 12_288
    assert told(view, 10_000) == {
        row: [599.0 if row % 50 == 0 else 1.0] * 2 for row in range(10_000)
    }


def test_changes_of_one_row_apply_in_order() -> None:
    store = RowStore(TableSpec("recent", "user", Merge.RECENT, "u8", 4))
    store.reserve(2)
    keys = np.array([[10], [20], [11], [12], [13]], dtype=np.uint64)
    store.merge(np.array([0, 1, 0, 0, 0], dtype=np.int32), keys)
    view = store.publish(2)
    assert [recent_keys(row).tolist() for row in (view.row(0), view.row(1)) if row is not None] == [
        [13, 12, 11],
        [20],
    ]


@pytest.mark.parametrize("chunk_bits", [1, 3, 12])
def test_merging_equals_folding_into_one_array_wherever_chunks_end(chunk_bits: int) -> None:
    spec = TableSpec("neighbours", "item", Merge.NEIGHBOURS, "u8", 2 * 3)
    store, expected = RowStore(spec, chunk_bits=chunk_bits), np.zeros((20, 6), dtype=np.uint64)
    store.reserve(20)
    rng = np.random.default_rng(chunk_bits)
    published = []
    for _ in range(40):
        rows = rng.integers(1, 20, 15).astype(np.int32)
        cells = rng.integers(1, 9, (15, 2)).astype(np.uint64)
        store.merge(rows, cells)
        fold(spec, expected, rows, cells)
        published.append((store.publish(20), expected.copy()))
    asked = np.array([3, -1, 19, 25, 0, 3], dtype=np.int32)
    for view, then in published:
        copies = np.full((20, 6), 7, dtype=np.uint64)
        view.copy(np.arange(20, dtype=np.int32), copies)
        written = (then > 0).sum(axis=1) > 0
        np.testing.assert_array_equal(copies[written], then[written])
        assert (copies[~written] == 7).all()
        present, rows_found = view.rows(asked)
        there = [i for i in (0, 2, 5) if written[asked[i]]]
        assert present.tolist() == there
        np.testing.assert_array_equal(rows_found, then[asked[there]])


def test_packing_renumbers_and_leaves_old_versions_alone() -> None:
    store = RowStore(PLAIN)
    store.reserve(4)
    store.put(np.arange(3, dtype=np.int32), np.array([[0, 0], [1, 1], [2, 2]], dtype=np.float32))
    before = store.publish(4)
    store.drop(np.array([1], dtype=np.int32))
    store.pack(np.array([0, 2, 3], dtype=np.int32))
    for value in range(3 * CHUNK_ROWS):  # until chunks are cleaned by their new numbers
        store.put(np.array([0], dtype=np.int32), np.full((1, 2), value, dtype=np.float32))
    last = float(3 * CHUNK_ROWS - 1)
    assert told(store.publish(3), 3) == {0: [last, last], 1: [2.0, 2.0]}
    assert told(before, 4) == {0: [0.0, 0.0], 1: [1.0, 1.0], 2: [2.0, 2.0]}


@pytest.mark.parametrize("row", [5, 5_000])
def test_a_row_that_was_never_written_is_absent(row: int) -> None:
    store = RowStore(PLAIN)
    store.reserve(10)
    assert store.publish(10).row(row) is None


def test_what_was_noted_before_packing_is_ranked_by_the_new_numbers() -> None:
    counts = TableSpec("counts", "item", Merge.SUM, "i8", 1)
    store, rows = RowStore(counts, ranked=Ranked(length=4)), np.arange(600, dtype=np.int32)
    keys = np.arange(600, dtype=np.uint64)
    store.reserve(600)
    store.put(rows, np.arange(1, 601, dtype=np.int64)[:, None])
    store.publish(600, keys)
    kept, gone = rows[rows % 100 < 2], rows[rows % 100 >= 2]
    store.merge(gone, np.full((len(gone), 1), 1_000, dtype=np.int64))
    store.drop(gone)
    store.pack(kept)
    keys[: len(kept)] = keys[kept]
    tops = store.publish(len(kept), keys).tops
    assert tops is not None
    assert tops.rows.tolist() == [[11, 10, 9, 8]]
    assert tops.n_above == len(kept)
