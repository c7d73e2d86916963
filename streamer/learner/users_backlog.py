"""Users who are to go, behind the events that were published before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from streamer.learner.backlog import Stop
from streamer.learner.users import ReadUsers
from streamer.protocols import MessageBatch

FRESH_MS: Final = 60_000
"""Age up to which a tombstone waits for all events that were there when it was read."""
SETTLED_MS: Final = 5_000
"""Time without events to read after which all were read: offsets where transactions end hold none,
so the last one need not come."""


class UsersBacklog:
    """Messages about users of one partition that are read and not learned yet.

    What a user says is learned at once. A tombstone waits for the events that were published before
    it, or they would bring back whom it deletes: a fresh one for all that were on their topic when
    it was read, whatever their producers' clocks say; an old one, as after an outage or in a
    rebuild, for those with an earlier time of publication, so that a user who came back since
    stays. What stands behind it waits with it.
    """

    def __init__(self) -> None:
        self._parts: deque[tuple[ReadUsers, int]] = deque()  # and when each was read

    @property
    def n_bytes(self) -> int:
        """Bytes that wait, and one for each message."""
        return sum(1 + len(value or b"") for part, _ in self._parts for value in part.batch.values)

    def put(self, read: ReadUsers, now_ms: int) -> None:
        """Take what was read."""
        self._parts.append((read, now_ms))

    def stop(self, now_ms: int) -> Stop | None:
        """Return where events are to stop until the first tombstone that waits is learned."""
        for part, _ in self._parts:
            if None in part.batch.values:
                return _stop(part, part.batch.values.index(None), now_ms)
        return None

    def take(
        self, reached: Callable[[Stop], bool], now_ms: int, *, idle: bool
    ) -> MessageBatch | None:
        """Hand out messages that may be learned now, all of one batch; None: there are none.

        Parameters
        ----------
        reached
            Whether the events are learned up to there.
        idle
            Whether there are no events to read, as far as is known.
        """
        if not self._parts:
            return None
        part, read_ms = self._parts[0]
        n, batch = 0, part.batch
        settled = idle and now_ms - read_ms > SETTLED_MS
        while n < len(batch) and (
            batch.values[n] is not None or settled or reached(_stop(part, n, now_ms))
        ):
            n += 1
        if n == len(batch):
            self._parts.popleft()
        else:
            self._parts[0] = ReadUsers(batch.slice(n, len(batch)), part.events_end), read_ms
        return batch.slice(0, n) if n else None


def _stop(part: ReadUsers, place: int, now_ms: int) -> Stop:
    published_ms = int(part.batch.publish_ms[place])
    is_old = 0 <= published_ms < now_ms - FRESH_MS
    return Stop(part.events_end, published_ms if is_old else None)
