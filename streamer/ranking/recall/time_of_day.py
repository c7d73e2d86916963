"""Time of day: what is taken up at this hour more than at others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.config import Config
from streamer.ranking.asked import Asked
from streamer.ranking.candidates import Candidates
from streamer.ranking.recall.channel import Recalled, RecallSettings
from streamer.ranking.recall.measuring import (
    MeasureNames,
    Measures,
    MeasuringChannel,
    unmeasured,
)
from streamer.ranking.recall.popular import ranked
from streamer_models.counters.daily_rhythm import DailyRhythm, part_of, rhythm_scores
from streamer_models.state.model import Model


class TimeOfDaySettings(RecallSettings, frozen=True, kw_only=True):
    """Recall by the time of day."""

    candidates: Annotated[
        int,
        Meta(ge=0, le=256, description="recalled of what is taken up most at this time of day"),
    ] = 20


class TimeOfDayChannel(MeasuringChannel[TimeOfDaySettings]):
    """Breakfast in the morning: items that are taken up at this time of day more than at others.

    See :class:`DailyRhythm <streamer_models.counters.daily_rhythm.DailyRhythm>`.
    """

    name = "time_of_day"
    reason = "popular at this time of day"
    settings_type = TimeOfDaySettings
    needs_feedback = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._model = DailyRhythm()

    def models(self) -> Sequence[Model]:
        """Return the counts by time of day."""
        return [self._model]

    @property
    def measures(self) -> MeasureNames:
        """One score."""
        return MeasureNames(raw=("time_of_day",))

    def recall(self, context: Asked, allowed: NDArray[np.bool_], n: int) -> Recalled:
        order = ranked(context.tables.read(self._model.items).tops).rows[part_of(context.at_ms)]
        order = order[order >= 0]
        return Recalled(order[allowed[order]][:n])

    def measure(self, asked: Asked, candidates: Candidates) -> Measures:
        tables, n = asked.tables, len(candidates)
        scores = np.zeros((1, n))
        all_items = tables.read(self._model.all_items).row(0)
        if all_items is not None:
            of_items = tables.read(self._model.items).take(candidates.rows)
            scores[0, : len(candidates.rows)] = rhythm_scores(of_items, all_items, asked.at_ms)
        return Measures(unmeasured(n), scores)
