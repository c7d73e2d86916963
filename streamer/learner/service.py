"""The learner as a process: poll, learn, commit, until told to stop."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from streamer.dead_letters import send_letter
from streamer.errors import DeliveryPending, Fenced, LogTrimmed, Stopped, StoreError
from streamer.events.decoding import Rejected
from streamer.learner.learner import Learner
from streamer.protocols import Clock, MessageBatch, Sink, Source

log = logging.getLogger(__name__)

_SAY_AFTER_S = 5.0
"""How long the broker may take for dead letters before it is said that they are waited for."""
_REJOIN_PAUSE_S = 1.0
_FENCED_MAX: Final = 3
_FENCED_WITHIN_MS: Final = 60_000
"""Learners of one group take a partition over where one is late, and not from each other."""
SHARED_REMEDY: Final = (
    "give all learners of a store the same kafka.group and the same broker, or each a store of its"
    " own (another store.url, or another store.key_prefix)"
)
_SHOWN_EVERY_MS = 1_000
"""Of rounds in which nothing came; the others are shown at once."""
_IDLE_S = 0.5
"""Longest wait for a first message, which is taken at once, before what others committed and what
is due are looked at."""

Assigned = Callable[[Sequence[int]], Mapping[tuple[str, int], int]]
Revoked = Callable[[Sequence[int]], None]


class OpenSource(Protocol):
    """Joins the consumer group."""

    def __call__(self, *, on_assign: Assigned, on_revoke: Revoked) -> Source: ...


class LearnerService:
    """Runs a learner over a source.

    Parameters
    ----------
    learner
        Owns nothing yet.
    open_source
        Called at the start, and again whenever another learner has taken a partition over.
    sync_interval_s
        Time from one round of commits to the next when there is little to do; under load a round
        begins as soon as ``n_max`` messages are there.
    stop
        Set when it is asked to stop, by :meth:`stop` or by others; what it uses may look at it.
    on_round
        Called after each round that took something, and else once a second, with the lag behind
        what it took, and with none after partitions were lost, for metrics.
    """

    def __init__(
        self,
        *,
        learner: Learner,
        open_source: OpenSource,
        sync_interval_s: float,
        n_max: int,
        clock: Clock,
        stop: threading.Event | None = None,
        on_round: Callable[[Mapping[tuple[str, int], int]], None] = lambda lag: None,
    ) -> None:
        self._learner = learner
        self._open_source = open_source
        self._sync_interval_ms = 1000 * sync_interval_s
        self._n_max = n_max
        self._clock = clock
        self._on_round = on_round
        self._told: dict[tuple[str, int], int] = {}
        self._shown_ms = 0
        self._stop = stop or threading.Event()
        self._fenced_ms: deque[int] = deque(maxlen=_FENCED_MAX)

    def stop(self) -> None:
        """Ask :meth:`run` to finish the round in hand, write checkpoints and return."""
        self._stop.set()

    def run(self) -> None:
        """Learn until :meth:`stop`.

        Losing a partition to another learner, or falling behind the others' logs, drops all state
        and joins afresh; any other error ends the service, with nothing half committed. Who is
        asked to stop while the broker is away does not wait for it: what is in hand is learned
        after the next start.
        """
        while not self._stop.is_set():
            rejoin_in_s = 0.0
            source = self.join()
            try:
                self._rounds(source)
                self._learner.checkpoint_all()
            except (Fenced, LogTrimmed) as error:
                log.warning("rejoining", extra={"reason": str(error)})
                if isinstance(error, Fenced):
                    self._tell_if_shared(error)
                self._learner.counts.n_rejoins += 1
                self._on_round({})
                rejoin_in_s = _REJOIN_PAUSE_S
            except Stopped as error:
                log.warning("stopped_without_broker", extra={"reason": str(error)})
            finally:
                self._learner.release()
                source.close()
            # Two that fence each other off would load everything over and over without a pause.
            self._stop.wait(rejoin_in_s)

    def join(self) -> Source:
        """Join the group; its partitions come with the first round."""
        self._told = {}
        return self._open_source(on_assign=self._assigned, on_revoke=self._revoked)

    def round(self, source: Source, *, timeout_s: float) -> int:
        """Learn and commit what is there, waiting ``timeout_s`` for the first; the number taken."""
        batches = source.poll(n_max=self._n_max, timeout_s=timeout_s)
        lag = source.lag()
        self._learner.learn(batches, lag=lag)
        source.hold(self._learner.waiting)
        self._learner.checkpoint_due()
        offsets = self._learner.offsets
        if offsets and offsets != self._told:
            source.tell_applied(offsets)
            self._told = offsets
        n_messages, now_ms = sum(map(len, batches)), self._clock.now_ms()
        if n_messages or not 0 <= now_ms - self._shown_ms < _SHOWN_EVERY_MS:
            self._on_round(lag)
            self._shown_ms = now_ms
        return n_messages

    def _rounds(self, source: Source) -> None:
        while not self._stop.is_set():
            began_ms = self._clock.now_ms()
            n_messages = self.round(source, timeout_s=max(_IDLE_S, self._sync_interval_ms / 1000))
            # A wall clock that was set back must not make the wait longer.
            spent_ms = max(0, self._clock.now_ms() - began_ms)
            spare_ms = self._sync_interval_ms - spent_ms
            if 0 < n_messages < self._n_max and spare_ms > 0:
                self._clock.sleep(spare_ms / 1000)

    def _tell_if_shared(self, error: Fenced) -> None:
        """Say why partitions are taken from this learner over and over."""
        now_ms = self._clock.now_ms()
        self._fenced_ms.append(now_ms)
        first_ms = self._fenced_ms[0]
        if len(self._fenced_ms) == _FENCED_MAX and abs(now_ms - first_ms) <= _FENCED_WITHIN_MS:
            self._fenced_ms.clear()
            log.warning(
                "store_is_shared",
                extra={
                    "reason": f"another learner, which is not of this one's consumer group, learns"
                    f" into the same store: {_FENCED_MAX} times within {_FENCED_WITHIN_MS // 1000}"
                    f" s it took a partition that this one has; {error}",
                    "remedy": SHARED_REMEDY,
                },
            )

    def _assigned(self, partitions: Sequence[int]) -> Mapping[tuple[str, int], int]:
        return self._learner.assign(partitions)

    def _revoked(self, partitions: Sequence[int]) -> None:
        log.info("partitions_revoked", extra={"partitions": list(partitions)})
        try:
            self._learner.flush()
        except StoreError as error:
            # Whoever owns the partitions next learns again what is not committed.
            log.warning("commits_dropped", extra={"reason": str(error)})
        self._learner.release()


def dead_letters_to(sink: Sink, topic: str) -> Callable[[MessageBatch, Sequence[Rejected]], None]:
    """A function that publishes bad messages and returns when the broker has them.

    An outage is waited for, as where messages are read: how long a letter may take is a matter of
    the sink.
    """

    def publish(batch: MessageBatch, rejected: Sequence[Rejected]) -> None:
        for bad in rejected:
            send_letter(sink, topic, batch, bad.index, bad.reason)
        said = False
        while True:
            try:
                sink.flush(_SAY_AFTER_S)
                break
            except DeliveryPending as error:
                if not said:
                    log.warning("dead_letters_wait", extra={"reason": str(error)})
                said = True
        if said:
            log.info("dead_letters_sent")

    return publish
