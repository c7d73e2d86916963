"""Session factors: the user's own vector and those of the last items against each item's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer_models.counters.recent import recent_items
from streamer_models.factorization.factors import keep_adagrad
from streamer_models.factorization.mf_step import all_finite, candidate_rows
from streamer_models.factorization.negatives import NegativeSampler
from streamer_models.factorization.session_step import learn_session, recency_weights
from streamer_models.factorization.session_tokens import TokenArrays, known_tokens
from streamer_models.state.inputs import Batch, Inputs
from streamer_models.state.items.item_tokens import NO_TOKENS, RANGES, TOKENS, ItemTokens
from streamer_models.state.model import NothingPrepared, Prepared, StepwiseModel
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.seeding import initial_rows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import ITEM, USER, Array, Change, Keys, Merge, Slots, TableSpec


class SessionFactors(StepwiseModel):
    """Score of an item is ``c · q_i + b_i`` with ``c = .3 p_u + Σ w_k v(h_k) / Σ w_k``.

    ``h_k`` are the user's last items and ``w_k = (1 + k)^-.7``: a first-order view of the session
    (as in SASRec's factorized relatives, Kang & McAuley 2018; FPMC, Rendle et al. 2010). Learned
    by sampled softmax with logQ correction (Bengio & Senécal 2008; Yi et al. 2019), one AdaGrad
    step an event. A negative reward is one logistic step away from the item.

    Where a catalogue says tokens of items (categories, tags), q, v and b of an item are its own
    plus those of its tokens by their weights, so that a new item begins as its kind (feature
    vectors as in SVDFeature, Chen et al. 2012; LightFM, Kula 2015). A token is one of 4,096 by its
    hash.

    It learns beside a :class:`UserHistory <streamer_models.counters.history.UserHistory>` at least
    as long as ``length``.

    Parameters
    ----------
    n_factors
        k.
    length
        Last items that make the context.
    learning_rate, regularization
        AdaGrad's rate, and the weight decay of touched rows in units of it.
    n_negatives, recent_share, n_recent_items
        See :class:`streamer_models.factorization.negatives.NegativeSampler`.
    init_scale
        Standard deviation of new item factors.
    catalogue_rate
        AdaGrad's rate of tokens, which begin at 0; 0: no tokens.
    seed
        Of initial factors and negatives.

    Attributes
    ----------
    users, items, tokens
        Its tables as they are read: p_u, and an accumulator; q, v and bias in units of 2^-24, of
        items and of tokens by their number.
    """

    def __init__(
        self,
        *,
        n_factors: int = 32,
        length: int = 10,
        learning_rate: float = 0.15,
        regularization: float = 0.01,
        n_negatives: int = 20,
        recent_share: float = 0.95,
        n_recent_items: int = 8_192,
        init_scale: float = 0.2,
        catalogue_rate: float = 0.05,
        seed: int = 0,
    ) -> None:
        shrink = learning_rate * regularization
        if n_factors < 1 or length < 1 or not learning_rate > 0 or not 0 <= shrink < 1:
            raise ValueError(
                f"n_factors={n_factors} and length={length} must be at least 1,"
                f" learning_rate={learning_rate} above 0, and regularization={regularization} times"
                " that at least 0 and below 1"
            )
        if not catalogue_rate >= 0:
            raise ValueError(f"catalogue_rate={catalogue_rate} must be at least 0")
        self.n_factors = n_factors
        self.length = length
        self.learning_rate = learning_rate
        self.regularization = regularization
        self.init_scale = init_scale
        self.catalogue_rate = catalogue_rate
        self.seed = seed
        self.sampler = NegativeSampler(
            n_negatives=n_negatives,
            recent_share=recent_share,
            n_recent_items=n_recent_items,
            seed=seed,
            corrected=True,
            table="session_recent_items",
        )
        self.weights = recency_weights(length)
        self.users = ReadRows(TableSpec("session_users", USER, Merge.REPLACE, "f4", n_factors + 1))
        self.items = ReadRows(
            TableSpec("session_items", ITEM, Merge.SUM, "i4", 2 * n_factors + 1), many_at_once=True
        )
        self._squares = TableSpec("session_squares", ITEM, Merge.SUM, "i8", 3)
        width = 2 * n_factors + 1
        self.tokens = ReadRows(
            TableSpec("session_tokens", "slot", Merge.SUM, "i4", width), many_at_once=True
        )
        self._token_squares = TableSpec("session_token_squares", "slot", Merge.SUM, "i8", 3)

    def settings(self) -> Mapping[str, Any]:
        return {
            "n_factors": self.n_factors,
            "length": self.length,
            "learning_rate": self.learning_rate,
            "regularization": self.regularization,
            "n_negatives": self.sampler.n_negatives,
            "recent_share": self.sampler.recent_share,
            "n_recent_items": self.sampler.n_recent_items,
            "init_scale": self.init_scale,
            "catalogue_rate": self.catalogue_rate,
            "tokens": RANGES if self.catalogue_rate else {},
            "seed": self.seed,
        }

    def tables(self) -> Sequence[TableSpec]:
        of_tokens = (self.tokens.spec, self._token_squares) if self.catalogue_rate else ()
        return self.users.spec, self.items.spec, self._squares, self.sampler.table(), *of_tokens

    def readable(self) -> Sequence[Readable]:
        return (
            (self.users, self.items, self.tokens)
            if self.catalogue_rate
            else (self.users, self.items)
        )

    def initial(self, table: str, keys: Keys) -> NDArray[np.int32] | None:
        """Small random factors and a bias of zero."""
        if table != self.items.spec.name:
            return None
        return initial_rows(keys, 2 * self.n_factors, seed=self.seed, scale=self.init_scale)

    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> Prepared:
        """Draw negatives, look up what each user met before, touch all of it.

        Raises
        ------
        ValueError
            If a reward is not finite; nothing is changed then.
        """
        batch = inputs.feedback
        if not len(batch):
            return NothingPrepared()
        if not all_finite(batch.rewards):
            raise ValueError("a reward is not finite; refuse such events before they are learned")
        recent = recent_items(batch, state, self.length)
        negatives = self.sampler.draw(batch, state)
        candidates = candidate_rows(batch.item_rows, negatives.slots, state.item_rows)
        known = recent.slots >= 0
        before = np.where(known, state.item_rows[recent.slots], np.int32(-1)).astype(np.int32)
        users = state.own[self.users.spec.name]
        items, squares = shared.tables[self.items.spec.name], shared.tables[self._squares.name]
        learned = batch.rewards != 0
        users.touch(batch.user_slots[learned])
        for table in (items, squares):
            table.touch(candidates[learned].reshape(-1))
            table.touch(before[learned].reshape(-1))
        tokens = self._step_tokens(inputs.item_tokens, candidates[learned], before[learned], shared)
        return _Steps(
            self, batch, users.values, items.values, squares.values, tokens, candidates,
            negatives.log_expected, before,
        )  # fmt: skip

    def _step_tokens(
        self, of_items: ItemTokens, candidates: Slots, before: Slots, shared: SharedState
    ) -> TokenArrays:
        """Touch the tokens of a step's items."""
        if not self.catalogue_rate:
            return _no_tokens(2 * self.n_factors + 1)
        known, met = known_tokens(of_items, candidates, before, shared.ids[ITEM].keys)
        vectors, squares = (
            shared.tables[spec.name] for spec in (self.tokens.spec, self._token_squares)
        )
        for table in (vectors, squares):
            table.reserve(TOKENS)
            table.touch(met)
        return TokenArrays(known, of_items.tokens, of_items.weights, vectors.values, squares.values)

    def rescale(self, shared: SharedState, others: Sequence[Change]) -> None:
        """Keep AdaGrad's rule across learners; see
        :func:`streamer_models.factorization.factors.keep_adagrad`."""
        widths = (self.n_factors, self.n_factors, 1)
        keep_adagrad(shared, others, self.items.spec.name, self._squares.name, widths)
        if self.catalogue_rate:
            keep_adagrad(shared, others, self.tokens.spec.name, self._token_squares.name, widths)


@dataclass(frozen=True, slots=True)
class _Steps:
    model: SessionFactors
    batch: Batch
    users: Array
    items: Array
    squares: Array
    tokens: TokenArrays
    candidates: Slots
    log_expected: NDArray[np.float32]
    recent: Slots

    def run(self, start: int, stop: int) -> None:
        model, batch = self.model, self.batch
        learn_session(
            self.users,
            self.items,
            self.squares,
            self.tokens,
            batch.user_slots,
            self.candidates,
            self.log_expected,
            batch.rewards,
            self.recent,
            model.weights,
            model.learning_rate * batch.rate_factor,
            model.catalogue_rate * batch.rate_factor,
            model.regularization / batch.rate_factor,  # a drift is no reason to forget more
            start,
            stop,
        )


def _no_tokens(width: int) -> TokenArrays:
    none, no_rows = NO_TOKENS, np.zeros(0, dtype=np.int32)
    vectors, squares = np.zeros((0, width), np.int32), np.zeros((0, 3), np.int64)
    return TokenArrays(no_rows, none.tokens, none.weights, vectors, squares)
