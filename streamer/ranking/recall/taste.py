"""Taste: candidates of the kinds that the user's last items are of; it brings none itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.config import Config
from streamer.ranking.asked import Asked, met
from streamer.ranking.candidates import Candidates
from streamer.ranking.profiles import chosen, chosen_tokens
from streamer.ranking.recall.channel import NOTHING, Recalled, RecallSettings
from streamer.ranking.recall.measuring import (
    MeasureNames,
    Measures,
    MeasuringChannel,
    unmeasured,
)
from streamer_models.counters.history import UserHistory
from streamer_models.counters.taste_changes import lasting_shares
from streamer_models.counters.token_counts import TokenCounts, taste_scores
from streamer_models.state.items.item_tokens import TOKENS, Tokens, Weights
from streamer_models.state.model import Model
from streamer_models.state.table import Keys

_OVER: Final = {"long": (10.0, 1.0), "short": (3.0, 0.8)}
"""How much of the user's history is looked at: events that everybody's taste is worth, and by how
much each earlier item of the user counts less."""
SPANS: Final = tuple(_OVER)
_ALL: Final = np.arange(TOKENS + 1, dtype=np.int32)


class TasteSettings(RecallSettings, frozen=True, kw_only=True):
    """How often the user's last items have what the catalogue says of a candidate."""

    candidates: Annotated[
        int, Meta(ge=0, le=0, description="none: it scores those of other channels")
    ] = 0
    on: Annotated[bool, Meta(description="whether tokens of `[catalogue]` are counted")] = True
    changes: Annotated[
        float,
        Meta(
            ge=0,
            le=0.5,
            description="how likely a taste changes between two items of a user: what was met"
            " before counts less once the last ones are of other kinds; 0: never",
        ),
    ] = 0.005


class TasteChannel(MeasuringChannel[TasteSettings]):
    """Scores candidates by what the catalogue says of them and of the user's last items.

    A word (category, tag, brand) or a number (year) counts by how much more of it the user met
    than everybody did: over all items that are kept, and with the newest first. Items of a taste
    that has changed since count less (:mod:`streamer_models.counters.taste_changes`).
    """

    name = "taste"
    reason = "for you"
    settings_type = TasteSettings

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._history = UserHistory(length=config.mf.history)
        self._model = TokenCounts()

    @classmethod
    def is_on(cls, config: Config) -> bool:
        """Whether the catalogue has tokens, and they are counted."""
        return cls.settings_of(config).on and bool(config.catalogue.fields)

    @classmethod
    def off(cls) -> dict[str, object]:
        """Return the key, with the value, that switches it off."""
        return {cls.key("on"): False}

    def models(self) -> Sequence[Model]:
        """Return the counts of tokens."""
        return [self._model]

    @property
    def measures(self) -> MeasureNames:
        """Two scores by words, and two by numbers."""
        sorts = ("taste", "taste_number")
        return MeasureNames(raw=tuple(f"{sort}_{over}" for sort in sorts for over in _OVER))

    def recall(self, context: Asked, allowed: NDArray[np.bool_], n: int) -> Recalled:
        return NOTHING

    def measure(self, asked: Asked, candidates: Candidates) -> Measures:
        scores = tastes(
            asked, self._model, self._history, candidates.keys, changes=self.settings.changes
        )
        return Measures(unmeasured(len(candidates)), scores.reshape(-1, len(candidates)))


def tastes(
    asked: Asked,
    counted: TokenCounts,
    history: UserHistory,
    keys: Keys,
    *,
    changes: float,
    over: Sequence[str] = SPANS,
) -> NDArray[np.float64]:
    """Return ``(2, n_over, n)`` how well items suit who asks: by words and by numbers, for each of
    some ways to look at the history; 0 where nothing is said."""
    of_items = asked.item_tokens
    scores = np.zeros((2, len(over), len(keys)))
    if len(of_items) and len(keys):
        last = asked.once(("tastes", changes), lambda: _last(asked, counted, history, changes))
        found = of_items.of(keys)
        for i, span in enumerate(over):
            scores[:, i] = taste_scores(
                last.tokens, last.weights, last.shares, *found, last.counts, *_OVER[span]
            )
    return scores


class _Last(NamedTuple):
    """What who asks met last: as :func:`taste_scores` takes it, with the counts of everybody."""

    tokens: Tokens
    weights: Weights
    shares: NDArray[np.float64]
    counts: NDArray[np.int64]


def _last(asked: Asked, counted: TokenCounts, history: UserHistory, changes: float) -> _Last:
    counts = asked.tables.read(counted.counts).take(_ALL)
    tokens, weights = asked.item_tokens.of(met(asked, history).keys)
    if chosen(asked):  # as if it was met before all else
        first = chosen_tokens(asked)
        tokens = np.concatenate([tokens, first[0]])
        weights = np.concatenate([weights, first[1]])
    return _Last(tokens, weights, lasting_shares(tokens, weights, counts, changes), counts)
