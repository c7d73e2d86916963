"""New items of the kinds that the user takes up, until they have been shown often enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.catalogue.item_facts import UNKNOWN_MS
from streamer.config import Config
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import NOTHING, Channel, Recalled, Scores, WeighedSettings
from streamer.ranking.recall.taste import TasteChannel, tastes
from streamer.replica.arms import SHOWN
from streamer_models.counters.consumptions import ItemConsumptions
from streamer_models.counters.history import UserHistory
from streamer_models.counters.token_counts import TokenCounts
from streamer_models.state.table import Keys

_DAY_MS: Final = 86_400_000
_LOOKED_AT: Final = 1_000
"""The newest items of which the best are brought."""

_RULED_OUT_MAX: Final = 50
_SHOWN_A_TAKE: Final = 10
"""Times shown that prove as much of an item as that it was taken up once."""

Floats = NDArray[np.float64]


class FreshSettings(WeighedSettings, frozen=True, kw_only=True):
    """Recall of new items of the user's kinds; it needs `created_ts` in the catalogue."""

    candidates: Annotated[
        int, Meta(ge=0, le=1_000, description="recalled of the new items that suit the user")
    ] = 10
    weight: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000,
            description="of its score, which is at most 1, in the bandit's prior: how much a new"
            " item is preferred to what is known to be as good",
        ),
    ] = 1.0
    days: Annotated[
        float, Meta(gt=0, le=3_650, description="an item is new for so long after `created_ts`")
    ] = 7.0
    proven_after: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="times shown after which an item is preferred no more, one taken up being"
            " worth ten; what it gains by being new falls in a straight line until then",
        ),
    ] = 50


@dataclass(frozen=True, slots=True)
class NewItems:
    """Which items are new by the date in the catalogue, whether or not the channel is on.

    Attributes
    ----------
    for_ms
        How long an item is new.
    """

    for_ms: int

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return those that ``recall.fresh.days`` says are new."""
        return cls(round(FreshChannel.settings_of(config).days * _DAY_MS))

    def between(self, context: RequestContext) -> tuple[int, int]:
        """Return between which times an item must have been made."""
        return max(context.at_ms - self.for_ms, UNKNOWN_MS + 1), context.at_ms

    def among(self, context: RequestContext, keys: Keys) -> NDArray[np.bool_]:
        """``(n,)`` whether items are new."""
        from_ms, to_ms = self.between(context)
        created_ms = context.catalogue.facts.created_ms(keys)
        found: NDArray[np.bool_] = (created_ms >= from_ms) & (created_ms <= to_ms)
        return found


class FreshChannel(Channel[FreshSettings]):
    """New items whose tokens the user meets more often than everybody does.

    What nobody has met has no counts and no factors of its own, and would be shown only by chance.
    So it is preferred for a while, to those it suits: ``fit * (1 - times / proven_after)``, with
    the times it was shown, or ten times those it was taken up where that is more, and where
    ``1 / (1 - fit)`` is how many times as often the user meets an item's words as everybody does
    (their geometric mean), and 0 where that is no more often. How much that is worth is a column
    like any other: outcomes correct its weight.
    """

    name = "fresh"
    reason = "new"
    settings_type = FreshSettings
    score_meaning = "how well a new item suits the user, less with each time it was shown"
    columns = ("score",)
    weighed = "score"
    ordered = False

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._history = UserHistory(length=config.mf.history)
        self._consumed = ItemConsumptions()
        self._counted = TokenCounts()
        self._changes = TasteChannel.settings_of(config).changes
        self._new = NewItems.of(config)

    @classmethod
    def is_on(cls, config: Config) -> bool:
        """Whether it brings items, and tokens of the catalogue are counted."""
        return cls.settings_of(config).candidates > 0 and TasteChannel.is_on(config)

    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        from_ms, to_ms = self._new.between(context)
        catalogue = context.catalogue
        keys = catalogue.facts.newest(from_ms, to_ms, _LOOKED_AT)
        if not len(keys):
            return NOTHING
        values = self._value(context, keys)
        # For the places that are kept for new items any will do, those that suit the user first.
        n_best = len(values) if self.config.slate.fresh else np.count_nonzero(values > 0)
        best = np.argsort(-values, kind="stable")[:n_best]
        # Some of the best may be ruled out: more of them are looked up than asked for.
        return Recalled.of_keys(context, keys[best[: n + _RULED_OUT_MAX]], allowed).first(n)

    def score(self, context: RequestContext, candidates: Candidates) -> Scores:
        new = np.flatnonzero(self._new.among(context, candidates.keys))
        found = candidates.zeros()
        if len(new):
            found[new] = self._value(context, candidates.keys[new])
        return found

    def _value(self, context: RequestContext, keys: Keys) -> Floats:
        """``(n,)`` of new items, in [0, 1]."""
        consumed = context.tables.read(self._consumed.counts).take(context.item_rows(keys))
        times = _SHOWN_A_TAKE * consumed[:, 0].astype(np.float64)
        if self.config.funnel.ranker == "bandit":  # which alone knows what was shown
            times = np.maximum(times, context.version.bandit.arms.outcomes(keys)[:, SHOWN])
        return np.maximum(1 - times / self.settings.proven_after, 0.0) * self._fit(context, keys)

    def _fit(self, context: RequestContext, keys: Keys) -> Floats:
        by_words = tastes(
            context, self._counted, self._history, keys, changes=self._changes, over=["long"]
        )[0, 0]
        fit: Floats = -np.expm1(-np.maximum(by_words, 0.0))
        return fit
