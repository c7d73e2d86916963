"""Matrix factorization: the items whose factors match the user's best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import NOTHING, Channel, Recalled, Scores, WeighedSettings
from streamer.replica.columns import best
from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.factorization.mf import ImplicitMF
from streamer_models.state.model import Model


class FactorizationSettings(WeighedSettings, frozen=True, kw_only=True):
    """Recall by matrix factorization; with neither candidates nor weight it is not learned."""

    candidates: Annotated[
        int, Meta(ge=0, le=10_000, description="recalled by matrix factorization")
    ] = 0
    weight: Annotated[
        float,
        Meta(ge=0, le=1_000, description="of the factorization's score in the bandit's prior"),
    ] = 0.0


class FactorizationChannel(Channel[FactorizationSettings]):
    """The items whose factors match the user's best, by ``p_u · q_i + b_i``.

    Nothing for a user who has no factors yet.
    """

    name = "mf"
    reason = "for you"
    settings_type = FactorizationSettings
    score_meaning = "score of the factorization"
    crossed = True

    @property
    def kind(self) -> type[ImplicitMF | BiasedMF]:
        """The model of ``[mf]``."""
        return BiasedMF if self.config.learner.model == "explicit" else ImplicitMF

    def models(self) -> Sequence[Model]:
        """Return the model of ``[mf]``."""
        mf, learner = self.config.mf, self.config.learner
        if self.kind is BiasedMF:
            return [BiasedMF(n_factors=mf.factors, seed=learner.seed)]
        return [
            ImplicitMF(
                n_factors=mf.factors,
                loss=mf.loss,
                learning_rate=mf.learning_rate,
                regularization=mf.regularization,
                n_negatives=mf.n_negatives,
                recent_share=mf.recent_share,
                n_recent_items=mf.recent_items,
                init_scale=mf.init_scale,
                seed=learner.seed,
            )
        ]

    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        scores = self._of_all(context)
        if scores is None:
            return NOTHING
        return Recalled(best(np.where(allowed, scores, np.float32(-np.inf)), n, context.items.keys))

    def score(self, context: RequestContext, candidates: Candidates) -> Scores:
        found, scores = candidates.zeros(), self._of_all(context)
        if scores is not None:
            found[: len(candidates.rows)] = scores[candidates.rows]
        return found

    def _of_all(self, context: RequestContext) -> Scores | None:
        """``(n_rows,)`` scores of all items; None for a user that has no factors."""
        return context.once(self.name, lambda: self._scan(context))

    def _scan(self, context: RequestContext) -> Scores | None:
        known = context.version.factors(self.kind)
        return None if known is None else known.scores(context.user_row)
