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

from types import TracebackType
from typing import Final, Self

import confluent_kafka as ck

from streamer.errors import KafkaError, KafkaUnavailable
from streamer.kafka.connection import client_log

N_PARTITIONS: Final = 4
_START_TIMEOUT_S: Final = 10.0


class EmbeddedBroker:
    """A broker that lives as long as this object is entered.

    Attributes
    ----------
    bootstrap_servers
        ``host:port`` on the loopback interface, for any process of this machine.
    """

    def __init__(self) -> None:
        self._client: ck.Producer | None = None
        self._bootstrap_servers = ""

    @property
    def bootstrap_servers(self) -> str:
        if not self._bootstrap_servers:
            raise KafkaError("the embedded broker has no address before it is entered (`with`)")
        return self._bootstrap_servers

    def __enter__(self) -> Self:
        options = {"bootstrap.servers": "", "test.mock.num.brokers": 1, "log_level": 3}
        self._client = ck.Producer(options, logger=client_log)
        try:
            brokers = self._client.list_topics(timeout=_START_TIMEOUT_S).brokers.values()
        except ck.KafkaException as error:
            raise KafkaUnavailable(
                f"the embedded broker did not start within {_START_TIMEOUT_S:.0f} s"
            ) from error
        self._bootstrap_servers = ",".join(f"{each.host}:{each.port}" for each in brokers)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            self._client.close()  # the cluster goes with its client
        self._client = None
        self._bootstrap_servers = ""
