"""Ranking metrics from gains in the order of a ranking: what those of one target are a case of.

Arrays hold one query a row; every function returns one value a query.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def recall_at(gains: Values, n_relevant: NDArray[np.int64], k: int) -> Values:
    """Share of the relevant items that are among the first ``k``; 0 where nothing is relevant.

    Parameters
    ----------
    gains
        ``(n, m)`` gain of the item at each place, 0 if it is not relevant.
    n_relevant
        ``(n,)`` relevant items, also those that are not ranked.
    """
    found: Values = (gains[:, :k] > 0).sum(axis=1) / np.maximum(n_relevant, 1)
    return found


def precision_at(gains: Values, k: int) -> Values:
    """Share of the first ``k`` places that hold a relevant item; ``gains`` as above."""
    found: Values = (gains[:, :k] > 0).sum(axis=1) / k
    return found


def hit_at(gains: Values, k: int) -> Values:
    """1 where a relevant item is among the first ``k``, else 0; ``gains`` as above."""
    n_found: NDArray[np.int64] = (gains[:, :k] > 0).sum(axis=1)
    return np.minimum(n_found, 1).astype(np.float64)


def ndcg_at(gains: Values, all_gains: Values, k: int) -> Values:
    """Normalized discounted cumulative gain (Järvelin & Kekäläinen 2002), gains taken as they are.

    ``Σ_j gain_j / log2(j + 1)`` over places j = 1 … k, over the same of the best order there is.

    Parameters
    ----------
    gains
        ``(n, m)`` gain of the item at each place.
    all_gains
        ``(n, r)`` gains of all relevant items in any order, padded with zeros.
    """
    ideal = -np.sort(-all_gains, axis=1)
    best = _dcg(ideal, k)
    return np.divide(_dcg(gains, k), best, out=np.zeros(len(gains)), where=best > 0)


def _dcg(gains: Values, k: int) -> Values:
    shown = gains[:, :k]
    discounts = 1.0 / np.log2(np.arange(shown.shape[1]) + 2.0)
    discounted: Values = shown @ discounts
    return discounted


def average_precision_at(gains: Values, n_relevant: NDArray[np.int64], k: int) -> Values:
    """Precision at each relevant item among the first ``k``, summed, over all that are relevant."""
    relevant = gains[:, :k] > 0
    precision = np.cumsum(relevant, axis=1) / (np.arange(relevant.shape[1]) + 1.0)
    summed: Values = (precision * relevant).sum(axis=1)
    return summed / np.maximum(n_relevant, 1)


def reciprocal_rank(gains: Values) -> Values:
    """1 / place of the first relevant item, from 1; 0 where there is none."""
    relevant = gains > 0
    first = relevant.argmax(axis=1) if relevant.shape[1] else np.zeros(len(gains), dtype=int)
    return np.where(relevant.any(axis=1), 1.0 / (first + 1.0), 0.0)
