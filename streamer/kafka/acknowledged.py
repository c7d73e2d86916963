"""Messages to Kafka, each with a future that is done when the broker has it."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import Future, InvalidStateError
from typing import Final

import confluent_kafka as ck

from streamer.errors import DeliveryFailed, KafkaError
from streamer.kafka.connection import (
    REQUEST_TIMEOUT_S,
    Options,
    Outages,
    connection_options,
    new_client,
    translated,
)
from streamer.kafka.sink import producer_options
from streamer.protocols import DeliveredAt

_POLL_S: Final = 0.1
_BATCH_BYTES: Final = 100_000
"""A broker refuses a whole batch for its size: small ones hold one large message or few others."""


class AcknowledgedSink:
    """Sends messages over one idempotent producer; for any number of threads.

    :class:`streamer.kafka.sink.KafkaSink` waits for all that was sent at once; here each message
    says for itself that all replicas have it, at the cost of a call of Python for each.

    Parameters
    ----------
    linger_s
        How long a message waits for others to share its request.
    timeout_s
        How long a message may take to be acknowledged.
    client_options
        Raw librdkafka options, added to ours.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        linger_s: float = 0.002,
        timeout_s: float = REQUEST_TIMEOUT_S,
        client_options: Options | None = None,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._timeout_s = timeout_s
        self._outages = Outages(bootstrap_servers)
        own = {
            **producer_options(linger_s=linger_s, timeout_s=timeout_s),
            "delivery.report.only.error": False,
            "batch.size": _BATCH_BYTES,
        }
        options = connection_options(bootstrap_servers, own, client_options or {})
        self._producer = new_client(ck.Producer, options, self._outages)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="acknowledgements", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether acknowledgements are taken."""
        return self._thread.is_alive()

    def send(self, topic: str, *, key: bytes, value: bytes | None) -> Future[DeliveredAt]:
        """Queue one message; a null value deletes its key. Never waits.

        Returns
        -------
        Future
            Done when all replicas have the message, with its place; with DeliveryFailed where it
            was refused or not acknowledged in time.

        Raises
        ------
        DeliveryFailed
            When the buffer is full, the broker refuses this client, or the sink is closed.
        """
        if self._closed.is_set():
            raise DeliveryFailed("the sink is closed; open another one")
        try:
            self._outages.check()
        except KafkaError as error:
            raise DeliveryFailed(f"messages can't be delivered: {error}") from error
        future: Future[DeliveredAt] = Future()
        delivered = functools.partial(self._delivered, future)
        try:
            self._producer.produce(topic, value, key, on_delivery=delivered)
        except BufferError as error:
            raise DeliveryFailed(
                f"the buffer of {len(self._producer)} messages is full: Kafka at"
                f" {self._bootstrap_servers} does not take them; start the broker, or send more"
                " slowly"
            ) from error
        except ck.KafkaException as error:
            raise self._failed(topic, error) from error
        return future

    def close(self) -> None:
        """Wait until every message is acknowledged or has failed, and end.

        Raises
        ------
        DeliveryFailed
            When some are neither after ``timeout_s``.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join()
        n_left = self._producer.flush(self._timeout_s)
        if n_left:
            raise DeliveryFailed(
                f"{n_left} messages are not acknowledged after {self._timeout_s:.0f} s by Kafka at"
                f" {self._bootstrap_servers}; their senders were not told that they are"
            )

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_POLL_S)

    def _delivered(
        self, future: Future[DeliveredAt], error: ck.KafkaError | None, message: ck.Message
    ) -> None:
        try:
            if error is None:
                future.set_result(_place(message))
            else:
                future.set_exception(self._failed(str(message.topic()), error))
        except InvalidStateError:  # whoever sent it has stopped waiting
            return

    def _failed(self, topic: str, error: ck.KafkaError | ck.KafkaException) -> DeliveryFailed:
        cause = translated(
            error, doing=f"sending to {topic}", bootstrap_servers=self._bootstrap_servers
        )
        return DeliveryFailed(f"a message was not delivered: {cause}")


def _place(message: ck.Message) -> DeliveredAt:
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        return DeliveredAt(str(message.topic()), -1, -1)
    return DeliveredAt(str(message.topic()), partition, offset)
