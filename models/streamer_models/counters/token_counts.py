"""How often items with each token were met: what a user's taste is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.inputs import Inputs
from streamer_models.state.items.item_tokens import NUMBERS, RANGES, TOKENS, UNITS, Tokens, Weights
from streamer_models.state.model import NothingPrepared, Prepared, StepwiseModel
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Array, Merge, TableSpec

EVENTS: Final = TOKENS
"""The row behind those of tokens: events whose item has any, each counted as a weight of 1."""


class TokenCounts(StepwiseModel):
    """Weights of the tokens of all items met, liked or not, in units of 2^-16.

    Attributes
    ----------
    counts
        Its table as it is read: a row a token, and one for the events.
    """

    def __init__(self) -> None:
        self.counts = ReadRows(
            TableSpec("token_counts", "slot", Merge.SUM, "i8", 1), many_at_once=True
        )

    def settings(self) -> Mapping[str, Any]:
        return {"tokens": RANGES}

    def tables(self) -> Sequence[TableSpec]:
        return (self.counts.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.counts,)

    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> Prepared:
        """Look up the tokens of the step's items, and touch them in the merged rows."""
        counts = shared.tables[self.counts.spec.name]
        counts.reserve(TOKENS + 1)
        if not len(inputs.item_tokens) or not len(inputs.feedback):
            return NothingPrepared()
        keys = state.items.keys[inputs.feedback.item_slots]
        tokens, weights = inputs.item_tokens.of(keys)
        counts.touch(tokens.reshape(-1))
        if (tokens[:, 0] >= 0).any():
            counts.touch(np.array([EVENTS], dtype=np.int32))
        return _CountedTokens(counts.values, tokens, weights)


@dataclass(frozen=True, slots=True)
class _CountedTokens:
    counts: Array
    tokens: Tokens
    weights: Weights

    def run(self, start: int, stop: int) -> None:
        _count(self.counts, self.tokens[start:stop], self.weights[start:stop])


@numba.njit(cache=True, nogil=True)
def _count(counts: NDArray[np.int64], tokens: Tokens, weights: Weights) -> None:
    for i in range(len(tokens)):
        if tokens[i, 0] >= 0:
            counts[EVENTS, 0] += UNITS
        for t in range(tokens.shape[1]):
            if tokens[i, t] < 0:
                break
            counts[tokens[i, t], 0] += np.int64(np.rint(weights[i, t] * UNITS))


@numba.njit(cache=True, nogil=True)
def taste_scores(
    met: Tokens,
    met_weights: Weights,
    shares: NDArray[np.float64],
    candidates: Tokens,
    weights: Weights,
    counts: NDArray[np.int64],
    prior: float,
    decay: float,
) -> NDArray[np.float64]:
    """``(2, n)`` for each candidate the mean of ``ln((c + m p) / (n + m) / p)`` over its tokens of
    words, and the same over those of numbers.

    p is the share of a token among all events, c what it weighs among the user's n last items, and
    m the prior; the k-th last item counts as ``decay^k``.

    Parameters
    ----------
    met, met_weights
        ``(length, TOKENS_MAX)`` of the user's last items, the newest first.
    shares
        ``(length,)`` how much each of these counts beside its age.
    candidates, weights
        ``(n, TOKENS_MAX)``; without tokens of a sort its score is 0.
    counts
        ``(TOKENS + 1, 1)`` of :class:`TokenCounts`.
    """
    weighed = np.zeros(TOKENS)
    n_met, fresh = 0.0, 1.0
    for i in range(len(met)):
        if met[i, 0] < 0:
            continue
        share = fresh * shares[i]
        for t in range(met.shape[1]):
            if met[i, t] < 0:
                break
            weighed[met[i, t]] += share * met_weights[i, t]
        n_met += share
        fresh *= decay
    scores = np.zeros((2, len(candidates)))
    if counts[EVENTS, 0] == 0:
        return scores
    totals = np.zeros(2)
    for i in range(len(candidates)):
        totals[:] = 0
        for t in range(candidates.shape[1]):
            token = candidates[i, t]
            if token < 0:
                break
            sort = 1 if token >= NUMBERS else 0
            p = counts[token, 0] / counts[EVENTS, 0]
            if p > 0:
                ratio = (weighed[token] + prior * p) / ((n_met + prior) * p)
                scores[sort, i] += weights[i, t] * np.log(ratio)
            totals[sort] += weights[i, t]
        for sort in range(2):
            if totals[sort] > 0:
                scores[sort, i] /= totals[sort]
    return scores
