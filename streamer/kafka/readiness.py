"""Whether a broker is there and has opened its logs, as one that has just started has not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, OffsetSpec

from streamer.errors import KafkaUnavailable, StreamerError, TopicMismatch
from streamer.kafka.connection import (
    Options,
    Outages,
    cluster,
    connection_options,
    is_embedded,
    new_client,
    no_answer,
    translated,
)

_WITHOUT_LEADER: Final = -1


class BrokerReadiness:
    """Asks a broker, as often as wanted, whether topics can be read and written.

    Parameters
    ----------
    topics
        Names. Those that the broker does not know are passed over: waiting does not make them.
    client_options
        Raw librdkafka options, added to ours.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topics: Collection[str],
        *,
        client_options: Options | None = None,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topics = topics
        self._outages = Outages(bootstrap_servers)
        options = connection_options(bootstrap_servers, {}, client_options or {})
        self._client = new_client(AdminClient, options, self._outages)

    def check(self, *, timeout_s: float) -> None:
        """Return where each partition has a leader that says where its log ends.

        Raises
        ------
        KafkaUnavailable
            When there is none yet, or no answer within ``timeout_s``; with the last cause.
        KafkaError
            When the broker refuses the client, which waiting does not mend.
        """
        try:
            found = cluster(self._client, self._outages, timeout_s=timeout_s)
        except ck.KafkaException as error:
            said = self._translated(error, "connecting")
            if said.retriable and self._outages.latest:
                said = no_answer(f"connecting: {self._outages.latest}", self._bootstrap_servers)
            raise said from error
        if not is_embedded(found.cluster_id):
            self._check_ends(found.topics, timeout_s)

    def _check_ends(self, topics: Mapping[str, Any], timeout_s: float) -> None:
        partitions = [
            each for name in self._topics if name in topics for each in _led(topics[name])
        ]
        end: Any = OffsetSpec  # without types
        specs = {each: end.latest() for each in partitions}
        if not specs:
            return
        for where, answer in self._client.list_offsets(specs, request_timeout=timeout_s).items():
            try:
                answer.result()
            except ck.KafkaException as error:
                said = self._translated(error, f"asking for the end of {_name(where)}")
                if isinstance(said, TopicMismatch):  # it is listed, so it is being opened
                    said = KafkaUnavailable(str(said))
                raise said from error

    def _translated(self, error: ck.KafkaException, doing: str) -> StreamerError:
        return translated(error, doing=doing, bootstrap_servers=self._bootstrap_servers)


def _name(where: ck.TopicPartition) -> str:
    return f"{where.topic}[{where.partition}]"


def _led(topic: Any) -> list[ck.TopicPartition]:
    """Partitions of a topic to ask.

    Raises
    ------
    KafkaUnavailable
        When one has no leader.
    """
    for number, each in topic.partitions.items():
        if each.leader == _WITHOUT_LEADER:
            where = _name(ck.TopicPartition(topic.topic, number))
            raise KafkaUnavailable(f"{where} has no leader: start the broker that has it")
    return [ck.TopicPartition(topic.topic, number) for number in topic.partitions]
