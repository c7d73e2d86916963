"""What models that factorize have in common for those who read what they have learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.model import Model
from streamer_models.state.readable import ReadFactors, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import ITEM, USER, Change, Merge, Slots, TableSpec


class Factorization(Model):
    """A model that scores an item for a user by ``p_u · q_i + b_i``.

    Attributes
    ----------
    n_factors
        k.
    user_factors
        Rows whose first k columns are ``p_u``, whatever follows.
    item_factors
        ``q_i``, and ``b_i`` in the last column.
    """

    n_factors: int
    user_factors: ReadRows
    item_factors: ReadFactors


def factorization_of(
    models: Sequence[Model], kind: type[Factorization] | None = None
) -> Factorization | None:
    """Return the factorization of a kind among models that learn together, the first of any kind
    without one; None where there is none."""
    wanted: type[Factorization] = kind or Factorization
    return next((model for model in models if isinstance(model, wanted)), None)


def read_factors(of_users: str, of_items: str, n_factors: int) -> tuple[ReadRows, ReadFactors]:
    """Tables of these names with ``n_factors`` and a bias a row."""
    return (
        ReadRows(TableSpec(of_users, USER, Merge.REPLACE, "f4", n_factors + 1)),
        ReadFactors(TableSpec(of_items, ITEM, Merge.SUM, "i4", n_factors + 1)),
    )


def keep_adagrad(
    shared: SharedState,
    others: Sequence[Change],
    factors: str,
    squares: str,
    widths: Sequence[int],
) -> None:
    """Scale this learner's change of each row by √(G_own / G_all), AdaGrad's rule kept.

    G_own is the accumulator with this learner's own batch, G_all with what others added too. Call
    it before others' changes are applied: they must not be scaled along.

    Parameters
    ----------
    factors, squares
        Tables of one entity: what was stepped, and its accumulators.
    widths
        Columns of ``factors`` that each accumulator is of.
    """
    items, accumulators = shared.tables[factors], shared.tables[squares]
    rows = items.touched()
    own = accumulators.values[rows].astype(np.float64)
    added = np.zeros_like(own)
    for change in others:
        if squares not in change.tables:
            continue
        at = _positions(rows, shared.rows(accumulators.spec, change.tables[squares].keys))
        known = at >= 0
        np.add.at(added, at[known], change.tables[squares].values[known])
    moved = np.flatnonzero((added > 0).any(axis=1))
    share = np.sqrt(own[moved] / np.maximum(own[moved] + added[moved], 1.0))
    items.scale_changes(moved, np.repeat(share, widths, axis=1))


def _positions(rows: Slots, wanted: Slots) -> NDArray[np.int64]:
    """Where each wanted row is in ``rows`` (in any order), -1 where it is not."""
    if len(rows) == 0:
        return np.full(len(wanted), -1)
    order = np.argsort(rows)
    at = order[np.minimum(np.searchsorted(rows, wanted, sorter=order), len(rows) - 1)]
    return np.where(rows[at] == wanted, at, -1)
