"""Publish a log at full speed, or at the pace at which it happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from streamer.errors import ConfigError
from streamer.events import AHEAD_MS_MIN, FUTURE_MS_MAX, Event
from streamer_producers.clipped_values import ClippedValues
from streamer_producers.common_ids import CommonIds
from streamer_producers.log import Log
from streamer_producers.ordering import merged_by_time

PROGRESS_EVERY = 1_000
"""Events between two reports of progress at full speed."""
_LONG_WAIT_S = 0.25
_EARLY_S = 0.002
"""How early an event may be: a sleep before each of 50,000 a second would take a whole core."""


class LogSink(Protocol):
    """What a log is published to: :class:`streamer.client.Publisher` is one."""

    def publish_event(self, event: Event) -> object:
        """Send an event, soon."""

    def publish_item(self, item_id: str, **fields: Any) -> object:
        """Send an item, soon."""

    def publish_user(self, user_id: str, **fields: Any) -> object:
        """Send what a user says of themselves, soon."""

    def flush(self) -> object:
        """Wait until all is delivered."""


@dataclass(frozen=True, slots=True)
class Published:
    """What has been published so far, and how many lines were malformed.

    Attributes
    ----------
    n_ahead, n_refused
        Published events whose time lay a second or more after their publication, as of which they
        count; events that were left out, since they were more than a day after it.
    """

    n_events: int = 0
    n_items: int = 0
    n_users: int = 0
    n_malformed: int = 0
    elapsed_s: float = 0.0
    n_ahead: int = 0
    n_refused: int = 0

    def remarks(self) -> Iterator[str]:
        """Say how many events have wrong times, and what to do."""
        if n_wrong := self.n_ahead + self.n_refused:
            n = self.n_events + self.n_refused
            yield (
                f"{n_wrong:,} of {n:,} events ({n_wrong / n:.0%}) have times after their"
                f" publication: {self.n_ahead:,} count as of that, {self.n_refused:,} more than a"
                " day after it were left out; name the unit of the times with --map"
                " ts=COLUMN:UNIT, mend the clock, or give new times with --rebase"
            )


class Pace:
    """When each event of a log is due: ``speed`` seconds of the log a second.

    Parameters
    ----------
    speed
        > 0; None: every event at once.
    now_s, sleep
        A monotonic clock in seconds, and how to wait.

    Raises
    ------
    ConfigError
        When the speed is not positive.
    """

    def __init__(
        self,
        speed: float | None,
        *,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if speed is not None and not speed > 0:
            raise ConfigError(f"speed={speed} must be above 0; 1 is real time, none is full speed")
        self.speed = speed
        self.now_s = now_s
        self._sleep = sleep
        self._start_s = now_s()
        self._first_ms: int | None = None

    def wait(self, ts_ms: int) -> float:
        """Wait until an event of the log's time ``ts_ms`` is due; return the seconds waited.

        The first one is due at once; one that is late, or older than the first, is too. None has
        to wait for less than 2 ms.
        """
        if self.speed is None:
            return 0.0
        if self._first_ms is None:
            self._first_ms, self._start_s = ts_ms, self.now_s()
        due_s = self._start_s + (ts_ms - self._first_ms) / 1000.0 / self.speed
        wait_s = due_s - self.now_s()
        if wait_s <= _EARLY_S:
            return 0.0
        self._sleep(wait_s)
        return wait_s


def publish_logs(
    logs: Sequence[Log],
    publisher: LogSink,
    *,
    sort: bool = False,
    speed: float | None = None,
    rebase: bool = False,
    on_progress: Callable[[Sequence[Published]], None] | None = None,
    pace: Pace | None = None,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    values: ClippedValues | None = None,
    ids: CommonIds | None = None,
) -> list[Published]:
    """Publish several logs as one: all items, then all users, then all events.

    Parameters
    ----------
    sort
        Publish the events of all in the order of time, not those of one log after another's.
    speed
        Seconds of the log a second; None: as fast as can be.
    rebase
        Give each event the time at which it is published. Its id stays that of the log.
    on_progress
        Called with what was done of each log so far: after the items and users, every
        ``PROGRESS_EVERY`` events, after a wait of more than a quarter of a second, and at the end.
    pace
        Replaces ``speed``, for a clock other than this machine's.
    now_ms
        The time that ``rebase`` gives.
    values
        Counts the values that rewards clip.
    ids
        Counts what the logs, their catalogues and their users have in common.

    Returns
    -------
    list
        What was published of each log.

    Raises
    ------
    ConfigError
        When the speed is not positive.
    StreamerError
        What the logs and the publisher raise.
    """
    pace = pace or Pace(speed)
    start_s = pace.now_s()
    counts = [_Counts() for _ in logs]

    def report() -> list[Published]:
        elapsed_s = pace.now_s() - start_s
        done = [
            n.published(log.n_malformed, elapsed_s) for log, n in zip(logs, counts, strict=True)
        ]
        if on_progress is not None:
            on_progress(done)
        return done

    for log, n in zip(logs, counts, strict=True):
        for item in log.items():
            publisher.publish_item(**msgspec.structs.asdict(item))
            n.items += 1
            if ids is not None:
                ids.add_item(item)
    for log, n in zip(logs, counts, strict=True):
        for user in log.users():
            publisher.publish_user(**msgspec.structs.asdict(user))
            n.users += 1
            if ids is not None:
                ids.add_user(user)
    report()
    n_events = 0
    for index, event in _events(logs, sort=sort):
        waited_s = pace.wait(event.ts)
        published_ms = now_ms()
        sent = msgspec.structs.replace(event, ts=published_ms) if rebase else event
        if sent.ts - FUTURE_MS_MAX > published_ms and not logs[index].strict:
            counts[index].refused += 1
            continue
        counts[index].ahead += sent.ts - AHEAD_MS_MIN >= published_ms
        publisher.publish_event(sent)
        if values is not None:
            values.add(event)
        if ids is not None:
            ids.add_event(event)
        counts[index].events += 1
        n_events += 1
        if n_events % PROGRESS_EVERY == 0 or waited_s > _LONG_WAIT_S:
            report()
    publisher.flush()
    return report()


@dataclass(slots=True)
class _Counts:
    """What became of one log so far."""

    events: int = 0
    items: int = 0
    users: int = 0
    ahead: int = 0
    refused: int = 0

    def published(self, n_malformed: int, elapsed_s: float) -> Published:
        return Published(
            self.events,
            self.items,
            self.users,
            n_malformed,
            elapsed_s,
            self.ahead,
            self.refused,
        )


def _events(logs: Sequence[Log], *, sort: bool) -> Iterator[tuple[int, Event]]:
    """Yield every event with the index of its log."""
    if sort:
        return merged_by_time([log.events() for log in logs])
    return ((index, event) for index, log in enumerate(logs) for event in log.events())
