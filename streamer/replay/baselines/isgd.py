"""Incremental stochastic gradient descent on positives alone (ISGD)."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.replay.interactions import Interaction

Factors = NDArray[np.float32]


class ISGD:
    """Items are ranked by ``-|1 - p_u · q_i|``, learned by ``p_u · q_i → 1`` (Vinagre et al. 2014).

    Parameters
    ----------
    factors
        Of users and items.
    steps
        Passes over each event.
    rate, regularization
        Of the gradient steps.
    scale
        Standard deviation of the normal distribution that new vectors are drawn from.
    seed
        Of these draws.
    """

    def __init__(
        self,
        *,
        factors: int = 50,
        steps: int = 4,
        rate: float = 0.05,
        regularization: float = 0.1,
        scale: float = 0.1,
        seed: int = 0,
    ) -> None:
        if factors < 1 or steps < 1 or not rate > 0:
            raise ConfigError(
                f"isgd with factors={factors}, steps={steps}, rate={rate}: factors and steps must"
                " be at least 1, the rate above 0"
            )
        self._shape = (factors, scale)
        self._steps, self._rate, self._regularization = steps, rate, regularization
        self._rngs = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
        self._users: Factors = np.zeros((0, factors), dtype=np.float32)
        self._items: Factors = np.zeros((0, factors), dtype=np.float32)

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float32]:
        """All alike for a user that is unknown."""
        scores = np.full(n_items, -1.0, dtype=np.float32)
        if 0 <= user_row < len(self._users):
            _score(self._users[user_row], self._items, scores)
        return scores

    def learn(self, interaction: Interaction) -> None:
        """Take the steps of one positive; other feedback teaches nothing."""
        self._users = self._with_row(self._users, interaction.user_row, self._rngs[0])
        self._items = self._with_row(self._items, interaction.item_row, self._rngs[1])
        if interaction.reward > 0:
            _learn(
                self._users[interaction.user_row],
                self._items[interaction.item_row],
                self._steps,
                np.float32(self._rate),
                np.float32(self._regularization),
            )

    def _with_row(self, factors: Factors, row: int, rng: np.random.Generator) -> Factors:
        if row < len(factors):
            return factors
        n_factors, scale = self._shape
        n_new = max(row + 1, 2 * len(factors), 256) - len(factors)
        new = rng.normal(0.0, scale, (n_new, n_factors)).astype(np.float32)
        return np.concatenate([factors, new])


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _score(user: NDArray[np.float32], items: Factors, scores: NDArray[np.float32]) -> None:
    for i in range(len(scores)):
        product = np.float32(0)
        for f in range(len(user)):
            product += user[f] * items[i, f]
        scores[i] = -abs(np.float32(1) - product)


@numba.njit(cache=True, nogil=True)
def _learn(
    user: NDArray[np.float32],
    item: NDArray[np.float32],
    steps: int,
    rate: np.float32,
    regularization: np.float32,
) -> None:
    for _ in range(steps):
        product = np.float32(0)
        for f in range(len(user)):
            product += user[f] * item[f]
        error = np.float32(1) - product
        for f in range(len(user)):
            p = user[f]
            user[f] += rate * (error * item[f] - regularization * p)
            item[f] += rate * (error * p - regularization * item[f])
