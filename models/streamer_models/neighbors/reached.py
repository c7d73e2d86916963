"""Items reached by neighbour lists: which of them count, the best of them, and those looked for."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import Keys, Slots


@numba.njit(cache=True, nogil=True)
def kept_scores(
    rows: Slots,
    n_met: NDArray[np.int64],
    sums: NDArray[np.float64],
    keys: Keys,
    excluded: Keys,
    power: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Leave out what nobody has met (any more) or what is excluded, and normalize the others.

    Parameters
    ----------
    rows, n_met, sums, keys
        ``(m,)`` of the neighbours: their rows, the users who met them, and what
        :func:`streamer_models.neighbors.scores.neighbour_scores` gives.
    excluded
        Keys, in any order.
    power
        Of ``n_met + 3``, by which sums are divided; 0: by nothing.

    Returns
    -------
    Positions of those kept, and their shares of the sum of all kept.
    """
    ruled_out = np.sort(excluded)
    kept = np.empty(len(keys), dtype=np.int64)
    scores = np.empty(len(keys))
    n, total = 0, 0.0
    for i in range(len(keys)):
        if rows[i] < 0 or n_met[i] <= 0:
            continue
        at = np.searchsorted(ruled_out, keys[i])
        if at < len(ruled_out) and ruled_out[at] == keys[i]:
            continue
        kept[n] = i
        scores[n] = sums[i] / (n_met[i] + 3.0) ** power if power > 0 else sums[i]
        total += scores[n]
        n += 1
    for i in range(n):
        scores[i] /= total
    return kept[:n], scores[:n]


@numba.njit(cache=True, nogil=True)
def best_allowed(
    rows: Slots, keys: Keys, scores: NDArray[np.float64], allowed: NDArray[np.bool_], n: int
) -> Slots:
    """At most ``n`` allowed rows with the greatest scores, best first; equal ones in the order of
    their keys."""
    best = np.empty(n + 1, dtype=np.int64)
    n_found = 0
    for i in range(len(rows)):
        if not allowed[rows[i]]:
            continue
        at = n_found
        while at > 0 and (
            scores[best[at - 1]] < scores[i]
            or (scores[best[at - 1]] == scores[i] and keys[best[at - 1]] > keys[i])
        ):
            at -= 1
        if at >= n:
            continue
        for j in range(min(n_found, n - 1), at, -1):
            best[j] = best[j - 1]
        best[at] = i
        n_found = min(n_found + 1, n)
    return rows[best[:n_found]]


@numba.njit(cache=True, nogil=True)
def looked_up(keys: Keys, values: NDArray[np.float64], wanted: Keys) -> NDArray[np.float64]:
    """``(len(wanted),)`` values of keys, 0 where absent."""
    size = 16
    while size < 2 * len(keys):
        size *= 2
    buckets = np.full(size, np.int32(-1))
    mask = np.uint64(size - 1)
    for i in range(len(keys)):
        bucket = keys[i] & mask
        while buckets[bucket] >= 0:
            bucket = (bucket + np.uint64(1)) & mask
        buckets[bucket] = i
    found = np.zeros(len(wanted))
    for i in range(len(wanted)):
        bucket = wanted[i] & mask
        while buckets[bucket] >= 0 and keys[buckets[bucket]] != wanted[i]:
            bucket = (bucket + np.uint64(1)) & mask
        if buckets[bucket] >= 0:
            found[i] = values[buckets[bucket]]
    return found
