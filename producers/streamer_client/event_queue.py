"""Events sent in the background, many at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import Final, Self

from streamer_client.calls import identified, publish
from streamer_client.client import Client
from streamer_client.errors import ClientError, NotSent, QueueFull, Refused, TooLarge
from streamer_client.messages import Event, PublishResult

log = logging.getLogger(__name__)

_TAKEN: Final = 202
_LATER: Final = 503
_PAUSE_S_FIRST: Final = 0.5
_PAUSE_S_MAX: Final = 30.0


def _log_rejected(event: Event, result: PublishResult) -> None:
    log.warning("event_rejected: %s: %s", event.event_id, result.detail)


class EventQueue:
    """Takes events without waiting for the service; a thread of its own sends them.

    An event gets its id and its time when it is added, and stays in the queue until the service
    has taken it or said that it is bad: what is sent again is learned once. What waits here is
    lost where the process is killed. :meth:`add` never waits, so it may be called from an event
    loop too.

    Parameters
    ----------
    client
        To send with; stays open.
    queue_max
        Events that may wait; 10,000 of 200 B are 2 MB.
    batch_max
        Events in one body; ``http.events_max`` of the service bounds them.
    linger_s
        How long the first event of a body waits for more.
    rejected
        Called in the thread with each event that the service refuses for good, and its reason;
        by default they are logged.

    Examples
    --------
    >>> with EventQueue(Client("http://localhost:8080")) as events:  # doctest: +SKIP
    ...     events.add(Event(type="click", user_id="ann", item_id="tea"))
    """

    def __init__(
        self,
        client: Client,
        *,
        queue_max: int = 10_000,
        batch_max: int = 500,
        linger_s: float = 0.1,
        rejected: Callable[[Event, PublishResult], None] = _log_rejected,
    ) -> None:
        self._client = client
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._linger_s = linger_s
        self._rejected = rejected
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Event]] = deque()  # by number, those being sent among them
        self._n_added = self._n_accepted = self._n_rejected = 0
        self._flush_end = 0  # events before it are not waited with
        self._hurried = self._ended = False
        self._failure: ClientError | None = None
        self._pause_s = _PAUSE_S_FIRST
        self._thread: threading.Thread | None = None  # a server may fork before the first event

    @property
    def n_waiting(self) -> int:
        """Events that the service has not answered for."""
        return len(self._waiting)

    @property
    def n_accepted(self) -> int:
        """Events that the broker has."""
        return self._n_accepted

    @property
    def n_rejected(self) -> int:
        """Events that the service refused for good."""
        return self._n_rejected

    def add(self, event: Event) -> Event:
        """Queue an event and return it, with its id and its time.

        Raises
        ------
        QueueFull
            When ``queue_max`` events wait, or the queue is closed; the event is not queued.
        ValueError, TypeError
            When a value is none of JSON.
        """
        event = identified(event)
        if event.ts is None:
            event = replace(event, ts=time.time_ns() // 1_000_000)
        publish(event)  # what is no JSON fails here, and not in the thread
        with self._changed:
            if self._ended:
                raise QueueFull("the queue is closed; make a new one")
            if len(self._waiting) >= self._queue_max:
                raise QueueFull(
                    f"{len(self._waiting)} events wait (queue_max); {self._why()}; add it later, or"
                    " raise queue_max"
                )
            self._waiting.append((self._n_added, event))
            self._n_added += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="events")
                self._thread.start()
            self._changed.notify_all()
        return event

    def flush(self, timeout_s: float = 10.0) -> None:
        """Wait until the service has answered for every event added so far.

        Raises
        ------
        NotSent
            When it has not after ``timeout_s``; the events stay in the queue.
        """
        with self._changed:
            end = self._n_added
            self._flush_end = end
            self._hurried = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._is_sent(end), timeout_s):
                n_left = sum(number < end for number, _ in self._waiting)
                raise NotSent(
                    f"{n_left} events still wait after {timeout_s} s; {self._why()}; flush again"
                ) from self._failure

    def close(self, timeout_s: float = 10.0) -> None:
        """Flush and end; raises as :meth:`flush`, and what still waits is given up then."""
        try:
            self.flush(timeout_s)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except NotSent:
            if error is None:  # else what went wrong first is what the caller must see
                raise

    def _is_due(self) -> bool:
        return self._ended or self._waiting[0][0] < self._flush_end

    def _is_sent(self, end: int) -> bool:
        return not self._waiting or self._waiting[0][0] >= end

    def _why(self) -> str:
        return str(self._failure or "the service is slower than they come")

    # --- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                results: Sequence[PublishResult] = self._client.publish_many(batch).results
            except ClientError as error:
                results = self._results_of(batch, error)
                if not results:
                    continue
            self._settle(batch, results)

    def _next_batch(self) -> list[Event]:
        """Return the oldest events once they are to be sent; none: the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._ended)
            self._changed.wait_for(
                lambda: len(self._waiting) >= self._batch_max or self._is_due(),
                self._linger_s,
            )
            self._hurried = False
            events = [event for _, event in islice(self._waiting, self._batch_max)]
            return [] if self._ended else events

    def _results_of(self, batch: Sequence[Event], error: ClientError) -> Sequence[PublishResult]:
        """Return what became of the events of a body that failed; none: they are sent again."""
        if isinstance(error, Refused) and len(error.results) == len(batch):
            return error.results
        if not isinstance(error, Refused | TooLarge):
            self._wait(error)
            return []
        if len(batch) > 1:
            self._batch_max = len(batch) // 2
            return []
        return [PublishResult(index=0, status=error.problem.status, detail=error.problem.detail)]

    def _settle(self, batch: Sequence[Event], results: Sequence[PublishResult]) -> None:
        refused = []
        with self._changed:
            sent = [self._waiting.popleft() for _ in batch]
            later = []
            for numbered, result in zip(sent, results, strict=True):
                if result.status == _TAKEN:
                    self._n_accepted += 1
                elif result.status == _LATER:
                    later.append(numbered)
                else:
                    refused.append((numbered[1], result))
            self._waiting.extendleft(reversed(later))
            self._n_rejected += len(refused)
            self._changed.notify_all()
        for event, result in refused:
            try:
                self._rejected(event, result)
            except Exception:
                log.exception("event_rejected: %s: and what was to take it failed", event.event_id)
        if later:
            self._wait(NotSent(f"the broker did not take {len(later)} of {len(batch)} events"))
        else:
            self._failure, self._pause_s = None, _PAUSE_S_FIRST

    def _wait(self, error: ClientError) -> None:
        """Wait until the next try, longer each time; a flush ends the pause."""
        log.warning("events_not_sent: %d wait: %s", len(self._waiting), error)
        with self._changed:
            self._failure = error
            self._changed.wait_for(lambda: self._hurried or self._ended, self._pause_s)
            self._pause_s = min(2 * self._pause_s, _PAUSE_S_MAX)
