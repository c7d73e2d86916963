"""How good ranked lists are: accuracy, and what lies beyond it.

Arrays hold one query a row. Every function returns one value a query, so that means, standard
errors and comparisons by user can be made of them (:func:`mean_and_error`).
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

NOT_RANKED = -1
"""The rank of a target that is not in the ranking: a miss at any depth."""
SMOOTHING: Final = 0.01
"""Share α of what is wanted in what is held against it, so that no divergence is infinite."""


# --- from the rank of the one relevant item -------------------------------------------------------


def target_metrics(ranks: NDArray[np.int64], k: int) -> dict[str, Values]:
    """Return metrics by name for queries with one relevant item, the target.

    Parameters
    ----------
    ranks
        ``(n,)`` rank of the target from 0, ``NOT_RANKED`` where it is missing.
    k
        Depth of the lists; the reciprocal rank (``mrr``) knows no depth.

    Examples
    --------
    >>> found = target_metrics(np.array([0, 2, 11, NOT_RANKED]), 10)
    >>> {name: values.round(3).tolist() for name, values in found.items()}
    {'recall@10': [1.0, 1.0, 0.0, 0.0], 'ndcg@10': [1.0, 0.5, 0.0, 0.0],
     'map@10': [1.0, 0.333, 0.0, 0.0], 'mrr': [1.0, 0.333, 0.083, 0.0],
     'hit_rate@10': [1.0, 1.0, 0.0, 0.0], 'precision@10': [0.1, 0.1, 0.0, 0.0]}
    """
    ranked = ranks >= 0
    places = np.where(ranked, ranks, 0) + 1.0
    hits = (ranked & (ranks < k)).astype(np.float64)
    return {
        f"recall@{k}": hits,
        f"ndcg@{k}": hits / np.log2(places + 1.0),
        f"map@{k}": hits / places,
        "mrr": ranked / places,
        f"hit_rate@{k}": hits.copy(),
        f"precision@{k}": hits / k,
    }


# --- beyond accuracy ------------------------------------------------------------------------------


def catalogue_coverage(n_shown: NDArray[np.int64]) -> float:
    """Share of the items that were in at least one list; ``(n_items,)`` how often each was."""
    return float((n_shown > 0).mean()) if len(n_shown) else 0.0


def exposure_gini(n_shown: NDArray[np.int64], *, n_items: int | None = None) -> float:
    """Gini index of how often items were shown: 0, all alike; 1, one item alone.

    ``Σ_j (2 j - n - 1) p_j / (n - 1)`` over the shares p of the n items in rising order (Shani &
    Gunawardana 2011, section 8.3.3). NaN with fewer than two items, or none shown.

    Parameters
    ----------
    n_shown
        ``(m,)`` lists each item was in, 0 for one that never was.
    n_items
        n, where ``n_shown`` leaves out items that never were; None: m.
    """
    n, total = len(n_shown) if n_items is None else n_items, int(n_shown.sum())
    if n < 2 or not total:
        return float("nan")
    ranks = 2.0 * np.arange(n - len(n_shown) + 1, n + 1) - n - 1
    return float(ranks @ np.sort(n_shown) / ((n - 1) * total))


def category_shares(items: NDArray[np.int32], categories: NDArray[np.bool_]) -> Values:
    """Return ``(n_categories,)`` mean shares of items' categories, an item's being alike.

    ``p(g) = Σ_i p(g | i) / n`` (Steck 2018, equation 2) over the items that have a category; all 0
    where none has.

    Parameters
    ----------
    items
        ``(n,)`` item rows.
    categories
        ``(n_items, n_categories)``.
    """
    shares = np.zeros(categories.shape[1])
    _add_shares(items, categories, shares)
    total = shares.sum()
    return shares / total if total else shares


@numba.njit(cache=True, nogil=True)
def _add_shares(
    items: NDArray[np.int32], categories: NDArray[np.bool_], shares: NDArray[np.float64]
) -> None:
    for item in items:
        n_own = 0
        for category in range(categories.shape[1]):
            n_own += categories[item, category]
        if n_own:
            for category in range(categories.shape[1]):
                shares[category] += categories[item, category] / n_own


def calibration(lists: NDArray[np.int32], categories: NDArray[np.bool_], wanted: Values) -> Values:
    """Divergence of lists' categories from those of their users: 0 where the shares are the same.

    ``C_KL = Σ_g p(g) ln(p(g) / q~(g))``, ``q~ = (1 - α) q + α p`` with α = 0.01 (Steck 2018,
    equations 5 and 6), in nats, at most ``ln 100``. p are the shares of what a user consumed, q
    those of a list, both as :func:`category_shares`. NaN where either has no category.

    Parameters
    ----------
    lists, categories
        As of :func:`category_diversity`.
    wanted
        ``(n, n_categories)`` shares p of the user of each list.
    """
    of_items = categories[lists].astype(np.float64)
    of_items[lists < 0] = 0.0
    n_own = of_items.sum(axis=2, keepdims=True)
    shares = np.divide(of_items, n_own, out=of_items, where=n_own > 0).sum(axis=1)
    n_known = (n_own[:, :, 0] > 0).sum(axis=1)
    shares /= np.maximum(n_known, 1)[:, None]
    smoothed = (1 - SMOOTHING) * shares + SMOOTHING * wanted
    inside = wanted > 0
    ratios = np.divide(wanted, smoothed, out=np.ones_like(wanted), where=inside)
    found: Values = (wanted * np.log(ratios)).sum(axis=1)
    found[(n_known == 0) | ~inside.any(axis=1)] = np.nan
    return found


def category_diversity(lists: NDArray[np.int32], categories: NDArray[np.bool_]) -> Values:
    """Mean over pairs of a list of ``1 - |A ∩ B| / |A ∪ B|``, A and B the items' categories.

    Intra-list diversity (Ziegler et al. 2005) with Jaccard's similarity. Pairs of which one item
    has no category say nothing; NaN for a list without a pair that says something.

    Parameters
    ----------
    lists
        ``(n, k)`` item rows, -1 where a list is shorter.
    categories
        ``(n_items, n_categories)``.
    """
    first, second = np.triu_indices(lists.shape[1], 1)
    of_items = categories[lists].astype(np.int32)
    of_items[lists < 0] = 0
    n_own = of_items.sum(axis=2)
    n_both = np.einsum("njc,nlc->njl", of_items, of_items)[:, first, second]
    n_any = n_own[:, first] + n_own[:, second] - n_both
    known = (n_own[:, first] > 0) & (n_own[:, second] > 0)
    return _mean_where(1.0 - n_both / np.maximum(n_any, 1), known)


def factor_diversity(lists: NDArray[np.int32], factors: NDArray[np.float32]) -> Values:
    """Mean over pairs of a list of ``1 - cosine`` of the items' vectors.

    Items at zero have no direction: their pairs say nothing. Parameters as above, with ``factors``
    of shape ``(n_items, n_factors)``.
    """
    first, second = np.triu_indices(lists.shape[1], 1)
    norms = np.linalg.norm(factors, axis=1, keepdims=True)
    unit = np.divide(factors, norms, out=np.zeros_like(factors), where=norms > 0)[lists]
    cosines = np.einsum("njf,nlf->njl", unit, unit)[:, first, second]
    known = (lists >= 0) & (norms[lists, 0] > 0)
    return _mean_where(1.0 - cosines, known[:, first] & known[:, second])


def novelty(n_consumers: NDArray[np.int64], n_users: NDArray[np.int64]) -> Values:
    """Mean self-information of a list in bits (Zhou et al. 2010): ``log2(n_users / n_consumers)``.

    Parameters
    ----------
    n_consumers
        ``(n, k)`` users who had consumed each item when it was recommended; -1: no item there.
    n_users
        ``(n,)`` users there were then. An item nobody has consumed counts as one of one user.

    Returns
    -------
    ``(n,)``; NaN for an empty list.
    """
    shares = np.maximum(n_consumers, 1) / np.maximum(n_users, 1)[:, None]
    return _mean_where(-np.log2(np.minimum(shares, 1.0)), n_consumers >= 0)


def serendipity(hits: Values, expected: NDArray[np.bool_]) -> Values:
    """Hits that a primitive recommender would not have made too (Ge et al. 2010).

    Parameters
    ----------
    hits
        ``(n,)`` 1 where the target is in the list.
    expected
        ``(n,)`` whether it is also in the list of the primitive one, such as the most popular.
    """
    return hits * ~expected


def _mean_where(values: Values, known: NDArray[np.bool_]) -> Values:
    n_known = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1)
    means: Values = np.divide(sums, n_known, out=np.full(len(values), np.nan), where=n_known > 0)
    return means


# --- means ----------------------------------------------------------------------------------------


def mean_and_error(total: float, total_of_squares: float, n: int) -> tuple[float, float]:
    """Mean and its standard error, from sums; NaN where there are too few values.

    The error takes values as independent. Those of one user are not quite: to compare two models,
    resample users.

    Examples
    --------
    >>> mean_and_error(2.0, 2.0, 4)
    (0.5, 0.288...)
    """
    if n == 0:
        return float("nan"), float("nan")
    mean = total / n
    if n == 1:
        return mean, float("nan")
    variance = max(0.0, total_of_squares / n - mean * mean) * n / (n - 1)
    return mean, float(np.sqrt(variance / n))
