"""What models that factorize have in common for those who read what they have learned."""

from __future__ import annotations

from collections.abc import Sequence

from streamer_models.state.model import Model
from streamer_models.state.readable import ReadFactors, ReadRows
from streamer_models.state.table import ITEM, USER, Merge, TableSpec


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
