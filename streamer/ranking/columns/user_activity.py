"""Which channel to trust for a user who is new, and which for one who is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from streamer.ranking.columns.family import Block, Column, Family
from streamer.ranking.recall.factorization import FactorizationChannel
from streamer.ranking.recall.trending import TrendingChannel
from streamer.ranking.scored import ScoredCandidates

_NEW_USER_EVENTS: Final = 8.0
_TRENDING_Z: Final = TrendingChannel.column("z")
_MF_Z: Final = FactorizationChannel.column("z")


class UserActivityColumns(Family):
    """The number of a user's events, times the standardized score of the channel it speaks for."""

    def describe(self) -> Sequence[Column]:
        on = {each.name for each in self.channels}
        described = {
            TrendingChannel.name: Column(
                f"new_user*{_TRENDING_Z}", f"{_TRENDING_Z} * 2^(-events of the user / 8)"
            ),
            FactorizationChannel.name: Column(
                f"active_user*{_MF_Z}", f"{_MF_Z} * ln(1 + events of the user) / 4"
            ),
        }
        return [column for name, column in described.items() if name in on]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        n_events = scored.context.version.users.n_events(scored.context.user_row)
        weights = {
            TrendingChannel.name: 2.0 ** (-n_events / _NEW_USER_EVENTS),
            FactorizationChannel.name: float(np.log1p(n_events)) / 4,
        }
        on = (name for name in weights if name in scored.z)
        for row, name in zip(out, on, strict=True):
            row[:] = weights[name] * scored.z[name]
