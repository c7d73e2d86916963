"""Random numbers: the published sequence, and initial factors every process agrees on."""

from __future__ import annotations

import numpy as np

from streamer_models.state.seeding import initial_rows, random_bits, scaled_below, stream


def test_the_sequence_is_splitmix64() -> None:
    # The first outputs for seed 1234567, as published with the reference implementation.
    start = np.uint64(1234567)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(random_bits(start, np.uint64(i))) for i in range(3)] == expected


def test_streams_differ_by_each_of_their_parts() -> None:
    parts = [(seed, p, offset) for seed in range(5) for p in range(5) for offset in range(5)]
    starts = {int(stream(*map(np.uint64, part))) for part in parts}
    assert len(starts) == len(parts)


def test_numbers_below_n_are_spread_evenly() -> None:
    bits = [random_bits(np.uint64(1), np.uint64(i)) for i in range(3_000)]
    counts = np.bincount([scaled_below(np.uint64(b), 10) for b in bits], minlength=10)
    assert len(counts) == 10
    assert np.abs(counts - 300).max() < 75  # 4.5 standard deviations


def test_initial_rows_are_a_function_of_key_and_seed() -> None:
    keys = np.array([5, 2**64 - 1, 0], dtype=np.uint64)
    rows = initial_rows(keys, 8, seed=3, scale=0.1)
    assert rows.dtype == np.int32
    assert (rows[:, -1] == 0).all()  # the bias
    factors = rows[:, :-1]
    np.testing.assert_array_equal(rows[::-1], initial_rows(keys[::-1], 8, seed=3, scale=0.1))
    np.testing.assert_array_equal(factors[:, :4], initial_rows(keys, 4, seed=3, scale=0.1)[:, :-1])
    assert (factors != initial_rows(keys, 8, seed=-4, scale=0.1)[:, :-1]).all()
    # Bits fixed for good: stores hold differences to these values.
    assert factors[0, :3].tolist() == [2758450, 2544736, -1554875]


def test_initial_rows_have_the_scale_asked_for() -> None:
    keys = np.arange(2_000, dtype=np.uint64)
    factors = initial_rows(keys, 16, seed=0, scale=0.1)[:, :-1] * 2.0**-24
    assert abs(factors.std() - 0.1) < 0.001
    assert abs(factors.mean()) < 0.002
    correlations = np.corrcoef(factors.T) - np.eye(16)
    assert np.abs(correlations).max() < 0.1
