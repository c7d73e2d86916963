"""Statistics of linear models: integers that add up to the same bits in any order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer_models.bandits.linear_statistics import (
    STATISTICS_BITS,
    add_outcome,
    amend,
    amend_fading,
    fading_statistics,
    read_sums,
    statistics,
    statistics_width,
)
from streamer_models.state.decayed_cells import CELLS_WIDTH
from tests.unit.linear_examples import (
    NOW_MS,
    Columns,
    first_outcomes,
    joined,
    settled,
    with_amendments,
)

D = 4
HALF_LIFE_MS = 3_600_000


def _summed(changes: Columns) -> NDArray[np.int64]:
    values = np.zeros((1, statistics_width(D)), dtype=np.int64)
    rows = np.zeros(len(changes.after), dtype=np.int32)
    x = changes.contexts.astype(np.float32)
    amend(values, rows, x, changes.before, changes.after)
    row: NDArray[np.int64] = values[0]
    return row


def _faded(changes: Columns) -> NDArray[np.int64]:
    cells = np.zeros((1, CELLS_WIDTH * statistics_width(D)), dtype=np.int64)
    rows = np.zeros(len(changes.after), dtype=np.int32)
    x = changes.contexts.astype(np.float32)
    amend_fading(cells, rows, x, changes.before, changes.after, changes.ts_ms, HALF_LIFE_MS)
    row: NDArray[np.int64] = cells[0]
    return row


def test_sums_are_those_of_the_examples() -> None:
    examples = first_outcomes(500, D)
    sums = statistics(_summed(examples), D)
    x, r = examples.contexts, examples.after
    assert sums.n == 500
    assert sums.reward_squares == pytest.approx(r @ r)
    np.testing.assert_allclose(sums.b, x.T @ r, atol=1e-4)
    np.testing.assert_allclose(sums.a, x.T @ x, atol=1e-4)


@pytest.mark.parametrize("summed", [_summed, _faded])
def test_any_order_and_any_way_to_an_outcome_give_the_same_bits(
    summed: Callable[[Columns], NDArray[np.int64]],
) -> None:
    changes = with_amendments(first_outcomes(200, D))
    expected = summed(settled(changes))
    shuffled = np.random.default_rng(2).permutation(len(changes.after))
    np.testing.assert_array_equal(summed(changes.at(shuffled)), expected)


def test_examples_all_taken_back_leave_nothing() -> None:
    examples = first_outcomes(50, D)
    gone = examples._replace(before=examples.after, after=examples.before)
    assert not _summed(joined(examples, gone)).any()


def test_rows_below_zero_are_passed_over() -> None:
    values = np.zeros((2, statistics_width(1)), dtype=np.int64)
    rows = np.array([-1, 1, -1], dtype=np.int32)
    nan, ones = np.full(3, np.nan), np.ones(3)
    amend(values, rows, np.ones((3, 1), dtype=np.float32), nan, ones)
    assert values.tolist() == [[0] * 4, [1 << STATISTICS_BITS] * 4]


def test_fading_sums_weigh_examples_by_their_age() -> None:
    examples = first_outcomes(500, D)
    sums = fading_statistics(_faded(examples), D, half_life_ms=HALF_LIFE_MS, at_ms=NOW_MS)
    weights = 2.0 ** ((examples.ts_ms - NOW_MS) / HALF_LIFE_MS)
    weighted = examples.contexts * weights[:, None]
    assert sums.n == pytest.approx(weights.sum(), abs=1e-4)
    np.testing.assert_allclose(sums.b, weighted.T @ examples.after, atol=1e-4)
    np.testing.assert_allclose(sums.a, weighted.T @ examples.contexts, atol=1e-4)


def test_kernels_read_the_same_sums() -> None:
    examples = first_outcomes(300, D)
    a, b = np.empty((D, D)), np.empty(D)
    read_sums(_summed(examples), b, a)
    expected = statistics(_summed(examples), D)
    np.testing.assert_array_equal(a, expected.a)
    np.testing.assert_array_equal(b, expected.b)


def test_the_largest_example_fits_many_times() -> None:
    row = np.zeros(statistics_width(1), dtype=np.int64)
    x = np.array([8.0], dtype=np.float32)
    add_outcome(row, x, -1_000.0, 1, 2.0**STATISTICS_BITS)
    # n, Σ r², Σ r x, Σ x x: room for 2^19 of these, as the headroom is stated.
    assert row.tolist() == [units << STATISTICS_BITS for units in (1, 10**6, -8_000, 64)]
    assert all(abs(int(number)) < 2 ** (63 - 19) for number in row)
