"""Which topic it is that has a name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from streamer.kafka.connection import (
    Options,
    Outages,
    cluster,
    connection_options,
    is_embedded,
    new_client,
    translated,
)

log = logging.getLogger(__name__)


def topic_id(
    bootstrap_servers: str,
    topic: str,
    *,
    timeout_s: float,
    client_options: Options | None = None,
) -> str:
    """What the broker tells a topic from another by, when it is deleted and made again.

    Digits and letters, so that it may be part of a file's name; zeros where a broker gives none.

    Raises
    ------
    KafkaUnavailable
    TopicMismatch
        When there is no such topic.
    """
    admin = _admin(bootstrap_servers, client_options, Outages(bootstrap_servers))
    try:
        found = _asked(admin, [topic], timeout_s)[topic].result().topic_id
    except ck.KafkaException as error:
        doing = f"asking for the id of topic {topic}"
        raise translated(error, doing=doing, bootstrap_servers=bootstrap_servers) from error
    return id_text(found)


def topic_ids(
    bootstrap_servers: str,
    topics: Sequence[str],
    *,
    timeout_s: float,
    client_options: Options | None = None,
) -> dict[str, str]:
    """Return topic → id, of those that the broker gives one; why others have none is logged.

    The embedded broker gives none, and forgets its topics with their messages.

    Raises
    ------
    KafkaUnavailable
    """
    outages = Outages(bootstrap_servers)
    admin = _admin(bootstrap_servers, client_options, outages)
    try:
        if is_embedded(cluster(admin, outages, timeout_s=timeout_s).cluster_id):
            return {}
    except ck.KafkaException as error:
        doing = "asking for the ids of topics"
        raise translated(error, doing=doing, bootstrap_servers=bootstrap_servers) from error
    ids, unknown = {}, {}
    for topic, asked in _asked(admin, topics, timeout_s).items():
        try:
            found = id_text(asked.result().topic_id)
        except ck.KafkaException as error:
            unknown[topic] = str(error)
            continue
        if int(found, 16):
            ids[topic] = found
        else:
            unknown[topic] = "the broker gives no ids"
    if unknown:
        log.info("topic_ids_unknown", extra={"topics": unknown})
    return ids


def _admin(bootstrap_servers: str, options: Options | None, outages: Outages) -> AdminClient:
    return new_client(
        AdminClient, connection_options(bootstrap_servers, {}, options or {}), outages
    )


def _asked(admin: AdminClient, topics: Sequence[str], timeout_s: float) -> dict[str, Any]:
    return dict(admin.describe_topics(ck.TopicCollection(list(topics)), request_timeout=timeout_s))


def id_text(topic_id: Any) -> str:
    """Return a topic's id as digits and letters; zeros where the broker gives none."""
    high, low = topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()
    return f"{high % 2**64:016x}{low % 2**64:016x}"
