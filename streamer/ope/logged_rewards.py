"""What became of each item of a logged decision: the events that answer it."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice
from typing import Final

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

UNNAMED: Final = "without a request_id"
AMBIGUOUS: Final = "without a request_id, of an item in several slates"
UNKNOWN: Final = "of a request that has no decision"
OTHER_USER: Final = "of another user than the decision's"
LATE: Final = "later than join.horizon_s"
NOT_SHOWN: Final = "of an item that was not shown"
_BATCH = 1_000
_NO_FEATURES = np.empty((0, 0), dtype=np.float32)


class LoggedRewards:
    """Rewards by request and item, as the learner's join has them once all is known.

    An event answers the item of its ``item_id`` in the decision of its ``request_id`` up to
    ``join.horizon_s`` after it; several are combined as ``join.combine`` says, an item without any
    has ``join.default_reward``. Where impressions were reported, an item without one and without
    feedback was not seen and has no reward. An event that names no request answers the one slate
    that can be meant, as far as ``join.match_without_request`` says. An ``event_id`` that answers
    twice counts once, and an event of another user than the decision's is no answer.

    Memory: one small record a decision and a number a feedback.
    """

    def __init__(self, file: LogFile, rewards: Rewards, join: JoinConfig) -> None:
        self._file = file
        self._reward = rewards
        self._join = join
        self._open: dict[str, Shown] = {}
        self._of_user: defaultdict[str, list[Shown]] = defaultdict(list)
        self._rewards: dict[str, NDArray[np.float64]] = {}
        self.n_matched = 0
        self.unused: Counter[str] = Counter()

    def expect(self, decision: Decision) -> None:
        """Wait for feedback on a decision."""
        shown = Shown(
            request_id=decision.request_id,
            user_id=decision.user_id,
            offset=0,
            ts_ms=decision.ts,
            item_ids=decision.items,
            features=_NO_FEATURES,
            expected=None,
            closed=True,
        )
        self._open[shown.request_id] = shown
        self._of_user[shown.user_id].append(shown)

    def read(self, faults: Faults) -> None:
        """Read the events and settle all decisions that wait."""
        seen: set[str] = set()
        self.n_matched, self.unused = 0, Counter()
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
                is_impression = bool(columns.types[i] == IMPRESSION)
                if np.isnan(reward[i]) and not is_impression:
                    continue  # neither feedback nor a sign that an item was seen
                event_id = columns.event_ids[i]
                if event_id in seen:
                    continue
                shown, ts_ms = self._open.get(request_id), int(columns.ts_ms[i])
                if not request_id and not np.isnan(reward[i]):
                    meant = self._meant(columns.user_ids[i], columns.item_ids[i], ts_ms)
                    if len(meant) > 1:
                        self.unused[AMBIGUOUS] += 1
                        continue
                    shown = meant[0] if meant else None
                if shown is None:
                    self.unused[UNKNOWN if request_id else UNNAMED] += 1
                    continue
                if columns.user_ids[i] != shown.user_id:
                    self.unused[OTHER_USER] += 1
                    continue
                if ts_ms - shown.ts_ms > self._join.horizon_s * 1_000:
                    self.unused[LATE] += 1
                    continue
                feedback = ItemFeedback(
                    offset=batch[columns.index[i]][0],
                    ts_ms=ts_ms,
                    watermark_ms=0,
                    user_id=columns.user_ids[i],
                    item_id=columns.item_ids[i],
                    reward=float(reward[i]),
                    seen=is_impression,
                    named=bool(request_id),
                )
                if shown.take(feedback):
                    seen.add(event_id)
                    self.n_matched += 1
                else:
                    self.unused[NOT_SHOWN] += 1
        for request_id, shown in self._open.items():
            for _ in shown.settle(
                self._join.default_reward,
                self._join.combine,
                unanswered=True,
                matching=self._join.match_without_request,
            ):
                pass
            self._rewards[request_id] = shown.applied
        self._open, self._of_user = {}, defaultdict(list)

    def _meant(self, user_id: str, item_id: str, ts_ms: int) -> list[Shown]:
        """Slates that an event without a request_id could answer."""
        if self._join.match_without_request == "never":
            return []
        window_ms = self._join.window_s * 1_000
        return [
            shown
            for shown in self._of_user.get(user_id, ())
            if 0 <= ts_ms - shown.ts_ms <= window_ms and item_id in shown.item_ids
        ]

    def of(self, decision: Decision) -> NDArray[np.float64]:
        """``(k,)`` rewards of its items in the order shown; NaN: not seen."""
        return self._rewards[decision.request_id]
