"""What rewards a log leads one to expect: a cross-fitted ridge regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer_models.evaluation.ope.weighed_log import Floats

Indices = NDArray[np.intp]


class CrossFittedRidge:
    """``q̂(x, a, slot) = c + s_slot + b_a + β·x_a``, each row predicted by a fit without its fold.

    One intercept an action, one a slot, and coefficients that the actions share; minimises
    ``Σ (r - q̂)² + λ (|s|² + |b|² + |β|²)``. With few outcomes b_a shrinks towards 0, so a rare
    action is expected to earn what its features say. The fit for fold k is that of all rows but
    those of k, so that no prediction has seen its own outcome (Chernozhukov et al. 2018).

    Sums over the rows suffice: memory is O(folds * actions * features), whatever the log's length,
    and a fit takes O(actions * features²) (the actions' intercepts are eliminated first).

    Parameters
    ----------
    n_actions, n_features, n_slots
        Shapes; there may be no features.
    n_folds
        At least 2.
    regularization
        λ, above 0, in rows.

    Raises
    ------
    ValueError
        Where a value is out of its range.

    Examples
    --------
    Action 1 always pays, action 0 never does:

    >>> model = CrossFittedRidge(2, 0, 1, n_folds=2, regularization=1e-6)
    >>> rows = np.arange(8)
    >>> model.add(rows // 4, rows % 2, rows * 0, np.empty((8, 0)), (rows % 2).astype(float))
    >>> model.fit()
    >>> model.predict(0, np.array([0, 1]), 0, np.empty((2, 0))).round(3).tolist()
    [0.0, 1.0]
    """

    def __init__(
        self,
        n_actions: int,
        n_features: int,
        n_slots: int,
        *,
        n_folds: int = 5,
        regularization: float = 1.0,
    ) -> None:
        if n_folds < 2:
            raise ValueError(f"n_folds={n_folds} must be at least 2: one to fit, one to predict")
        if not regularization > 0:
            raise ValueError(f"regularization={regularization} must be above 0, e.g. 1")
        self.n_folds = n_folds
        self._regularization = regularization
        self._n_slots = n_slots
        # Constant, slots, features.
        width = 1 + n_slots + n_features
        self._counts = np.zeros((n_folds, n_actions))
        self._action_rewards = np.zeros((n_folds, n_actions))
        self._action_inputs = np.zeros((n_folds, n_actions, width))
        self._squares = np.zeros((n_folds, width, width))
        self._input_rewards = np.zeros((n_folds, width))
        self._intercepts = np.zeros((n_folds, n_actions))
        self._coefficients = np.zeros((n_folds, width))

    def add(
        self, folds: Indices, actions: Indices, slots: Indices, features: Floats, rewards: Floats
    ) -> None:
        """Take in rows: ``(n,)`` each, ``features`` of the logged actions ``(n, n_features)``."""
        inputs = np.zeros((len(folds), self._squares.shape[1]))
        inputs[:, 0] = 1.0
        inputs[np.arange(len(folds)), 1 + slots] = 1.0
        inputs[:, 1 + self._n_slots :] = features
        np.add.at(self._counts, (folds, actions), 1.0)
        np.add.at(self._action_rewards, (folds, actions), rewards)
        np.add.at(self._action_inputs, (folds, actions), inputs)
        for fold in np.unique(folds):
            rows = folds == fold
            self._squares[fold] += inputs[rows].T @ inputs[rows]
            self._input_rewards[fold] += rewards[rows] @ inputs[rows]

    def fit(self) -> None:
        """Fit a model for each fold from the rows of the others."""
        for fold in range(self.n_folds):
            self._coefficients[fold], self._intercepts[fold] = self._solution(fold)

    def predict(self, fold: int, actions: Indices, slot: int, features: Floats) -> Floats:
        """``(n,)`` expected rewards of ``actions`` in one slot, for a row of ``fold``.

        Parameters
        ----------
        actions
            ``(n,)``.
        features
            ``(n, n_features)``.
        """
        coefficients = self._coefficients[fold]
        constant = coefficients[0] + coefficients[1 + slot]
        expected: Floats = (
            constant
            + self._intercepts[fold, actions]
            + features @ coefficients[1 + self._n_slots :]
        )
        return expected

    def _solution(self, fold: int) -> tuple[Floats, Floats]:
        """Coefficients and intercepts; the actions' block of the equations is diagonal."""
        counts = self._others(self._counts, fold) + self._regularization
        crossed = self._others(self._action_inputs, fold)
        shared = crossed / counts[:, None]
        action_rewards = self._others(self._action_rewards, fold)
        penalty = np.full(crossed.shape[1], self._regularization)
        # The constant is free, but for what keeps the equations solvable without any row.
        penalty[0] = 1e-9
        squares = self._others(self._squares, fold) + np.diag(penalty)
        left = squares - shared.T @ crossed
        right = self._others(self._input_rewards, fold) - shared.T @ action_rewards
        coefficients: Floats = np.linalg.solve(left, right).astype(np.float64)
        return coefficients, (action_rewards - crossed @ coefficients) / counts

    def _others(self, sums: Floats, fold: int) -> Floats:
        others: Floats = np.delete(sums, fold, axis=0).sum(axis=0)
        return others
