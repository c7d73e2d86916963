"""Items whose embeddings are near to those of what the user took up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.catalogue.item_facts import greatest_first
from streamer.config import Config
from streamer.ranking.asked import Asked, met
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import NOTHING, Recalled, RecallSettings
from streamer.ranking.recall.measuring import (
    MeasureNames,
    Measures,
    MeasuringChannel,
    unmeasured,
)
from streamer_models.counters.history import UserHistory
from streamer_models.counters.rewards import UserRewards, rewards_of
from streamer_models.neighbors.content import content_profile, most_alike
from streamer_models.state.fixed_point import dots
from streamer_models.state.items.item_embeddings import Vectors
from streamer_models.state.model import Model
from streamer_models.state.table import Keys

_DAY_S: Final = 86_400.0
_TEMPERATURE: Final = 0.1
"""A cosine divided by it is a logit: what encoders that learn by contrast are trained with."""
_RULED_OUT: Final = 100
"""Nearest items beyond those asked for that are looked at first, as some may not be shown …"""
_MORE: Final = 8
"""… and how many times as many where these were not enough."""


class ContentSettings(RecallSettings, frozen=True, kw_only=True):
    """Recall by the embeddings of items; it needs `catalogue.embedding`."""

    candidates: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="recalled of the items whose embeddings are nearest to what the user took"
            " up; 0: the channel is off",
        ),
    ] = 50
    half_life_s: Annotated[
        float,
        Meta(
            ge=1,
            le=1e10,
            description="of the weight of an item in what the user took up (`mf.history` items)",
        ),
    ] = 30 * _DAY_S


@dataclass(frozen=True, slots=True)
class _TakenUp:
    """The items that a user met last, as embeddings.

    Attributes
    ----------
    keys, vectors
        ``(n,)`` and ``(n, width)``, the newest first; zeros for an item without an embedding.
    speaks
        ``(n,)`` those that were liked, and have one.
    profile
        ``(width,)`` their direction; zeros where there is none.
    """

    keys: Keys
    vectors: Vectors
    speaks: NDArray[np.bool_]
    profile: Vectors


class ContentChannel(MeasuringChannel[ContentSettings]):
    """Items whose embeddings point where those of the user's last items point.

    All items of the catalogue are looked at, those too that nobody has met. A measure is the cosine
    with the user's profile, less the mean over the candidates that have an embedding and parameters
    (practising knows no others), in units of .1; 0 for an item without an embedding, which is then
    as likely as the average.
    """

    name = "content"
    reason = "of a kind with what you liked"
    reason_with = "of a kind with {}"
    settings_type = ContentSettings
    related = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._history = UserHistory(length=config.mf.history)
        self._model = UserRewards(
            length=config.mf.history,
            n_numbers=config.catalogue.embedding,
            half_life_ms=round(1000 * self.settings.half_life_s),
        )

    @classmethod
    def is_on(cls, config: Config) -> bool:
        """Whether items have embeddings, and it brings some."""
        return config.catalogue.embedding > 0 and cls.settings_of(config).candidates > 0

    def models(self) -> Sequence[Model]:
        """Return the rewards of the user's last items."""
        return [self._model]

    @property
    def measures(self) -> MeasureNames:
        """Its cosine."""
        return MeasureNames(raw=(self.name,))

    def recall(self, context: Asked, allowed: NDArray[np.bool_], n: int) -> Recalled:
        taken_up = self._taken_up(context)
        if not taken_up.speaks.any() or not taken_up.profile.any():
            return NOTHING
        embeddings = context.item_embeddings
        of_all = embeddings.cosines(taken_up.profile)
        alike = np.flatnonzero(of_all > 0)
        cosines, keys = of_all[alike], embeddings.keys[alike]
        n_looked_at = n + _RULED_OUT
        while True:
            nearest = keys[greatest_first(cosines, keys, n_looked_at)]
            found = Recalled.of_keys(context, nearest, allowed)
            if len(found.rows) >= n or len(nearest) == len(keys):
                return found.first(n)
            n_looked_at *= _MORE

    def measure(self, asked: Asked, candidates: Candidates) -> Measures:
        profile = self._taken_up(asked).profile
        vectors, known = asked.item_embeddings.of(candidates.keys)
        cosines = np.zeros(len(candidates), dtype=np.float32)
        dots(profile, vectors, len(vectors), cosines)
        raw = np.zeros(len(candidates))
        n_met = len(candidates.rows)
        if known.any():
            of_met = cosines[:n_met][known[:n_met]].astype(np.float64)
            average = of_met.mean() if len(of_met) else 0.0
            raw[known] = (cosines[known].astype(np.float64) - average) / _TEMPERATURE
        return Measures(unmeasured(len(candidates)), raw[None, :])

    def because(self, context: RequestContext, keys: Keys) -> Keys:
        taken_up = self._taken_up(context)
        wanted, _ = context.item_embeddings.of(keys)
        at = most_alike(taken_up.vectors, taken_up.speaks, wanted)
        found = np.zeros_like(keys)
        found[at >= 0] = taken_up.keys[at[at >= 0]]
        return found

    def _taken_up(self, asked: Asked) -> _TakenUp:
        return asked.once(self.name, lambda: self._look_up(asked))

    def _look_up(self, asked: Asked) -> _TakenUp:
        last = met(asked, self._history)
        vectors, known = asked.item_embeddings.of(last.keys)
        # What was met before rewards were kept, and seeds, count as taken up.
        rewards = np.ones(len(last.keys))
        row = asked.tables.read(self._model.ring).row(asked.user_row)
        if row is not None and asked.seeds() is None:
            said = rewards_of(row)[: len(rewards)]
            rewards[: len(said)] = said
        rewards[~known] = 0
        profile = content_profile(vectors, last.ts_ms, rewards, self._model.half_life_ms)
        return _TakenUp(last.keys, vectors, rewards > 0, profile)
