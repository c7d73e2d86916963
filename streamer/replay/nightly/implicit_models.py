"""Factorizations of the package implicit, trained on a schedule."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.replay.nightly.consumed import Consumed, Rows

Floats = NDArray[np.float32]

INSTALLED = find_spec("implicit") is not None


class _OfImplicit:
    """Base of the factorizations of implicit: made, seeded and fitted anew for each training."""

    items_max = None

    def __init__(self, kind: str, parameters: dict[str, Any], seed: int) -> None:
        if not INSTALLED:
            raise ConfigError(
                "implicit is not installed, and nightly:als and nightly:bpr are built on it: pip"
                " install '.[nightly]' in the folder of streamer's code"
            )
        self._kind = kind
        # One thread: its SGD is the same every time with one alone, and so are times an event.
        self._parameters = parameters | {"random_state": seed, "num_threads": 1}
        self._model: Any = None

    def train(self, consumed: Consumed) -> None:
        """Fit a new model."""
        import implicit.cpu.als
        import implicit.cpu.bpr
        from threadpoolctl import threadpool_limits

        kinds = {
            "als": implicit.cpu.als.AlternatingLeastSquares,
            "bpr": implicit.cpu.bpr.BayesianPersonalizedRanking,
        }
        with threadpool_limits(1, "blas"):  # as implicit asks for
            self._model = kinds[self._kind](**self._parameters)
            self._model.fit(_matrix(consumed), show_progress=False)

    def _scored(self, user: Floats) -> Floats:
        found: Floats = self._model.item_factors @ user
        return found


class ImplicitALS(_OfImplicit):
    """Weighted least squares in turn (Hu, Koren & Volinsky 2008), users folded in.

    Parameters
    ----------
    factors, regularization, alpha, iterations
        As in implicit's ``AlternatingLeastSquares``.
    """

    folds_in = True

    def __init__(
        self,
        *,
        factors: int = 32,
        regularization: float = 10.0,
        alpha: float = 10.0,
        iterations: int = 15,
        seed: int = 0,
    ) -> None:
        parameters = {
            "factors": factors,
            "regularization": regularization,
            "alpha": alpha,
            "iterations": iterations,
        }
        super().__init__("als", parameters, seed)

    def scores(self, user_row: int, history: Rows) -> Floats:
        """The user's vector is solved for the history; zeros where there is none."""
        n_items = len(self._model.item_factors)
        row = Consumed(np.array([0, len(history)]), history, np.zeros(n_items, dtype=np.int64))
        user: Floats = self._model.recalculate_user(0, _matrix(row))
        return self._scored(user)


class ImplicitBPR(_OfImplicit):
    """Bayesian personalized ranking (Rendle et al. 2009); it knows users by its training alone.

    Parameters
    ----------
    factors, learning_rate, regularization, iterations
        As in implicit's ``BayesianPersonalizedRanking``.
    """

    folds_in = False

    def __init__(
        self,
        *,
        factors: int = 32,
        learning_rate: float = 0.05,
        regularization: float = 0.01,
        iterations: int = 100,
        seed: int = 0,
    ) -> None:
        parameters = {
            "factors": factors,
            "learning_rate": learning_rate,
            "regularization": regularization,
            "iterations": iterations,
        }
        super().__init__("bpr", parameters, seed)

    def scores(self, user_row: int, history: Rows) -> Floats:
        """By the vector of the training; zeros for a user that it was not trained on."""
        factors: Floats = self._model.user_factors
        if not 0 <= user_row < len(factors):
            return np.zeros(len(self._model.item_factors), dtype=np.float32)
        return self._scored(factors[user_row])


def _matrix(consumed: Consumed) -> Any:
    """A sparse matrix of users by items."""
    from scipy.sparse import csr_matrix

    ones = np.ones(len(consumed.items), dtype=np.float32)
    starts = consumed.starts.astype(np.int32)
    return csr_matrix((ones, consumed.items, starts), shape=(consumed.n_users, consumed.n_items))
