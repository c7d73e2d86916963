"""Biased matrix factorization of explicit ratings, one online step a rating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.factorization.factors import Factorization, read_factors
from streamer_models.state.fixed_point import LANES, UNIT, as_floats, clipped, dots, stepped
from streamer_models.state.inputs import Inputs
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable
from streamer_models.state.seeding import initial_rows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import (
    FIXED_POINT_BITS,
    FIXED_POINT_UNIT,
    Keys,
    Merge,
    Slots,
    TableSpec,
)

RATING_MAX = 2.0**16
"""Values beyond ± this are not ratings (an amount, a time in ms), and their sum would not fit."""
_TOTAL_UNIT = float(1 << FIXED_POINT_BITS)
_ROW_ZERO = np.zeros(1, dtype=np.int32)


class BiasedMF(Factorization):
    """Rating of item i by user u is ``μ + b_u + b_i + p_u · q_i`` (Koren, Bell & Volinsky 2009).

    μ is the mean of all ratings so far. Stochastic gradient descent on the squared error, both
    rows from the old values. User rows start at zero, item factors at small values derived from
    the item's key. Events without a rating (``values`` is NaN or beyond ±2^16) teach it nothing.
    Steps of several learners add up as they are: the rates are small.

    Parameters
    ----------
    n_factors
        Factors of users and items.
    bias_rate, factor_rate
        Learning rates.
    bias_regularization, factor_regularization
        L2 on what an event touches.
    init_scale
        Standard deviation of new item factors.
    seed
        Of initial factors.
    """

    def __init__(
        self,
        *,
        n_factors: int = 10,
        bias_rate: float = 0.08,
        factor_rate: float = 0.05,
        bias_regularization: float = 0.05,
        factor_regularization: float = 0.02,
        init_scale: float = 0.1,
        seed: int = 0,
    ) -> None:
        if n_factors < 1 or not bias_rate > 0 or not factor_rate > 0:
            raise ValueError(
                f"n_factors={n_factors} must be at least 1, bias_rate={bias_rate} and"
                f" factor_rate={factor_rate} above 0"
            )
        self.n_factors = n_factors
        self.user_factors, self.item_factors = read_factors(
            "user_rating_factors", "item_rating_factors", n_factors
        )
        self.bias_rate = bias_rate
        self.factor_rate = factor_rate
        self.bias_regularization = bias_regularization
        self.factor_regularization = factor_regularization
        self.init_scale = init_scale
        self.seed = seed

    def settings(self) -> Mapping[str, Any]:
        return {
            "n_factors": self.n_factors,
            "bias_rate": self.bias_rate,
            "factor_rate": self.factor_rate,
            "bias_regularization": self.bias_regularization,
            "factor_regularization": self.factor_regularization,
            "init_scale": self.init_scale,
            "seed": self.seed,
        }

    def tables(self) -> Sequence[TableSpec]:
        """User and item rows are factors and bias; ``rating_totals`` is one row: sum, count."""
        return (
            self.user_factors.spec,
            self.item_factors.spec,
            TableSpec("rating_totals", "global", Merge.SUM, "i8", 2),
        )

    def readable(self) -> Sequence[Readable]:
        return self.user_factors, self.item_factors

    def initial(self, table: str, keys: Keys) -> NDArray[np.int32] | None:
        """Small random factors and a bias of zero."""
        if table != "item_rating_factors":
            return None
        return initial_rows(keys, self.n_factors, seed=self.seed, scale=self.init_scale)

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """One step a rating, in order."""
        batch = inputs.feedback
        # An error would come again at every restart: one message would stop learning for good.
        rated = np.flatnonzero(np.abs(batch.values) <= RATING_MAX)
        ratings = batch.values[rated]
        if len(rated) == 0:
            return
        users = state.own["user_rating_factors"]
        items, totals = shared.tables["item_rating_factors"], shared.tables["rating_totals"]
        totals.reserve(1)
        user_slots, item_rows = batch.user_slots[rated], batch.item_rows[rated]
        users.touch(user_slots)
        items.touch(item_rows)
        totals.touch(_ROW_ZERO)
        _learn(
            users.values,
            items.values,
            totals.values[0],
            user_slots,
            item_rows,
            ratings,
            np.array([self.factor_rate, self.bias_rate], dtype=np.float32),
            np.array([self.factor_regularization, self.bias_regularization], dtype=np.float32),
        )

    @staticmethod
    def predict(
        users: NDArray[np.float32], items: NDArray[np.int32], totals: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """``(n,)`` ratings predicted for pairs of rows; changes nothing.

        Parameters
        ----------
        users, items
            ``(n, k + 1)`` rows of ``user_rating_factors`` and of merged ``item_rating_factors``;
            zeros for a user or an item not yet known.
        totals
            ``(2,)``: the row of ``rating_totals``.
        """
        mean = totals[0] * FIXED_POINT_UNIT / max(1, totals[1])
        floats = as_floats(items)
        products = np.einsum("nk,nk->n", users[:, :-1], floats[:, :-1])
        predicted: NDArray[np.float64] = mean + users[:, -1] + floats[:, -1] + products
        return predicted


@numba.njit(cache=True, nogil=True)
def _learn(
    users: NDArray[np.float32],
    items: NDArray[np.int32],
    totals: NDArray[np.int64],
    user_slots: Slots,
    item_rows: Slots,
    ratings: NDArray[np.float64],
    rates: NDArray[np.float32],
    regularizations: NDArray[np.float32],
) -> None:
    k = users.shape[1] - 1
    padded = (k + LANES - 1) // LANES * LANES
    p = np.zeros(padded, dtype=np.float32)
    q = np.zeros((1, padded), dtype=np.float32)
    product = np.empty(1, dtype=np.float32)
    rate, bias_rate = rates
    decay, bias_decay = regularizations
    for i in range(len(ratings)):
        user, item = user_slots[i], item_rows[i]
        totals[0] += np.int64(np.rint(ratings[i] * _TOTAL_UNIT))
        totals[1] += 1
        mean = totals[0] / _TOTAL_UNIT / totals[1]
        for f in range(k):
            p[f] = users[user, f]
            q[0, f] = np.float32(items[item, f]) * UNIT
        dots(p, q, 1, product)
        user_bias, item_bias = users[user, k], np.float32(items[item, k]) * UNIT
        error = np.float32(ratings[i] - (mean + user_bias + item_bias + product[0]))
        for f in range(k):
            users[user, f] = clipped(p[f] + rate * (error * q[0, f] - decay * p[f]))
            step = rate * (error * p[f] - decay * q[0, f])
            items[item, f] = stepped(items[item, f], step)
        users[user, k] = clipped(user_bias + bias_rate * (error - bias_decay * user_bias))
        step = bias_rate * (error - bias_decay * item_bias)
        items[item, k] = stepped(items[item, k], step)
