"""Which topic it is that has a name."""

from __future__ import annotations

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from streamer.kafka.connection import (
    Options,
    Outages,
    connection_options,
    new_client,
    translated,
)


def topic_id(
    bootstrap_servers: str,
    topic: str,
    *,
    timeout_s: float,
    client_options: Options | None = None,
) -> str:
    """What the broker tells a topic from another by, when it is deleted and made again.

    Digits and letters, so that it may be part of a file's name.

    Raises
    ------
    KafkaUnavailable
    TopicMismatch
        When there is no such topic.
    """
    config = connection_options(bootstrap_servers, {}, client_options or {})
    admin = new_client(AdminClient, config, Outages(bootstrap_servers))
    asked = admin.describe_topics(ck.TopicCollection([topic]), request_timeout=timeout_s)
    try:
        found = asked[topic].result().topic_id
    except ck.KafkaException as error:
        doing = f"asking for the id of topic {topic}"
        raise translated(error, doing=doing, bootstrap_servers=bootstrap_servers) from error
    high, low = found.get_most_significant_bits(), found.get_least_significant_bits()
    return f"{high % 2**64:016x}{low % 2**64:016x}"
