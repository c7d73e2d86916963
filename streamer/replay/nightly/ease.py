"""EASE: a linear model of items by items, solved in closed form."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.replay.nightly.consumed import Consumed, Rows

Floats = NDArray[np.float32]
Starts = NDArray[np.int64]

_REGULARIZATION_MIN = 1.0
"""Below, single precision is not enough to invert the Gram matrix of popular items."""


class Ease:
    """Scores are ``x B`` for a history x, with ``B = I - P / diag(P)``, ``P = (XᵀX + λI)⁻¹``.

    B is what least squares with an L2 penalty make of X from X, where no item explains itself
    (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", equation 8). A score needs
    ``P x`` and the diagonal alone: ``x B = x - P x / diag(P)``. With fewer users than items
    ``P = (I - Xᵀ (XXᵀ + λI)⁻¹ X) / λ`` is the same (Woodbury), and inverts a matrix of users.

    Parameters
    ----------
    regularization
        λ, at least 1.
    items_max
        Bound of the items: a square of 20,000 in single precision takes 1.6 GB, and training
        three times as much.
    """

    folds_in = True

    def __init__(self, *, regularization: float = 300.0, items_max: int = 20_000) -> None:
        if not regularization >= _REGULARIZATION_MIN or items_max < 1:
            raise ConfigError(
                f"nightly:ease with regularization={regularization}, items_max={items_max}: both"
                " must be at least 1"
            )
        self._regularization = np.float32(regularization)
        self.items_max = items_max
        self._solved: _ByItems | _ByUsers | None = None

    def train(self, consumed: Consumed) -> None:
        """Solve anew."""
        by = _ByItems if consumed.n_items <= consumed.n_users else _ByUsers
        self._solved = by(consumed, self._regularization)

    def scores(self, user_row: int, history: Rows) -> Floats:
        """``(n_items,)`` scores of the items trained on, for a history of such items."""
        solved = self._solved
        assert solved is not None, "it is trained first"
        scores: Floats = -solved.product(history) / solved.diagonal
        scores[history] += 1
        return scores


class _ByItems:
    """P, of items by items."""

    def __init__(self, consumed: Consumed, regularization: np.float32) -> None:
        gram = np.diag(np.full(consumed.n_items, regularization))
        _add_pairs(consumed.starts, consumed.items, gram)
        self._inverse: Floats = np.linalg.inv(gram)
        self.diagonal: Floats = self._inverse.diagonal()

    def product(self, history: Rows) -> Floats:
        """``P x``."""
        found: Floats = self._inverse[history].sum(axis=0)
        return found


class _ByUsers:
    """What stands for P where there are fewer users: ``Xᵀ (XXᵀ + λI)⁻¹``, of items by users."""

    def __init__(self, consumed: Consumed, regularization: np.float32) -> None:
        self._starts, self._users = consumed.by_item()
        self._regularization = regularization
        gram = np.diag(np.full(consumed.n_users, regularization))
        _add_pairs(self._starts, self._users, gram)
        self._solved = np.zeros((consumed.n_items, consumed.n_users), dtype=np.float32)
        self.diagonal = np.ones(consumed.n_items, dtype=np.float32)
        _multiply(self._starts, self._users, np.linalg.inv(gram), self._solved, self.diagonal)
        self.diagonal /= regularization

    def product(self, history: Rows) -> Floats:
        """``P x``."""
        met = np.zeros(self._solved.shape[1], dtype=np.float32)  # X x
        for item in history.tolist():
            met[self._users[self._starts[item] : self._starts[item + 1]]] += 1
        found: Floats = -(self._solved @ met)
        found[history] += 1
        found /= self._regularization
        return found


@numba.njit(cache=True, nogil=True)
def _add_pairs(starts: Starts, members: Rows, gram: Floats) -> None:
    """Add 1 to each pair of members of a group: a Gram matrix of zeros and ones."""
    for group in range(len(starts) - 1):
        for a in members[starts[group] : starts[group + 1]]:
            for b in members[starts[group] : starts[group + 1]]:
                gram[a, b] += np.float32(1)


@numba.njit(cache=True, nogil=True)
def _multiply(
    starts: Starts, users: Rows, inverse: Floats, product: Floats, diagonal: Floats
) -> None:
    """``product = Xᵀ inverse`` from zeros, and take the diagonal of ``product X`` off."""
    for item in range(len(diagonal)):
        for user in users[starts[item] : starts[item + 1]]:
            for other in range(product.shape[1]):
                product[item, other] += inverse[user, other]
        for user in users[starts[item] : starts[item + 1]]:
            diagonal[item] -= product[item, user]
