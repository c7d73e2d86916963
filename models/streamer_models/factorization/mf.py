"""Matrix factorization from implicit feedback, one online step an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer_models.factorization.factors import Factorization, keep_adagrad, read_factors
from streamer_models.factorization.mf_step import LOSSES, all_finite, candidate_rows, learn_implicit
from streamer_models.factorization.negatives import NegativeSampler
from streamer_models.state.fixed_point import as_floats
from streamer_models.state.inputs import Inputs
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable
from streamer_models.state.seeding import initial_rows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Change, Keys, Merge, TableSpec


class ImplicitMF(Factorization):
    """Score of user u for item i is ``p_u · q_i + b_i``, learned against drawn negatives.

    A positive reward is one step of the weight it names against ``n_negatives`` items; a negative
    one is one logistic step away from the item; one of 0 teaches nothing. Steps are AdaGrad with
    one accumulator a row. User vectors start at zero, so a new user is scored by item biases, item
    vectors at small values derived from the item's key. Item parameters are fixed point and
    saturate at ±64.

    Parameters
    ----------
    n_factors
        Factors of users and items.
    loss
        ``"bpr"`` (Rendle et al. 2009), ``"logistic"`` or ``"softmax"``.
    learning_rate
        AdaGrad's.
    regularization
        Weight decay of the rows an event touches, decoupled from AdaGrad's rate (Loshchilov &
        Hutter 2019): a step takes ``learning_rate * regularization`` of each value; below 1.
    n_negatives, recent_share, n_recent_items
        See :class:`streamer_models.factorization.negatives.NegativeSampler`.
    init_scale
        Standard deviation of new item factors.
    seed
        Of initial factors and negatives.
    """

    def __init__(
        self,
        *,
        n_factors: int = 32,
        loss: str = "softmax",
        learning_rate: float = 0.15,
        regularization: float = 0.0,
        n_negatives: int = 10,
        recent_share: float = 0.0,
        n_recent_items: int = 16_384,
        init_scale: float = 0.1,
        seed: int = 0,
    ) -> None:
        shrink = learning_rate * regularization
        if n_factors < 1 or loss not in LOSSES or not learning_rate > 0 or not 0 <= shrink < 1:
            raise ValueError(
                f"n_factors={n_factors} must be at least 1, loss={loss!r} one of {LOSSES},"
                f" learning_rate={learning_rate} above 0, and regularization={regularization} times"
                " that at least 0 and below 1"
            )
        self.n_factors = n_factors
        self.user_factors, self.item_factors = read_factors(
            "user_factors", "item_factors", n_factors
        )
        self.loss = loss
        self.learning_rate = learning_rate
        self.regularization = regularization
        self.init_scale = init_scale
        self.seed = seed
        self.sampler = NegativeSampler(
            n_negatives=n_negatives,
            recent_share=recent_share,
            n_recent_items=n_recent_items,
            seed=seed,
            corrected=loss == "softmax",
        )

    def settings(self) -> Mapping[str, Any]:
        return {
            "n_factors": self.n_factors,
            "loss": self.loss,
            "learning_rate": self.learning_rate,
            "regularization": self.regularization,
            "n_negatives": self.sampler.n_negatives,
            "recent_share": self.sampler.recent_share,
            "n_recent_items": self.sampler.n_recent_items,
            "init_scale": self.init_scale,
            "seed": self.seed,
        }

    def tables(self) -> Sequence[TableSpec]:
        return (
            self.user_factors.spec,
            self.item_factors.spec,
            TableSpec("item_adagrad", "item", Merge.SUM, "i8", 2),
            self.sampler.table(),
        )

    def readable(self) -> Sequence[Readable]:
        return self.user_factors, self.item_factors

    def initial(self, table: str, keys: Keys) -> NDArray[np.int32] | None:
        """Small random factors and a bias of zero."""
        if table != "item_factors":
            return None
        return initial_rows(keys, self.n_factors, seed=self.seed, scale=self.init_scale)

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """One step an event, in order.

        Raises
        ------
        ValueError
            If a reward is not finite; nothing is changed then.
        """
        batch = inputs.feedback
        if not len(batch):
            return
        if not all_finite(batch.rewards):
            raise ValueError("a reward is not finite; refuse such events before they are learned")
        negatives = self.sampler.draw(batch, state)
        candidates = candidate_rows(batch.item_rows, negatives.slots, state.item_rows)
        users = state.own["user_factors"]
        items, squares = shared.tables["item_factors"], shared.tables["item_adagrad"]
        users.touch(batch.user_slots)
        touched = candidates.reshape(-1)
        items.touch(touched)
        squares.touch(touched)
        learn_implicit(
            users.values,
            items.values,
            squares.values,
            batch.user_slots,
            candidates,
            negatives.log_expected,
            batch.rewards,
            LOSSES.index(self.loss),
            self.learning_rate * batch.rate_factor,
            self.regularization / batch.rate_factor,  # a drift is no reason to forget more
        )

    def rescale(self, shared: SharedState, others: Sequence[Change]) -> None:
        """Keep AdaGrad's rule across learners; see
        :func:`streamer_models.factorization.factors.keep_adagrad`."""
        keep_adagrad(shared, others, "item_factors", "item_adagrad", (self.n_factors, 1))

    @staticmethod
    def item_arrays(rows: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``(n, k)`` factors and ``(n,)`` biases of merged ``item_factors`` rows, as floats."""
        values = as_floats(rows)
        return np.ascontiguousarray(values[:, :-1]), values[:, -1].copy()


def item_scores(
    user_factors: NDArray[np.float32],
    item_factors: NDArray[np.float32],
    item_biases: NDArray[np.float32],
) -> NDArray[np.float32]:
    """``(n,)`` scores of items for a user.

    Parameters
    ----------
    user_factors
        ``(k,)``: a ``user_factors`` row without its last column; zeros for a user not yet known.
    item_factors, item_biases
        ``(n, k)`` and ``(n,)`` from :meth:`ImplicitMF.item_arrays`.
    """
    scores: NDArray[np.float32] = item_factors @ user_factors + item_biases
    return scores
