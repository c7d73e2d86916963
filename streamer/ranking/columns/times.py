"""Drift in time: when a request is made, and how long ago the user's last event was.

All of them are functions of the request and of the version it is answered from, so a decision that
is made again has the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from streamer.ranking.columns.family import Block, Column, Family, crossed
from streamer.ranking.context import RequestContext
from streamer.ranking.scored import ScoredCandidates

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_WEEK_MS: Final = 7 * _DAY_MS
_SUNDAY_MS: Final = 3 * _DAY_MS
"""The first of 1970, which began on a Thursday."""

_MEANINGS: Final = (
    ("hour_sin", "{} * sin(2 pi * hour of day in UTC / 24)"),
    ("hour_cos", "{} * cos(2 pi * hour of day in UTC / 24)"),
    ("week_sin", "{} * sin(2 pi * days since Sunday, 0:00 UTC / 7)"),
    ("week_cos", "{} * cos(2 pi * days since Sunday, 0:00 UTC / 7): 1 within the weekend"),
    ("user_recency", "{} / (1 + hours since the user's last event); 0 for a new user"),
)


class TimeColumns(Family):
    """Crossed with the channels, where ``bandit.time_features`` is on."""

    def describe(self) -> Sequence[Column]:
        if not self.config.bandit.time_features:
            return []
        return [
            Column(crossed(name, channel), meaning.format(channel.column("z")))
            for name, meaning in _MEANINGS
            for channel in self.channels
            if channel.crossed
        ]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        values = np.array(_values(scored.context), dtype=np.float32)
        shape = (len(values), *scored.crossed.shape)
        np.multiply(values[:, None, None], scored.crossed, out=out.reshape(shape))


def _values(context: RequestContext) -> tuple[float, ...]:
    at_ms = context.at_ms
    of_day = 2 * np.pi * (at_ms % _DAY_MS) / _DAY_MS
    of_week = 2 * np.pi * ((at_ms - _SUNDAY_MS) % _WEEK_MS) / _WEEK_MS
    last_ms = context.version.users.last_event_ms(context.user_row)
    return (
        float(np.sin(of_day)),
        float(np.cos(of_day)),
        float(np.sin(of_week)),
        float(np.cos(of_week)),
        0.0 if last_ms is None else recency(at_ms - last_ms),
    )


def recency(since_ms: int) -> float:
    """1 now, 1/2 after an hour, 1/25 after a day.

    >>> recency(0), recency(3_600_000)
    (1.0, 0.5)
    """
    return 1.0 / (1.0 + max(since_ms, 0) / _HOUR_MS)
