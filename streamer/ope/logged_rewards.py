"""What became of each item of a logged decision: the events that answer it."""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from streamer.config import JoinConfig
from streamer.errors import BadMessage
from streamer.events import Decision
from streamer.events.event_columns import decode_events
from streamer.events.types import IMPRESSION
from streamer.learner.join.shown import ItemFeedback, Shown
from streamer.learner.rewards import Rewards
from streamer.ope.bandit_log import Faults
from streamer_producers.log_file import LogFile

_BATCH = 1_000
_NO_FEATURES = np.empty((0, 0), dtype=np.float32)


class LoggedRewards:
    """Rewards by request and item, as the learner's join has them once all is known.

    An event answers the item of its ``item_id`` in the decision of its ``request_id`` up to
    ``join.horizon_s`` after it; several are combined as ``join.combine`` says, an item without any
    has ``join.default_reward``. Where impressions were reported, an item without one and without
    feedback was not seen and has no reward. An ``event_id`` that answers twice counts once.

    Memory: one small record a decision and a number a feedback.
    """

    def __init__(self, file: LogFile, rewards: Rewards, join: JoinConfig) -> None:
        self._file = file
        self._reward = rewards
        self._join = join
        self._open: dict[str, Shown] = {}
        self._rewards: dict[str, NDArray[np.float64]] = {}

    def expect(self, decision: Decision) -> None:
        """Wait for feedback on a decision."""
        self._open[decision.request_id] = Shown(
            request_id=decision.request_id,
            user_id=decision.user_id,
            offset=0,
            ts_ms=decision.ts,
            item_ids=decision.items,
            features=_NO_FEATURES,
            expected=None,
            closed=True,
        )

    def read(self, faults: Faults) -> None:
        """Read the events and settle all decisions that wait."""
        seen: set[str] = set()
        lines = ((number, line) for number, line in self._file.lines() if not line.isspace())
        while batch := list(islice(lines, _BATCH)):
            columns, rejected = decode_events(
                [line for _, line in batch],
                np.full(len(batch), -1, dtype=np.int64),
                self._reward.event_types,
            )
            for bad in rejected:
                faults.add(self._file, batch[bad.index][0], BadMessage(bad.reason))
            reward = self._reward(columns.types, columns.values)
            for i, request_id in enumerate(columns.request_ids):
                shown, event_id = self._open.get(request_id), columns.event_ids[i]
                if shown is None or event_id in seen:
                    continue
                ts_ms = int(columns.ts_ms[i])
                if ts_ms - shown.ts_ms > self._join.horizon_s * 1_000:
                    continue
                feedback = ItemFeedback(
                    offset=batch[columns.index[i]][0],
                    ts_ms=ts_ms,
                    watermark_ms=0,
                    user_id=columns.user_ids[i],
                    item_id=columns.item_ids[i],
                    reward=float(reward[i]),
                    seen=bool(columns.types[i] == IMPRESSION),
                )
                if shown.take(feedback):
                    seen.add(event_id)
        for request_id, shown in self._open.items():
            for _ in shown.settle(self._join.default_reward, self._join.combine, unanswered=True):
                pass
            self._rewards[request_id] = shown.applied
        self._open = {}

    def of(self, decision: Decision) -> NDArray[np.float64]:
        """``(k,)`` rewards of its items in the order shown; NaN: not seen."""
        return self._rewards[decision.request_id]
