"""What a user takes up, as one vector, and which of their items another one is most like."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.fixed_point import dots
from streamer_models.state.items.item_embeddings import Vectors
from streamer_models.state.table import Slots

_LENGTH_MIN = 1e-6
"""Below it likes and dislikes have cancelled out, and no direction is left."""


@numba.njit(cache=True, nogil=True)
def content_profile(
    vectors: Vectors, ts_ms: NDArray[np.int64], rewards: NDArray[np.float64], half_life_ms: int
) -> Vectors:
    """Return ``(width,)`` the direction of ``Σ reward * 2^(-age / half_life) * vector``, of length
    one; zeros where there is none.

    Ages are counted from the newest item that has a reward: the cosine with a sum does not depend
    on its length, so not on when it is asked for.

    Parameters
    ----------
    vectors
        ``(n, width)`` of items, each of length one.
    ts_ms, rewards
        ``(n,)`` when each was met, and how it was liked: below 0 pushes away, 0 says nothing.
    """
    width = vectors.shape[1]
    newest = np.int64(0)
    for i in range(len(vectors)):
        if rewards[i] != 0:
            newest = max(newest, ts_ms[i])
    sums = np.zeros(width)
    for i in range(len(vectors)):
        if rewards[i] == 0:
            continue
        weight = rewards[i] * np.exp2((ts_ms[i] - newest) / half_life_ms)
        for j in range(width):
            sums[j] += weight * vectors[i, j]
    square = 0.0
    for j in range(width):
        square += sums[j] * sums[j]
    profile = np.zeros(width, dtype=np.float32)
    length = np.sqrt(square)
    if length > _LENGTH_MIN:
        for j in range(width):
            profile[j] = sums[j] / length
    return profile


@numba.njit(cache=True, nogil=True)
def most_alike(last: Vectors, speaks: NDArray[np.bool_], wanted: Vectors) -> Slots:
    """``(len(wanted),)`` which of some items each wanted one has the greatest cosine with, the
    first of equal ones; -1 where none is above 0.

    Parameters
    ----------
    last
        ``(n, width)`` vectors of length one.
    speaks
        ``(n,)`` those that count.
    wanted
        ``(m, width)``.
    """
    found = np.full(len(wanted), np.int32(-1))
    cosines = np.empty(len(last), dtype=np.float32)
    for w in range(len(wanted)):
        dots(wanted[w], last, len(last), cosines)
        greatest = np.float32(0.0)
        for i in range(len(last)):
            if speaks[i] and cosines[i] > greatest:
                greatest, found[w] = cosines[i], i
    return found
