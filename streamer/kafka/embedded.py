"""A broker inside this process, for trying things out: librdkafka's mock cluster.

It speaks the real protocol over TCP, so other processes (and other clients) produce, consume, join
groups and commit. What it is not:

- It forgets everything when this process ends; ``streamer up --data`` keeps and brings back.
- It keeps about 5 MB a partition, whatever the retention; older messages are gone, read or not.
  Publishers wait for the learner before that, see :mod:`streamer.client.embedded_room`.
- Topics appear at first use and always have ``N_PARTITIONS`` partitions; there is no CreateTopics,
  no compaction, no access control.
- The first member of a consumer group waits 3 s for others; a source without a group doesn't.
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Final, Self

import confluent_kafka as ck

from streamer.errors import KafkaError, KafkaUnavailable
from streamer.kafka.connection import client_log
from streamer.kafka.fixed_port import LOOPBACK, opened_port

N_PARTITIONS: Final = 4
_START_TIMEOUT_S: Final = 10.0


class EmbeddedBroker:
    """A broker that lives as long as this object is entered.

    Parameters
    ----------
    port
        Where clients of this machine find it, whichever port it has itself; 0: there alone.

    Attributes
    ----------
    bootstrap_servers
        ``host:port`` on the loopback interface, for any process of this machine.
    """

    def __init__(self, *, port: int = 0) -> None:
        self._port = port
        self._stack = contextlib.ExitStack()
        self._bootstrap_servers = ""

    @property
    def bootstrap_servers(self) -> str:
        if not self._bootstrap_servers:
            raise KafkaError("the embedded broker has no address before it is entered (`with`)")
        return self._bootstrap_servers

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            door = stack.enter_context(opened_port(self._port)) if self._port else None
            options = {"bootstrap.servers": "", "test.mock.num.brokers": 1, "log_level": 3}
            client = ck.Producer(options, logger=client_log)
            stack.callback(client.close)  # the cluster goes with its client
            try:
                (broker,) = client.list_topics(timeout=_START_TIMEOUT_S).brokers.values()
            except ck.KafkaException as error:
                raise KafkaUnavailable(
                    f"the embedded broker did not start within {_START_TIMEOUT_S:.0f} s"
                ) from error
            self._bootstrap_servers = f"{broker.host}:{broker.port}"
            if door is not None:
                stack.enter_context(door.serving(broker.host, broker.port))
                self._bootstrap_servers = f"{LOOPBACK}:{self._port}"
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        self._bootstrap_servers = ""
