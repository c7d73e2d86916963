"""The product's own factor models, each alone."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.replay.baselines.one_partition import OnePartition
from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.factorization.mf import ImplicitMF
from streamer_models.state.fixed_point import UNIT
from streamer_models.state.table import FIXED_POINT_UNIT


class ImplicitFactors(OnePartition):
    """`ImplicitMF`, the learner of the main job, as a model to compare with."""

    def __init__(self, model: ImplicitMF) -> None:
        super().__init__([model])
        self._is_choice = model.loss == "softmax"
        self._scores: NDArray[np.float32] | None = None

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float32]:
        """``p_u · q_i + b_i``."""
        scores = np.empty(n_items, dtype=np.float32)
        items = self.shared.tables["item_factors"].values
        user = self.user_row("user_factors", user_row)
        _score(user, items, self.state.item_rows, scores)
        self._scores = scores if self._is_choice else None
        return scores

    def logits(self) -> NDArray[np.float32] | None:
        """The scores, where the loss is a softmax over items; the others learn no shares."""
        return self._scores


class BiasedFactors(OnePartition):
    """:class:`streamer_models.factorization.biased_mf.BiasedMF` as a model to compare with."""

    def __init__(self, model: BiasedMF) -> None:
        super().__init__([model])

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float32]:
        """Predicted values, without what all items of a user share."""
        scores = np.empty(n_items, dtype=np.float32)
        items = self.shared.tables["item_rating_factors"].values
        user = self.user_row("user_rating_factors", user_row)
        _score(user, items, self.state.item_rows, scores)
        return scores

    def predict(self, user_row: int, item_row: int) -> float:
        """``μ + b_u + b_i + p_u · q_i``, with zeros for what is unknown; 0 before any value."""
        totals = self.shared.tables["rating_totals"].values
        if len(totals) == 0:
            return 0.0
        mean = float(totals[0, 0]) * FIXED_POINT_UNIT / max(1, int(totals[0, 1]))
        user = self.user_row("user_rating_factors", user_row)
        predicted = mean + float(user[-1])
        if item_row >= 0:
            score = np.empty(1, dtype=np.float32)
            rows = self.state.item_rows[item_row : item_row + 1]
            _score(user, self.shared.tables["item_rating_factors"].values, rows, score)
            predicted += float(score[0])
        return predicted


# Free to add in the order that vector instructions like: ten times as fast, and the last bit of a
# score may differ between processors, though never between two runs on one.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _score(
    user: NDArray[np.float32],
    items: NDArray[np.int32],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
) -> None:
    """``scores[i] = p · q + b`` of the fixed-point item at ``rows[i]``."""
    k = items.shape[1] - 1
    for i in range(len(scores)):
        row = rows[i]
        total = np.float32(0)
        for f in range(k):
            total += user[f] * np.float32(items[row, f])
        scores[i] = (total + np.float32(items[row, k])) * UNIT
