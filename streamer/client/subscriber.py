"""Follow the recommendations that are made."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Literal, Self

from streamer.client.connection import client_config
from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import Recommendation, decode_recommendation
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import EARLIEST, LATEST
from streamer.kafka.partitioner import partition_of

log = logging.getLogger(__name__)

_N_MAX: Final = 1_000
_WAIT_S: Final = 0.2
"""Longest wait for a message at a time, after which :meth:`Subscriber.close` is noticed."""


class Subscriber:
    """Iterates over recommendations as they are published.

    Parameters
    ----------
    bootstrap_servers, config
        As for :class:`Publisher`.
    user_id
        Only this user's; then only the one partition that holds them is read.
    start
        ``"latest"``: those made from now on (from entering ``with``, or the first use).
        ``"earliest"``: all that are kept. A number: those from that time on, ms since the epoch.
    timeout_s
        Iteration ends when none came for so long; None: it goes on until :meth:`close`.

    Examples
    --------
    >>> with Subscriber("localhost:9092", user_id="ann") as subscriber:  # doctest: +SKIP
    ...     for recommendation in subscriber:
    ...         print(recommendation.items)
    """

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        *,
        config: Config | None = None,
        user_id: str | None = None,
        start: Literal["latest", "earliest"] | int = "latest",
        timeout_s: float | None = None,
    ) -> None:
        config = client_config(bootstrap_servers, config)
        self._topic = config.topics.topic("recommendations")
        self._user_id = user_id
        self._start = start
        self._timeout_s = timeout_s
        self._started = False
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._n_rejected = 0
        self._reader = configured_reader(config, anew="followed")

    @property
    def n_rejected(self) -> int:
        """Messages on the topic that were no recommendations; they are passed over and logged."""
        return self._n_rejected

    def open(self) -> None:
        """Find the place to start from; recommendations made after this are seen.

        Raises
        ------
        TopicMismatch
            When the topic is missing.
        KafkaUnavailable
        """
        with self._lock:
            self._open()

    def poll(self, timeout_s: float) -> list[Recommendation]:
        """Recommendations that are there, else the first to come; none after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not self._closed.is_set():
            wait_s = min(_WAIT_S, max(0.0, deadline - time.monotonic()))
            with self._lock:
                found = [] if self._closed.is_set() else self._read(wait_s)
            if found or time.monotonic() >= deadline:
                return found
        return []

    def __iter__(self) -> Iterator[Recommendation]:
        while not self._closed.is_set():
            # Without a timeout any finite wait will do, for another follows.
            found = self.poll(60.0 if self._timeout_s is None else self._timeout_s)
            if not found and self._timeout_s is not None:
                return
            yield from found

    def stop(self) -> None:
        """Let an iteration end soon; does not wait, so that a signal's handler may call it.

        A KeyboardInterrupt will not always do: one that comes while the Kafka client calls back
        into Python is lost.
        """
        self._closed.set()

    def close(self) -> None:
        """End, and with it an iteration in another thread."""
        self.stop()
        with self._lock:
            self._reader.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        if self._started:
            return
        partitions = self._reader.partitions(self._topic)
        if self._user_id is not None:
            own = partition_of(self._user_id.encode(), len(partitions))
            partitions = [(self._topic, own)]
        if isinstance(self._start, int):
            self._reader.start(self._reader.offsets_at(partitions, self._start))
        else:
            offset = EARLIEST if self._start == "earliest" else LATEST
            self._reader.start(dict.fromkeys(partitions, offset))
        self._started = True

    def _read(self, wait_s: float) -> list[Recommendation]:
        self._open()
        return [
            found
            for batch in self._reader.poll(n_max=_N_MAX, timeout_s=wait_s)
            for value in batch.values
            if (found := self._decode(value)) is not None and self._wants(found)
        ]

    def _wants(self, found: Recommendation) -> bool:
        return self._user_id is None or found.user_id == self._user_id

    def _decode(self, value: bytes | None) -> Recommendation | None:
        try:
            return decode_recommendation(value)
        except BadMessage as error:
            if self._n_rejected == 0:
                log.warning("not_a_recommendation", extra={"topic": self._topic, "reason": error})
            self._n_rejected += 1
            return None
