"""A watch on whether feedback finds the decisions it answers: it says when next to none does."""

from __future__ import annotations

import logging
from typing import Final

from streamer.learner.join.counts import JoinCounts

log = logging.getLogger(__name__)

DECISIONS_MIN: Final = 100
EVENTS_MIN: Final = 1_000
RATE_MIN: Final = 0.01
_AGAIN: Final = 10
"""It is said again when so many times the events have come."""

NO_IDS: Final = (
    "copy the request_id of a recommendation into the events that answer it, or, where clients"
    ' can\'t, set join.match_without_request = "always"'
)
WRONG_IDS: Final = (
    "events name requests that nobody knows, users or items that they were not for, or come after"
    " join.horizon_s: send the request_id, user_id and item_id of the recommendation as they are"
)


class MatchWatch:
    """Logs ``feedback_not_matched`` when decisions are made and next to no event answers one.

    The channels learn from plain events, and so does the blend; what slates earn, the bandit learns
    from answers alone. A forgotten ``request_id`` shows nowhere else. Events that
    can't answer any, as a history that is published before anything is asked for, do not count.

    Parameters
    ----------
    ranker
        ``funnel.ranker``. Only the bandit misses ids that are not sent: the blend practises on what
        names no request. But what names one that nobody knows teaches neither.
    """

    def __init__(self, ranker: str = "bandit") -> None:
        self._events_min = EVENTS_MIN
        self._needs_ids = ranker == "bandit"

    def take(self, joins: JoinCounts) -> None:
        """Look at what a learner's joins have counted since it started."""
        n_events = joins.n_answering
        if joins.n_decisions < DECISIONS_MIN or n_events < self._events_min:
            return
        self._events_min = _AGAIN * n_events
        if joins.n_matched >= RATE_MIN * n_events:
            return
        wrong = joins.n_unmatched + joins.n_late + joins.n_lost > joins.n_matched
        if not (wrong or self._needs_ids):
            return
        log.warning(
            "feedback_not_matched",
            extra={
                "decisions": joins.n_decisions,
                "events": n_events,
                "matched": joins.n_matched,
                "remedy": WRONG_IDS if wrong else NO_IDS,
            },
        )
