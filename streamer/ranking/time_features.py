"""Drift in time, from one place: when somebody asks, and how long ago something last happened.

All of them are functions of the request and of the version it is answered from, so a decision that
is made again has the same. The age of items, which the catalogue says, is beside it in
:mod:`streamer.ranking.features`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from streamer.ranking.columns import HOUR_COS, HOUR_SIN, USER_RECENCY, WEEK_COS, WEEK_SIN
from streamer.ranking.recall.channels import Situation

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_WEEK_MS: Final = 7 * _DAY_MS
_SUNDAY_MS: Final = 3 * _DAY_MS
"""The first of 1970, which began on a Thursday."""


def time_features(situation: Situation) -> dict[str, float]:
    """Of a request: what its columns are crossed with the channels from."""
    at_ms = situation.at_ms
    of_day = 2 * np.pi * (at_ms % _DAY_MS) / _DAY_MS
    of_week = 2 * np.pi * ((at_ms - _SUNDAY_MS) % _WEEK_MS) / _WEEK_MS
    last_ms = situation.version.users.last_event_ms(situation.user_row)
    return {
        HOUR_SIN: float(np.sin(of_day)),
        HOUR_COS: float(np.cos(of_day)),
        WEEK_SIN: float(np.sin(of_week)),
        WEEK_COS: float(np.cos(of_week)),
        USER_RECENCY: 0.0 if last_ms is None else recency(at_ms - last_ms),
    }


def recency(since_ms: int) -> float:
    """1 now, 1/2 after an hour, 1/25 after a day.

    >>> recency(0), recency(3_600_000)
    (1.0, 0.5)
    """
    return 1.0 / (1.0 + max(since_ms, 0) / _HOUR_MS)
