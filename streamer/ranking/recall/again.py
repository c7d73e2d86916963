"""What the user took up before, where people take the same again: music, groceries."""

from __future__ import annotations

from typing import Annotated

import numba
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.config import Config
from streamer.config.feature_definition import Refused
from streamer.ranking.asked import Asked, ComesAgain, met
from streamer.ranking.candidates import Candidates
from streamer.ranking.recall.channel import Recalled, RecallSettings
from streamer.ranking.recall.measuring import MeasureNames, Measures, MeasuringChannel
from streamer.ranking.recall.popular import items_known
from streamer_models.counters.history import UserHistory
from streamer_models.counters.popularity import Popularity
from streamer_models.counters.popularity_shares import ITEMS_MAX
from streamer_models.neighbors.reached import best_allowed, looked_up
from streamer_models.state.table import Keys

Floats = NDArray[np.float64]
_Counted = tuple[Keys, Floats, NDArray[np.int64]]


class AgainSettings(RecallSettings, frozen=True, kw_only=True):
    """Recall of what the user met before; off, what was met of late is not recommended again."""

    candidates: Annotated[
        int,
        Meta(ge=0, le=1_024, description="recalled of the user's last items (`mf.history`)"),
    ] = 0
    after_s: Annotated[
        float,
        Meta(ge=0, le=1e9, description="how long ago an item was met before it may come again"),
    ] = 0.0
    times: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="how often an item comes again: one that was met more often than that,"
            " among the user's last items (`mf.history`), does not; 0: however often",
        ),
    ] = 0
    surfaces: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
        Meta(
            max_length=64,
            description="surfaces of requests on which what was met may come again at once, whether"
            " this channel is on or not",
        ),
    ] = ()


class AgainChannel(MeasuringChannel[AgainSettings]):
    """Items that the user met before, those first that were met often and of late.

    Its share is an item's part of ``Σ (1 + k)^-.5`` over the user's last items, k = 0 the newest,
    times the items known; how long ago it was met last is said beside.
    """

    name = "again"
    reason = "again"
    settings_type = AgainSettings

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._history = UserHistory(length=config.mf.history)
        self._popularity = Popularity(half_lives_s=tuple(config.popularity.half_lives_s))

    @classmethod
    def check(cls, config: Config) -> None:
        if cls.is_on(config) and config.mf.seen:
            problem = "what was met comes again, and is kept to be left out; set one of them to 0"
            raise Refused(problem, cls.key("candidates"), "mf.seen")
        if 0 < config.mf.seen <= config.mf.history:
            problem = f"{config.mf.seen} items are known by the history of {config.mf.history}"
            raise Refused(f"{problem}; give more, or 0", "mf.seen", "mf.history")

    @property
    def measures(self) -> MeasureNames:
        """Its share, and the time since."""
        return MeasureNames(shares=(self.name,), raw=("again_age",))

    def recall(self, context: Asked, allowed: NDArray[np.bool_], n: int) -> Recalled:
        keys, scores, _ = self._counted(context)
        rows = context.item_rows(keys)
        known = rows >= 0
        return Recalled(best_allowed(rows[known], keys[known], scores[known], allowed, n))

    def measure(self, asked: Asked, candidates: Candidates) -> Measures:
        keys, scores, newest_ms = self._counted(asked)
        known = min(items_known(asked, self._popularity), ITEMS_MAX)
        ages = -np.log1p(np.maximum(asked.at_ms - newest_ms, 0) / 1000) / 5
        shares = looked_up(keys, known * scores / scores.sum(), candidates.keys)
        return Measures(shares[None, :], looked_up(keys, ages, candidates.keys)[None, :])

    def _counted(self, asked: Asked) -> _Counted:
        last = met(asked, self._history)
        return asked.once(self.name, lambda: _by_item(last.keys, last.ts_ms))


def comes_again(config: Config, surface: str | None = None) -> ComesAgain | None:
    """Return when what a user met may be recommended again on a surface; None: never."""
    settings = AgainChannel.settings_of(config)
    if surface is not None and surface in settings.surfaces:
        return ComesAgain(after_ms=0, times_max=0)
    if not AgainChannel.is_on(config):
        return None
    return ComesAgain(after_ms=round(1000 * settings.after_s), times_max=settings.times)


@numba.njit(cache=True, nogil=True)
def _by_item(keys: Keys, ts_ms: NDArray[np.int64]) -> _Counted:
    """Different keys in the order of the newest, the sum of ``(1 + k)^-.5`` over the places k of
    each, and when each was met last."""
    different = np.empty(len(keys), dtype=np.uint64)
    scores, newest = np.zeros(len(keys)), np.zeros(len(keys), dtype=np.int64)
    n = 0
    for k in range(len(keys)):
        at = 0
        while at < n and different[at] != keys[k]:
            at += 1
        if at == n:
            different[n] = keys[k]
            n += 1
        scores[at] += 1 / np.sqrt(1.0 + k)
        newest[at] = max(newest[at], ts_ms[k])
    return different[:n], scores[:n], newest[:n]
