"""Scores of items by the neighbour lists of others, of all partitions together."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.neighbour_lists import n_neighbours
from streamer_models.state.table import FIXED_POINT_UNIT, Array, Keys, Slots


@numba.njit(cache=True, nogil=True)
def neighbour_scores(
    lists: Array, weights: NDArray[np.float64]
) -> tuple[Keys, NDArray[np.float64]]:
    """Add up what lists say of each neighbour, once by each row of weights.

    Parameters
    ----------
    lists
        ``(n_partitions, n, 2M)`` uint64, as ``tables.read(model.lists).lists(keys)`` gives them.
    weights
        ``(n_sums, n)`` of each id whose lists they are; ids of which all are 0 are passed over.

    Returns
    -------
    keys
        ``(m,)`` different neighbours in the order in which they were met, id by id and partition by
        partition.
    sums
        ``(n_sums, m)`` Σ weight of the id · weight on the list. Equal lists give equal bits;
        partitions that have none change nothing.
    """
    n_partitions, n_ids, width = lists.shape
    n_sums, length = len(weights), width // 2
    n_entries = 0
    for p in range(n_partitions):
        for i in range(n_ids):
            n_entries += n_neighbours(lists[p, i, length:])
    size = 16
    while size < 2 * n_entries:
        size *= 2
    buckets = np.full(size, np.int32(-1))
    mask = np.uint64(size - 1)
    keys = np.empty(n_entries, dtype=np.uint64)
    sums = np.zeros((n_entries, n_sums), dtype=np.float64)
    n = 0
    for i in range(n_ids):
        if not weights[:, i].any():
            continue
        for p in range(n_partitions):
            row = lists[p, i]
            for j in range(n_neighbours(row[length:])):
                key = row[j]
                bucket = key & mask  # keys are digests: well mixed
                while buckets[bucket] >= 0 and keys[buckets[bucket]] != key:
                    bucket = (bucket + np.uint64(1)) & mask
                if buckets[bucket] < 0:
                    buckets[bucket] = n
                    keys[n] = key
                    n += 1
                said = FIXED_POINT_UNIT * row[length + j]
                for s in range(n_sums):
                    sums[buckets[bucket], s] += weights[s, i] * said
    return keys[:n], sums[:n].T.copy()


@numba.njit(cache=True, nogil=True)
def strongest_lists(lists: Array, weights: NDArray[np.float64], wanted: Keys) -> Slots:
    """``(len(wanted),)`` which of the ids says most of each neighbour, the first of equal ones; -1
    where none has it on a list.

    Parameters
    ----------
    lists
        As for :func:`neighbour_scores`.
    weights
        ``(n,)`` of each id.
    """
    n_partitions, n_ids, width = lists.shape
    length = width // 2
    found = np.full(len(wanted), np.int32(-1))
    greatest = np.zeros(len(wanted))
    for i in range(n_ids):
        if weights[i] == 0:
            continue
        said = np.zeros(len(wanted))
        for p in range(n_partitions):
            row = lists[p, i]
            for j in range(n_neighbours(row[length:])):
                for w in range(len(wanted)):
                    if row[j] == wanted[w]:
                        said[w] += weights[i] * (FIXED_POINT_UNIT * row[length + j])
        for w in range(len(wanted)):
            if said[w] > greatest[w]:
                greatest[w], found[w] = said[w], i
    return found
