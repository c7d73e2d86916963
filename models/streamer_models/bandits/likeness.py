"""Likeness of candidates by their embeddings, as slates are drawn by it and decisions log it."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.fixed_point import dots
from streamer_models.state.items.item_embeddings import Vectors

FULL: Final = 255
"""Likeness of two vectors that point the same way."""


@numba.njit(cache=True, nogil=True)
def likeness_to(vectors: Vectors, item: int, n: int) -> NDArray[np.uint8]:
    """Return ``(n,)`` cosines of the first ``n`` items with one, in units of 1/255; 0 where it is
    negative, or one of the two has no vector.

    Parameters
    ----------
    vectors
        ``(n_items, width)`` of length one, padded to ``LANES``; zeros for none. The order of
        additions is fixed, so every machine finds the same.
    """
    cosines = np.empty(n, dtype=np.float32)
    dots(vectors[item], vectors, n, cosines)
    found = np.empty(n, dtype=np.uint8)
    for i in range(n):
        cosine = min(max(cosines[i], np.float32(0.0)), np.float32(1.0))
        found[i] = np.uint8(np.rint(cosine * np.float32(FULL)))
    return found


@numba.njit(cache=True, nogil=True)
def likeness_rows(vectors: Vectors, items: NDArray[np.intp], n: int) -> NDArray[np.uint8]:
    """Return ``(len(items), n)`` what :func:`likeness_to` says of each item."""
    found = np.empty((len(items), n), dtype=np.uint8)
    for i in range(len(items)):
        found[i] = likeness_to(vectors, items[i], n)
    return found
