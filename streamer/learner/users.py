"""Users as a learner knows them: what they say of themselves, in the partitions that it owns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from streamer.errors import BadMessage, KafkaError, KafkaUnavailable, TopicMismatch
from streamer.events import decode_keyed_user
from streamer.events.decoding import Rejected, deleted_id
from streamer.events.profiles import PROFILE_WORDS, profile_row
from streamer.protocols import MessageBatch, UsersReader
from streamer_models.state.columns import Columns

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
"""How often a topic that is missing is looked for; each time is one question to the broker."""
_LOOK_TIMEOUT_S: Final = 1.0
_USERS_A_ROUND: Final = 5_000


@dataclass(frozen=True, slots=True)
class SaidUsers(Columns):
    """What was said of users, in columns of length n, in order.

    Attributes
    ----------
    offsets
        ``(n,)`` int64, rising.
    user_ids
        Whom each message is about.
    gone
        ``(n,)`` whether it deletes the user.
    rows
        ``(n, PROFILE_WORDS)`` what is kept of it; of one that deletes, zeros.
    """

    offsets: NDArray[np.int64]
    user_ids: list[str]
    gone: NDArray[np.bool_]
    rows: NDArray[np.uint64]


def decode_users(batch: MessageBatch) -> tuple[SaidUsers, list[Rejected]]:
    """Return the good messages of a batch, and why others are none."""
    places, user_ids, gone, rows, rejected = [], [], [], [], []
    no_row = np.zeros(PROFILE_WORDS, dtype=np.uint64)
    for place, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
        try:
            user_id, row = _said(key, value)
        except BadMessage as error:
            rejected.append(Rejected(place, str(error)))
            continue
        places.append(place)
        user_ids.append(user_id)
        gone.append(row is None)
        rows.append(no_row if row is None else row)
    found = SaidUsers(
        offsets=batch.offsets[np.array(places, dtype=np.intp)],
        user_ids=user_ids,
        gone=np.array(gone, dtype=np.bool_),
        rows=np.array(rows, dtype=np.uint64).reshape(-1, PROFILE_WORDS),
    )
    return found, rejected


def _said(key: bytes | None, value: bytes | None) -> tuple[str, NDArray[np.uint64] | None]:
    if value is None:
        return deleted_id(key, "user"), None
    user = decode_keyed_user(key, value)
    return user.user_id, profile_row(user)


@dataclass(frozen=True, slots=True)
class ReadUsers:
    """Messages of one partition, with their keys.

    Attributes
    ----------
    events_end
        Where the events of the partition ended after these were read.
    """

    batch: MessageBatch
    events_end: int


class FollowedUsers:
    """Follows partitions of the users topic between the steps of a learner.

    While the topic is missing it is looked for now and then, and while the broker does not answer
    nothing comes.

    Parameters
    ----------
    reader
        None: there are no users.
    topic, events
        Full names of its topic, and that of the events.
    now_s
        Seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        reader: UsersReader | None,
        topic: str,
        events: str,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._events = events
        self._now_s = now_s
        self._starts: dict[tuple[str, int], int] = {}
        self._is_read = False
        self._look_at_s = -LOOK_EVERY_S
        self._fails = False

    @classmethod
    def none(cls) -> Self:
        """Return those of a topic on which nothing ever is."""
        return cls(None, "", "")

    def start(self, offsets: Mapping[int, int]) -> None:
        """Follow these partitions from now on, each from its offset.

        Raises
        ------
        KafkaError
            Where the topic ends before an offset: it was made anew.
        """
        self._starts = {(self._topic, p): offset for p, offset in offsets.items()}
        self._is_read = False
        self._look_at_s = self._now_s()

    def poll(self) -> list[ReadUsers]:
        """Return what is there, a bounded number of messages."""
        if self._reader is None or not self._starts:
            return []
        try:
            if not self._is_read and not self._opened(self._reader):
                return []
            found = self._reader.poll(n_max=_USERS_A_ROUND, timeout_s=0.0)
            ends = self._ends(self._reader, found)
        except KafkaUnavailable as error:
            self._failed(error)
            self._is_read = False  # what was read is read again
            return []
        self._fails = False
        for batch in found:
            self._starts[batch.topic, batch.partition] = int(batch.offsets[-1]) + 1
        return [ReadUsers(batch, ends.get((self._events, batch.partition), 0)) for batch in found]

    def _ends(
        self, reader: UsersReader, found: Sequence[MessageBatch]
    ) -> Mapping[tuple[str, int], int]:
        """Where events end now, of the partitions in which a user is to go."""
        asked = [(self._events, batch.partition) for batch in found if None in batch.values]
        return reader.end_offsets(asked) if asked else {}

    def _opened(self, reader: UsersReader) -> bool:
        """Whether the topic is there, which is looked at now and then."""
        if self._now_s() < self._look_at_s:
            return False
        self._look_at_s = self._now_s() + LOOK_EVERY_S
        try:
            there = set(reader.partitions(self._topic, timeout_s=_LOOK_TIMEOUT_S))
        except TopicMismatch as error:
            self._failed(error)
            return False
        reader.start({where: at for where, at in self._starts.items() if where in there})
        self._is_read = True
        return True

    def _failed(self, error: KafkaError) -> None:
        if not self._fails:
            log.info("users_unavailable", extra={"reason": str(error)})
        self._fails = True
