"""Messages to Kafka: idempotent, acknowledged by all replicas, in a bounded buffer."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable
from typing import Final, cast

import confluent_kafka as ck

from streamer.errors import DeliveryFailed, DeliveryPending, KafkaError, StreamerError
from streamer.kafka.connection import (
    REQUEST_TIMEOUT_S,
    Options,
    Outages,
    Stopping,
    check_stopping,
    connection_options,
    never,
    new_client,
    translated,
)

_PRODUCER_OPTIONS: Final[dict[str, str | int | float | bool]] = {
    "enable.idempotence": True,  # implies acks=all, and keeps the order when it tries again
    "partitioner": "murmur2_random",
    # Only failures call back: a Python call for each success would cost as much as the sending.
    "delivery.report.only.error": True,
    # A topic that isn't there is reported after 5 s, not after 30.
    "topic.metadata.propagation.max.ms": 5_000,
    # Messages of one key share a batch in a queue that is bounded in messages and in bytes.
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 65_536,
}

_TOO_LARGE: Final = ck.KafkaError.MSG_SIZE_TOO_LARGE
_FULL_WAIT_S: Final = 0.05
_LOOK_S: Final = 0.5
"""Between two looks, while flushing, for what can't be delivered."""
_ON_ITS_WAY_S: Final = 2.0
"""Who is asked to stop waits so long for what a broker that is there acknowledges."""
_SERVE_EVERY: Final = 256
"""Sends between two looks for failures."""


def producer_options(*, linger_s: float, timeout_s: float) -> dict[str, str | int | float | bool]:
    """Return options of a producer.

    Parameters
    ----------
    linger_s
        How long a message waits for others to share its request.
    timeout_s
        How long a message may take to be acknowledged; infinity: for ever.
    """
    return {
        **_PRODUCER_OPTIONS,
        "linger.ms": 1000 * linger_s,
        # 0 is for ever.
        "message.timeout.ms": 0 if math.isinf(timeout_s) else max(1, round(1000 * timeout_s)),
    }


class KafkaSink:
    """A :class:`streamer.protocols.Sink` over one idempotent producer; for any number of threads.

    A broker judges the size of a whole batch. The messages of a batch that it refuses for its size
    are sent once more, each by itself, so that only those fail that are too large themselves. They
    may come behind later messages of their key.

    Parameters
    ----------
    linger_s
        How long a message waits for others to share its request.
    timeout_s
        How long a message may take to be acknowledged, and how long :meth:`send` waits for room in
        the buffer; infinity: for ever.
    client_options
        Raw librdkafka options, added to ours.
    stopping
        Whether to stop waiting for the broker, and raise Stopped.

    Attributes
    ----------
    outages
        Errors the client got over by itself, counted.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        linger_s: float = 0.005,
        timeout_s: float = REQUEST_TIMEOUT_S,
        client_options: Options | None = None,
        stopping: Stopping = never,
    ) -> None:
        self.outages = Outages(bootstrap_servers)
        self._bootstrap_servers = bootstrap_servers
        self._timeout_s = timeout_s
        self._stopping = stopping
        own = producer_options(linger_s=linger_s, timeout_s=timeout_s)
        options = connection_options(bootstrap_servers, own, client_options or {})
        self._options = options
        self._producer = new_client(ck.Producer, options, self.outages)
        self._alone: ck.Producer | None = None
        self._lock = threading.Lock()
        self._n_sent = 0
        self._n_failed = 0
        self._failure: DeliveryFailed | None = None
        self._closed = False

    @property
    def n_delivered(self) -> int:
        """Messages acknowledged; exact after a :meth:`flush`."""
        with self._lock:
            return max(0, self._n_sent - self._n_failed - self.n_queued)

    @property
    def n_queued(self) -> int:
        """Messages not yet acknowledged."""
        return len(self._producer) + (0 if self._alone is None else len(self._alone))

    @property
    def n_failed(self) -> int:
        """Messages refused, or not acknowledged in time."""
        return self._n_failed

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        on_too_large: Callable[[], None] | None = None,
        publish_ms: int | None = None,
    ) -> None:
        """Queue one message; a null value deletes its key. Waits while the buffer is full.

        Parameters
        ----------
        publish_ms
            The message's own time, ms since the epoch; by default now.
        on_too_large
            Called, in this call or a later one, where the topic refuses the message for its size;
            such a message is a failure without. It may send.

        Raises
        ------
        DeliveryFailed
            When an earlier message could not be delivered (said once), or the buffer stayed full
            for ``timeout_s``, or the sink is closed.
        """
        if self._closed:
            raise DeliveryFailed("the sink is closed; open another one")
        if self._n_sent % _SERVE_EVERY == 0:
            self._serve()
        self._raise_failure()
        deadline: float | None = None
        delivered = functools.partial(self._delivered, on_too_large)
        at_ms = 0 if publish_ms is None else publish_ms  # 0: now, by the client's clock
        while True:
            try:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    -1 if partition is None else partition,
                    delivered,
                    timestamp=at_ms,
                )
                break
            except BufferError as error:
                now = time.monotonic()
                deadline = deadline or now + self._timeout_s
                if now >= deadline:
                    raise DeliveryFailed(
                        f"the buffer of {len(self._producer)} messages stayed full for "
                        f"{self._timeout_s:.0f} s: Kafka at {self._bootstrap_servers} does not "
                        "take them; start the broker, or send more slowly"
                    ) from error
                self._producer.poll(_FULL_WAIT_S)
                self._raise_failure()
                check_stopping(self._stopping, f"the buffer of what is sent to {topic} is full")
            except ck.KafkaException as error:
                if on_too_large is None or error.args[0].code() != _TOO_LARGE:
                    raise self._refused(topic, error) from error
                on_too_large()
                return
        with self._lock:
            self._n_sent += 1

    def flush(self, timeout_s: float) -> None:
        """Wait until every message is acknowledged.

        Raises
        ------
        DeliveryFailed
            When one was refused.
        DeliveryPending
            When some are not acknowledged after ``timeout_s``.
        """
        began = time.monotonic()
        deadline = began + timeout_s
        # Again and again: what was refused is sent on from within, by itself or as another message,
        # and a password that is refused is known between two calls.
        while True:
            self._producer.flush(max(0.0, min(_LOOK_S, deadline - time.monotonic())))
            if self._alone is not None:
                self._alone.flush(max(0.0, min(_LOOK_S, deadline - time.monotonic())))
            self._raise_failure()
            n_left = self.n_queued
            if not n_left or time.monotonic() >= deadline:
                break
            if time.monotonic() - began >= _ON_ITS_WAY_S:
                check_stopping(self._stopping, f"{n_left} messages were not acknowledged")
        if n_left:
            tried = "" if math.isinf(self._timeout_s) else f" for up to {self._timeout_s:.0f} s"
            raise DeliveryPending(
                f"{n_left} messages are not acknowledged after {timeout_s:.0f} s by Kafka at "
                f"{self._bootstrap_servers}; they are still tried{tried}: flush again, or start the"
                " broker"
            )

    def check(self) -> None:
        """Raise DeliveryFailed when a message was refused; does not wait."""
        self._serve()
        self._raise_failure()

    def close(self, *, timeout_s: float | None = None) -> None:
        """Flush and end; raises as :meth:`flush`.

        Parameters
        ----------
        timeout_s
            How long to flush; by default what a message may take.
        """
        if self._closed:
            return
        try:
            self.flush(self._timeout_s if timeout_s is None else timeout_s)
        finally:
            self._closed = True

    def discard(self) -> None:
        """End without what is not acknowledged, and without waiting."""
        self._closed = True
        for producer in (self._producer, self._alone):
            if producer is not None:
                producer.purge()

    def _serve(self) -> None:
        self._producer.poll(0)
        if self._alone is not None:
            self._alone.poll(0)

    def _delivered(
        self,
        on_too_large: Callable[[], None] | None,
        error: ck.KafkaError | None,
        message: ck.Message,
    ) -> None:
        if error is None:
            return
        if error.code() != _TOO_LARGE:
            self._note_failure(error, message)
            return
        with self._lock:
            if self._alone is None:
                options = {**self._options, "batch.num.messages": 1}
                self._alone = new_client(ck.Producer, options, self.outages)
        try:
            self._alone.produce(
                str(message.topic()),
                message.value(),
                message.key(),
                cast("int", message.partition()),
                functools.partial(self._delivered_alone, on_too_large),
                timestamp=message.timestamp()[1],
            )
        except BufferError:
            self._note_failure(error, message)

    def _delivered_alone(
        self,
        on_too_large: Callable[[], None] | None,
        error: ck.KafkaError | None,
        message: ck.Message,
    ) -> None:
        if error is None:
            return
        if on_too_large is None or error.code() != _TOO_LARGE:
            self._note_failure(error, message)
            return
        with self._lock:
            self._n_failed += 1
        on_too_large()

    def _note_failure(self, error: ck.KafkaError, message: ck.Message) -> None:
        with self._lock:
            self._n_failed += 1
            if self._failure is None:
                cause = self._translated(f"sending to {message.topic()}", error)
                self._failure = DeliveryFailed(f"a message was not delivered: {cause}")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            with self._lock:
                failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
        try:
            self.outages.check()
        except KafkaError as error:
            raise DeliveryFailed(f"messages can't be delivered: {error}") from error

    def _refused(self, topic: str, error: ck.KafkaException) -> DeliveryFailed:
        return DeliveryFailed(
            f"a message was refused: {self._translated(f'sending to {topic}', error)}"
        )

    def _translated(self, doing: str, error: ck.KafkaError | Exception) -> StreamerError:
        return translated(error, doing=doing, bootstrap_servers=self._bootstrap_servers)
