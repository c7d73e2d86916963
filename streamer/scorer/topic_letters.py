"""One dead letter for a bad message of a topic that every scorer reads from its start."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from streamer.errors import DeliveryFailed, KafkaError
from streamer.protocols import Clock, MessageBatch

log = logging.getLogger(__name__)

BYTES_MAX: Final = 64_000_000
"""Bound of the bad messages that are remembered; those found first are forgotten, and said."""
_MESSAGE_BYTES: Final = 1_000
"""Of one message beside its value."""
_SETTLE_EVERY_MS: Final = 5_000
"""Positions move with each value of a feature; without a letter they can wait."""

Positions = Mapping[tuple[str, int], int]


class LetterDuty(Protocol):
    """Which scorer of a group sends the letters, and up to where they have been sent."""

    def is_mine(self) -> bool:
        """Whether this scorer sends them now."""

    def sent(self, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Offset up to which the group has sent letters; absent: of nothing yet.

        Raises
        ------
        KafkaError
            When the broker does not answer.
        """

    def tell_sent(self, offsets: Positions, *, wait: bool) -> None:
        """Have the group know; ``wait`` until the broker has it."""


class OwnDuty:
    """That of a scorer without a group: it sends all letters, and tells nobody."""

    def is_mine(self) -> bool:
        return True

    def sent(self, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return {}

    def tell_sent(self, offsets: Positions, *, wait: bool) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Bad:
    batch: MessageBatch
    reason: str

    @property
    def where(self) -> tuple[str, int]:
        return self.batch.topic, self.batch.partition

    @property
    def n_bytes(self) -> int:
        return len(self.batch.values[0] or b"") + _MESSAGE_BYTES


class TopicLetters:
    """Remembers the bad messages of such topics, and sends each letter that is still to be sent.

    Every scorer finds every bad message, again at each start. The scorer whose duty it is sends
    letters for those behind the offset up to which the group has sent them, waits until the broker
    has them, and moves the offset. The others remember what they found: the duty may become theirs.
    A scorer that is killed between a letter and the offset has its successor send that one again.

    Parameters
    ----------
    send
        Sends the letter for one message of a batch.
    flush
        Waits until what was sent is acknowledged.
    """

    def __init__(
        self,
        duty: LetterDuty,
        *,
        send: Callable[[MessageBatch, int, str], None],
        flush: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._duty = duty
        self._send = send
        self._flush = flush
        self._clock = clock
        self._lock = threading.Lock()
        self._found: deque[_Bad] = deque()
        self._n_bytes = 0
        self._read: dict[tuple[str, int], int] = {}
        self._sent: dict[tuple[str, int], int] | None = None  # None: the group is to be asked
        self._anew: set[tuple[str, int]] = set()  # read from the start again
        self._next_ms = 0
        self._fails = False

    def found(self, batch: MessageBatch, index: int, reason: str) -> None:
        """Remember message ``index`` of a batch; any thread."""
        bad = _Bad(batch.slice(index, index + 1), reason)
        n_forgotten = 0
        with self._lock:
            if int(batch.offsets[index]) < self._read.get(bad.where, 0):
                self._anew.add(bad.where)
            self._found.append(bad)
            self._n_bytes += bad.n_bytes
            while self._n_bytes > BYTES_MAX:
                self._n_bytes -= self._found.popleft().n_bytes
                n_forgotten += 1
        if n_forgotten:
            log.warning("letters_forgotten", extra={"topic": batch.topic, "n": n_forgotten})

    def read_to(self, positions: Positions) -> None:
        """Note how far topics have been read, after what was bad up to there; any thread."""
        with self._lock:
            self._anew |= {each for each, to in positions.items() if to < self._read.get(each, 0)}
            self._read |= positions

    def settle(self) -> None:
        """Send what is to be sent, if that is this scorer's duty; one thread alone.

        Raises
        ------
        DeliveryFailed
            When a letter was not delivered.
        """
        if not self._duty.is_mine():
            self._sent = None
            with self._lock:
                self._anew = set()  # the other's
            return
        with self._lock:
            n_found, moved = len(self._found), not (self._sent or {}).items() >= self._read.items()
        now_ms = self._clock.now_ms()
        may_wait = self._fails or not n_found
        if not (n_found or moved) or (may_wait and now_ms < self._next_ms):
            return
        self._next_ms = now_ms + _SETTLE_EVERY_MS
        try:
            self._ask()
            self._settle()
            self._fails = False
        except DeliveryFailed:
            raise
        except KafkaError as error:  # answers to requests do not wait for this
            if not self._fails:
                log.warning("letters_wait", extra={"reason": str(error)})
            self._fails = True

    def _settle(self) -> None:
        read, found = self._taken_up()
        sent = self._sent
        assert sent is not None, "the group was asked"
        n_sent = 0
        for bad in found:
            if int(bad.batch.offsets[0]) >= sent[bad.where]:
                self._send(bad.batch, 0, bad.reason)
                n_sent += 1
        if n_sent:
            self._flush()
        if moved := {each: to for each, to in read.items() if sent[each] != to}:
            sent |= moved
            self._duty.tell_sent(moved, wait=n_sent > 0)

    def _ask(self) -> None:
        """Ask the group for the offsets of what was read meanwhile."""
        with self._lock:
            read, anew = dict(self._read), self._anew
            self._anew = set()
        # Of a topic that was made anew, nothing has a letter.
        known = (self._sent or {}) | dict.fromkeys(anew, 0)
        if unknown := read.keys() - known.keys():
            told = self._duty.sent(unknown)
            # An offset beyond what there is to read is of a topic that was made anew since.
            known |= {
                each: at if (at := told.get(each, 0)) <= read[each] else 0 for each in unknown
            }
        self._sent = known

    def _taken_up(self) -> tuple[dict[tuple[str, int], int], list[_Bad]]:
        """How far the known partitions have been read, and what was bad up to there."""
        known = self._sent or {}
        taken: list[_Bad] = []
        left: deque[_Bad] = deque()
        with self._lock:
            read = {each: at for each, at in self._read.items() if each in known}
            for bad in self._found:
                was_read = int(bad.batch.offsets[0]) < read.get(bad.where, 0)
                (taken if was_read else left).append(bad)
            self._found, self._n_bytes = left, sum(bad.n_bytes for bad in left)
        return read, taken
