"""The blend as what orders candidates: ``funnel.ranker = blend``."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.errors import BadMessage
from streamer.events import Decision
from streamer.ranking.features import Features
from streamer.ranking.logged_composition import composition_of
from streamer.ranking.recall.blend import BlendChannel
from streamer.scorer.policy.boosts import boosts_of, logged_boosts
from streamer.scorer.policy.choice import Choice, Parameters
from streamer.scorer.policy.knowledge import Knowledge
from streamer_models.bandits.composition import Composition
from streamer_models.bandits.slates import draw_best
from streamer_models.ranking.blend_kernels import shares_of_choice

Logits = NDArray[np.float64]

_NUMBER: Final = 8
"""Bytes of a logit in a decision."""


class BlendPolicy:
    """Candidates in the order of the blend's logits, the first by key of equal ones.

    Nothing is explored, so the propensity of each slot is 1. What is expected of a candidate is its
    share of the choice among all of them, ``softmax(z)``.
    """

    name: str = BlendChannel.name
    parameters: Parameters = {}  # noqa: RUF012 - of the protocol

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        logits = knowledge.scores[BlendChannel.name].astype(np.float64)
        raised = knowledge.raised
        boosts = None if raised is None else boosts_of(raised, logits)
        return self._of(logits, k, seed, boosts, knowledge.composition)

    @classmethod
    def redraw(cls, decision: Decision) -> Choice:
        """Order the candidates of a decision again by the logits that it logged.

        Raises
        ------
        BadMessage
            Where it logged none of so many candidates.
        """
        state, n = decision.policy_state, len(decision.candidates)
        if state is None or len(state) != _NUMBER * n:
            raise BadMessage(
                f"decision: it can't be drawn again: policy {cls.name!r} needs a policy_state of"
                f" {_NUMBER * n} bytes, a logit of each of {n} candidates; it has"
                f" {'none' if state is None else f'{len(state)} bytes'}"
            )
        logits = np.frombuffer(state, dtype="<f8").astype(np.float64)
        if not np.isfinite(logits).all():
            raise BadMessage(
                "decision: it can't be drawn again: a logit in policy_state is not finite"
            )
        boosts, composition = logged_boosts(decision), composition_of(decision)
        return cls._of(logits, len(decision.items), decision.seed, boosts, composition)

    @staticmethod
    def _of(
        logits: Logits, k: int, seed: int, boosts: Logits | None, composition: Composition
    ) -> Choice:
        lifted = logits if boosts is None else logits + boosts
        n = min(k, len(logits))
        draw = draw_best(lifted, n, seed, uniform_share=0.0, composition=composition)
        return Choice(
            order=draw.order,
            propensities=draw.propensities,
            explored=draw.explored,
            expected=shares_of_choice(logits),
            state=logits.astype("<f8").tobytes(),
            boosts=boosts,
            lifted=None if boosts is None else shares_of_choice(lifted),
        )
