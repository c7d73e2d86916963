"""What tells topics apart, by a real Kafka."""

from __future__ import annotations

import pytest

from streamer.config import Config, load_config
from streamer.errors import TopicMismatch
from streamer.kafka.topic_ids import topic_id
from streamer.kafka.topics import create_topics


@pytest.fixture
def config(kafka_bootstrap: str, topic_prefix: str) -> Config:
    env = {
        "STREAMER_KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap,
        "STREAMER_TOPICS__PREFIX": topic_prefix,
    }
    return load_config(None, env=env)


def id_of(config: Config, topic: str) -> str:
    return topic_id(config.kafka.bootstrap_servers, topic, timeout_s=10.0)


def test_a_topic_has_an_id_that_no_other_has(config: Config) -> None:
    create_topics(config.kafka.bootstrap_servers, config.topics)
    events, items = (config.topics.topic(role) for role in ("events", "items"))
    assert id_of(config, events) == id_of(config, events)
    assert id_of(config, events) != id_of(config, items)
    assert id_of(config, events).isalnum()


def test_a_topic_that_is_not_there_has_none(config: Config) -> None:
    with pytest.raises(TopicMismatch, match="streamer topics create"):
        id_of(config, config.topics.topic("events"))
