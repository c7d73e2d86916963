"""What a factorization knows in one version: factors of users and of items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.replica.factor_blocks import FactorView
from streamer.replica.row_store import RowView
from streamer.replica.tables import Tables
from streamer_models.factorization.factors import Factorization


@dataclass(frozen=True, slots=True)
class FactorizedView:
    """Factors of one version, by rows of users and of items.

    Attributes
    ----------
    n_factors
        k: as many columns of a user's row are factors.
    """

    users: RowView
    items: FactorView
    n_factors: int

    @classmethod
    def of(cls, tables: Tables, model: Factorization) -> FactorizedView:
        """Return what a model knows in a version."""
        users, items = tables.read(model.user_factors), tables.read(model.item_factors)
        return cls(users, items, model.n_factors)

    def user(self, row: int) -> NDArray[np.float32] | None:
        """Return the ``(k,)`` factors of a user; None without any, and for row -1."""
        found = self.users.row(row)
        return None if found is None else found[: self.n_factors]

    def scores(self, user_row: int) -> NDArray[np.float32] | None:
        """Return ``(n_rows,)`` ``p_u · q_i + b_i`` of all items, those that are gone too; None for
        a user without factors."""
        factors = self.user(user_row)
        return None if factors is None else self.items.scores(factors)
