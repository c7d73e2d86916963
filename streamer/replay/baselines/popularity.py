"""Popularity: what most users have consumed, in all or of late."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.replay.interactions import Interaction

_HALVINGS_MAX = 500.0
"""Weights grow by 2 a half-life, and all are scaled back before they leave the range of floats."""


class PopularityBaseline:
    """Scores of items are their counts of consumptions, the same for every user.

    With a half-life a consumption counts ``2^-(age / half-life)``. Instead of making old ones
    smaller, new ones count more (forward decay, Cormode et al. 2009).

    Parameters
    ----------
    half_life_events
        In consumptions of the stream.
    half_life_ms
        In event time. At most one of the two; neither: nothing is forgotten.

    Raises
    ------
    ConfigError
        When both are given, or one is not positive.
    """

    def __init__(
        self, *, half_life_events: float | None = None, half_life_ms: float | None = None
    ) -> None:
        given = [each for each in (half_life_events, half_life_ms) if each is not None]
        if len(given) > 1 or not all(each > 0 for each in given):
            raise ConfigError(
                f"popularity with half_life_events={half_life_events} and half_life={half_life_ms}"
                " ms: give one of them, above 0, or neither"
            )
        self._half_life = given[0] if given else math.inf
        self._by_time = half_life_ms is not None
        self._origin: float | None = None
        self._n_learned = 0
        self._counts: NDArray[np.float64] = np.zeros(256)

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float64]:
        """Decayed counts, up to a factor that all items share."""
        return self._counts[:n_items]

    def learn(self, interaction: Interaction) -> None:
        """Count a consumption."""
        row = interaction.item_row
        if row >= len(self._counts):
            longer = np.zeros(max(row + 1, 2 * len(self._counts)))
            longer[: len(self._counts)] = self._counts
            self._counts = longer
        weight = self._weight(interaction.event.ts)  # may scale the counts: before they are read
        self._counts[row] += weight
        self._n_learned += 1

    def _weight(self, ts_ms: int) -> float:
        now = float(ts_ms) if self._by_time else float(self._n_learned)
        if self._origin is None:
            self._origin = now
        halvings = (now - self._origin) / self._half_life
        if halvings > _HALVINGS_MAX:
            self._counts *= 2.0 ** -min(halvings, 2_000.0)
            self._origin, halvings = now, 0.0
        return float(2.0 ** max(halvings, -1_000.0))
