"""Session factors: candidates whose factors match the user's last items; it brings none itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.config import Config
from streamer.ranking.asked import Asked, met
from streamer.ranking.candidates import Candidates
from streamer.ranking.recall.channel import NOTHING, Recalled, RecallSettings
from streamer.ranking.recall.measuring import (
    MeasureNames,
    Measures,
    MeasuringChannel,
    unmeasured,
)
from streamer_models.counters.consumptions import ItemConsumptions
from streamer_models.counters.history import UserHistory
from streamer_models.factorization.session import SessionFactors
from streamer_models.factorization.session_step import session_scores
from streamer_models.factorization.session_tokens import different_tokens, with_tokens
from streamer_models.state.fixed_point import as_floats
from streamer_models.state.model import Model
from streamer_models.state.table import Keys, Slots


class SessionSettings(RecallSettings, frozen=True, kw_only=True):
    """Factors of sessions, which score candidates of other channels."""

    candidates: Annotated[
        int, Meta(ge=0, le=0, description="none: it scores those of other channels")
    ] = 0
    factors: Annotated[
        int, Meta(ge=0, le=512, description="of users, of items and of last items; 0: not learned")
    ] = 32
    length: Annotated[
        int, Meta(ge=1, le=64, description="last items that make a session; at most mf.history")
    ] = 10
    negatives: Annotated[int, Meta(ge=1, le=1_000, description="drawn for each positive")] = 20
    learning_rate: Annotated[float, Meta(gt=0, le=10, description="AdaGrad's")] = 0.15
    regularization: Annotated[
        float, Meta(ge=0, le=1, description="decay of touched rows, in units of the rate")
    ] = 0.01
    catalogue_rate: Annotated[
        float,
        Meta(ge=0, le=10, description="AdaGrad's, of `catalogue.fields`; 0: they are not learned"),
    ] = 0.05


class SessionChannel(MeasuringChannel[SessionSettings]):
    """Scores candidates by the user's vector and those of the last items."""

    name = "session"
    reason = "for you"
    settings_type = SessionSettings

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._history = UserHistory(length=config.mf.history)
        self._counted = ItemConsumptions()
        self._model = SessionFactors(
            n_factors=self.settings.factors,
            length=min(self.settings.length, config.mf.history),
            n_negatives=self.settings.negatives,
            learning_rate=self.settings.learning_rate,
            regularization=self.settings.regularization,
            catalogue_rate=self.settings.catalogue_rate if config.catalogue.fields else 0.0,
            seed=config.learner.seed,
        )

    @classmethod
    def is_on(cls, config: Config) -> bool:
        """Whether factors are learned."""
        return cls.settings_of(config).factors > 0

    @classmethod
    def off(cls) -> dict[str, object]:
        """Return the key, with the value, that switches it off."""
        return {cls.key("factors"): 0}

    def models(self) -> Sequence[Model]:
        """Return the session factors."""
        return [self._model]

    @property
    def measures(self) -> MeasureNames:
        """Its score."""
        return MeasureNames(raw=(self.name,))

    def recall(self, context: Asked, allowed: NDArray[np.bool_], n: int) -> Recalled:
        return NOTHING

    def measure(self, asked: Asked, candidates: Candidates) -> Measures:
        model, tables = self._model, asked.tables
        user = tables.read(model.users).row(asked.user_row)
        if user is None:
            user = np.zeros(model.n_factors + 1, dtype=np.float32)
        rows = asked.item_rows(met(asked, self._history).keys[: model.length])
        # An item may have a row before its first event of this step is learned: not yet there.
        known = np.flatnonzero(tables.read(self._counted.counts).take(rows)[:, 0] > 0)
        last, n = rows[known], len(known)
        new = np.full(len(candidates) - len(candidates.rows), -1, dtype=np.int32)
        vectors = self._vectors(
            asked,
            np.concatenate([last, candidates.rows, new]),
            np.concatenate([asked.item_keys[last], candidates.keys]),
        )
        scores = session_scores(user, vectors[:n], model.weights[known], vectors[n:])
        return Measures(unmeasured(len(candidates)), scores[None, :].astype(np.float64))

    def _vectors(self, asked: Asked, rows: Slots, keys: Keys) -> NDArray[np.float32]:
        """``(n, 2 k + 1)`` q, v and bias of items with the shares of their tokens, which are all
        that is known of an item without a row."""
        model = self._model
        items = asked.tables.read(model.items).take(rows)
        if not model.catalogue_rate or not len(asked.item_tokens) or not len(rows):
            return as_floats(items)
        tokens, weights = asked.item_tokens.of(keys)
        different, places = different_tokens(tokens)
        vectors = asked.tables.read(model.tokens).take(different)
        return with_tokens(items, places, weights, vectors)
