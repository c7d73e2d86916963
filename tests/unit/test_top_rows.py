"""The greatest rows are what sorting all rows gives, whatever changed and in whatever order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_models.counters.decay import add_decayed
from streamer_models.state.table import Array, Keys, Slots
from streamer_models.state.top_rows import Ranked, TopRows

N_ROWS, LENGTH = 40, 4
KEYS: Keys = np.random.default_rng(0).permutation(N_ROWS).astype(np.uint64)

change = st.tuples(st.integers(0, N_ROWS - 1), st.integers(0, 1), st.integers(-3, 4))


def _greatest(values: Array, counter: int) -> list[int]:
    order = sorted(range(len(values)), key=lambda row: (-values[row, counter], KEYS[row]))
    return [row for row in order if values[row, counter] > 0][:LENGTH]


def _listed(rows: Slots) -> list[int]:
    return [row for row in rows.tolist() if row >= 0]


def _looked_at(tops: TopRows, values: Array, rows: list[int]) -> None:
    changed = np.unique(np.array(rows, dtype=np.int32))
    tops.update(changed, values[changed], KEYS)
    if tops.is_short():
        tops.remake(values, KEYS)


@given(st.lists(st.lists(change, min_size=1, max_size=12), max_size=30))
def test_counts_are_ordered_as_sorting_does(steps: list[list[tuple[int, int, int]]]) -> None:
    values = np.zeros((N_ROWS, 2), dtype=np.int64)
    tops = TopRows(Ranked(length=LENGTH), width=2)
    for step in steps:
        for row, counter, amount in step:
            values[row, counter] = max(0, values[row, counter] + amount)
        _looked_at(tops, values, [row for row, _, _ in step])
        found = tops.tops()
        assert [_listed(rows) for rows in found.rows] == [_greatest(values, c) for c in (0, 1)]
        assert found.n_above == int((values[:, 0] > 0).sum())


@pytest.mark.parametrize("seed", range(5))
def test_decayed_counts_are_ordered_as_they_are_read_at_any_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    half_lives = np.array([1_000, 50_000], dtype=np.int64)
    cells = np.zeros((N_ROWS, 8), dtype=np.int64)
    tops, at_ms = TopRows(Ranked(length=LENGTH, decayed=True), width=8), 10_000_000
    for _ in range(200):
        at_ms += int(rng.exponential(3_000))
        rows = rng.integers(0, N_ROWS, 3).astype(np.int32)
        times = at_ms - rng.integers(0, 2_000, 3)
        add_decayed(cells, rows, times, np.ones(3, np.float32), half_lives)
        if rng.random() < 0.05:  # an id goes
            cells[rows[0]] = 0
        _looked_at(tops, cells, rows.tolist())
        for counter, half_life in enumerate(half_lives.tolist()):
            values = _read(cells, counter, half_life)
            order = np.lexsort((KEYS, -values))
            expected = [row for row in order.tolist() if values[row] > 0][:LENGTH]
            assert _listed(tops.tops().rows[counter]) == expected


def _read(cells: Array, counter: int, half_life: int) -> Array:
    """Decayed counts as of the start of time, in exact integers turned into logarithms."""
    epochs, mantissas = cells[:, 4 * counter : 4 * counter + 4 : 2], cells[:, 4 * counter + 1 :: 2]
    mantissas = mantissas[:, :2]
    newest = epochs.max(axis=1)
    values = np.zeros(len(cells))
    for row in range(len(cells)):
        total = sum(
            int(m) * 2.0 ** (20 * int(e - newest[row]))
            for e, m in zip(epochs[row], mantissas[row], strict=True)
            if e >= newest[row] - 1
        )
        values[row] = np.log2(total) + 20 * newest[row] if total > 0 else 0.0
    return values


def test_rows_that_leave_let_others_come_up() -> None:
    values = np.arange(N_ROWS, dtype=np.int64).reshape(-1, 1)
    tops = TopRows(Ranked(length=LENGTH), width=1)
    tops.remake(values, KEYS)
    while (values > 0).any():
        gone = int(values[:, 0].argmax())
        values[gone] = 0
        _looked_at(tops, values, [gone])
        assert _listed(tops.tops().rows[0]) == _greatest(values, 0)
