"""The duplicate window is a function of offsets, however batches fall and after any restart."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.learner.dedup import DedupWindow
from streamer_models.state.ids.id_column import IdColumn


def feed(window: DedupWindow, ids: list[str], first: int = 0) -> list[bool]:
    fresh = window.fresh(IdColumn.of(ids), np.arange(first, first + len(ids), dtype=np.int64))
    return [bool(each) for each in fresh]


def brute_force(ids: list[str], n_offsets: int) -> list[bool]:
    return [event_id not in ids[max(0, i - n_offsets) : i] for i, event_id in enumerate(ids)]


def test_a_repeat_inside_the_window_is_a_duplicate_and_outside_is_not() -> None:
    window = DedupWindow(2)
    assert feed(window, ["a", "b", "a", "c", "d", "a"]) == [True, True, False, True, True, True]


def test_window_zero_lets_everything_pass() -> None:
    assert feed(DedupWindow(0), ["a", "a"]) == [True, True]


@given(
    ids=st.lists(st.sampled_from("abcdefgh"), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    n_offsets=st.integers(1, 12),
)
def test_batches_do_not_matter(ids: list[str], cuts: list[int], n_offsets: int) -> None:
    window = DedupWindow(n_offsets)
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    fresh: list[bool] = []
    for start, end in itertools.pairwise(bounds):
        fresh += feed(window, ids[start:end], start)
    assert fresh == brute_force(ids, n_offsets)


@given(
    ids=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60),
    n_offsets=st.integers(1, 12),
    data=st.data(),
)
def test_a_restart_that_reads_the_window_again_changes_nothing(
    ids: list[str], n_offsets: int, data: st.DataObject
) -> None:
    stored = data.draw(st.integers(0, len(ids)))
    window = DedupWindow(n_offsets)
    start = max(0, stored - n_offsets)
    feed(window, ids[start:stored], start)
    assert feed(window, ids[stored:], stored) == brute_force(ids, n_offsets)[stored:]


def test_memory_is_bounded() -> None:
    window = DedupWindow(1_000)
    for first in range(0, 20_000, 100):
        feed(window, [str(i) for i in range(first, first + 100)], first)
        assert len(window) <= 1_100
        # 1,100 ids take rings of 2,048 places and 4,096 buckets, their 5,500 bytes one of 8,192.
        assert window.n_bytes <= 2_048 * 28 + 4_096 * 8 + 8_192


@given(
    ids=st.lists(st.text(max_size=40), min_size=1, max_size=40, unique=True),
    draws=st.lists(st.integers(0, 39), max_size=300),
    n_offsets=st.integers(1, 100),
    n_batch=st.integers(1, 50),
    n_hashes=st.integers(1, 3),
)
def test_ids_of_any_length_are_told_apart_by_their_bytes(
    ids: list[str], draws: list[int], n_offsets: int, n_batch: int, n_hashes: int
) -> None:
    """Most ids have one hash, and the rings of so small sizes wrap and grow all the time."""
    log = [ids[draw % len(ids)] for draw in draws]
    window, fresh = DedupWindow(n_offsets), []
    for first in range(0, len(log), n_batch):
        column = IdColumn.of(log[first : first + n_batch])
        column = replace(column, hashes=column.hashes % np.uint64(n_hashes))
        fresh += window.fresh(column, np.arange(first, first + len(column))).tolist()
    assert fresh == brute_force(log, n_offsets)
