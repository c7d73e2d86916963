"""Items reached by neighbour lists: which of them count, the best of them, and those looked for."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import Keys, Slots

_POWERS_KEPT: Final = 1_024


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
    rows, n_met, keys
        ``(m,)`` of the neighbours: their rows, and the users who met them.
    sums
        ``(n_sums, m)`` what :func:`streamer_models.neighbors.scores.neighbour_scores` gives.
    excluded
        Keys, in any order.
    power
        Of ``n_met + 3``, by which sums are divided; 0: by nothing.

    Returns
    -------
    Positions of those kept, and their shares of each sum of all kept; 0 where that is 0.
    """
    ruled_out = np.sort(excluded)
    kept = np.empty(len(keys), dtype=np.int64)
    n = 0
    for i in range(len(keys)):
        if rows[i] < 0 or n_met[i] <= 0:
            continue
        at = np.searchsorted(ruled_out, keys[i])
        if at < len(ruled_out) and ruled_out[at] == keys[i]:
            continue
        kept[n] = i
        n += 1
    scores = np.empty((len(sums), n))
    totals = np.zeros(len(sums))
    powers = np.zeros(_POWERS_KEPT)  # many items are met by equally many users, and a power is dear
    for i in range(n):
        n_users, by = n_met[kept[i]], 1.0
        if power > 0:
            by = powers[n_users] if n_users < _POWERS_KEPT else 0.0
            if by == 0:
                by = (n_users + 3.0) ** power
                if n_users < _POWERS_KEPT:
                    powers[n_users] = by
        for s in range(len(sums)):
            scores[s, i] = sums[s, kept[i]] / by
            totals[s] += scores[s, i]
    for s in range(len(sums)):
        if totals[s] > 0:
            for i in range(n):
                scores[s, i] /= totals[s]
    return kept[:n], scores


@numba.njit(cache=True, nogil=True)
def best_allowed(
    rows: Slots, keys: Keys, scores: NDArray[np.float64], allowed: NDArray[np.bool_], n: int
) -> Slots:
    """At most ``n`` allowed rows with the greatest scores above 0, best first; equal ones in the
    order of their keys."""
    best = np.empty(n + 1, dtype=np.int64)
    n_found = 0
    for i in range(len(rows)):
        if scores[i] <= 0 or not allowed[rows[i]]:
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
