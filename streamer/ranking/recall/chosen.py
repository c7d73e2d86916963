"""Items of the categories that a user chose, until there are events that say more."""

from __future__ import annotations

from typing import Annotated, Final

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.catalogue.item_facts import greatest_first
from streamer.config import Config
from streamer.events import Item
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.profiles import chosen
from streamer.ranking.recall.channel import NOTHING, Channel, Recalled, Scores, WeighedSettings
from streamer.replica.items import COUNT
from streamer_models.state.ids.id_table import keys_of

_RULED_OUT_MAX: Final = 50


class ChosenSettings(WeighedSettings, frozen=True, kw_only=True):
    """Recall of items in the categories that a user chose (the `users` topic)."""

    candidates: Annotated[
        int, Meta(ge=0, le=1_000, description="recalled of the categories that the user chose")
    ] = 30
    weight: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000,
            description="of its score, which is at most 1, in the bandit's prior: how much an item"
            " of these categories is preferred to what is known to be as good",
        ),
    ] = 2.0
    until: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="events of a user after which their choice is preferred no more; what it"
            " gains falls in a straight line until then",
        ),
    ] = 30


class ChosenChannel(Channel[ChosenSettings]):
    """The most popular items of the categories that a user chose, the newest among equals.

    Of a user without events nothing else says what they like; what they do says more than what they
    chose, so it counts less with each event: ``share * (1 - events / until)``, where ``share`` is
    how many of an item's categories were chosen. How much that is worth is a column like any other:
    outcomes correct its weight.
    """

    name = "chosen"
    reason = "of a kind you chose"
    reason_of = "you chose {}"
    settings_type = ChosenSettings
    score_meaning = "share of the item's categories that the user chose, less with each event"
    columns = ("score",)
    weighed = "score"

    @classmethod
    def is_on(cls, config: Config) -> bool:
        """Whether it brings items."""
        return cls.settings_of(config).candidates > 0

    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        categories = chosen(context)
        if not categories or not self._counts_as(context):
            return NOTHING
        columns, facts = context.catalogue.columns, context.catalogue.facts
        labels = columns.labels("categories")
        having = np.logical_or.reduce([labels.having(key) for key in keys_of(list(categories))])
        keys = columns.keys[np.flatnonzero(having)]
        rows, popular = context.item_rows(keys), np.zeros(len(keys))
        popular[rows >= 0] = context.items.column(COUNT)[rows[rows >= 0]]
        newest = greatest_first(facts.created_ms(keys), keys, len(keys))
        best = newest[np.argsort(-popular[newest], kind="stable")]
        return Recalled.of_keys(context, keys[best[: n + _RULED_OUT_MAX]], allowed).first(n)

    def category(self, context: RequestContext, item: Item) -> str | None:
        has = set(item.categories or ())
        return next((each for each in chosen(context) if each in has), None)

    def score(self, context: RequestContext, candidates: Candidates) -> Scores:
        categories, counts_as = chosen(context), self._counts_as(context)
        if not categories or not counts_as:
            return candidates.zeros()
        shares = context.catalogue.facts.shares_in(keys_of(list(categories)), candidates.keys)
        return (counts_as * shares).astype(np.float32)

    def _counts_as(self, context: RequestContext) -> float:
        """Return how much the choice counts, in [0, 1]."""
        n_events = context.version.users.n_events(context.user_row)
        return max(1 - n_events / self.settings.until, 0.0)
