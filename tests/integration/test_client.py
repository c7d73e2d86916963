"""The three that users import, against a real broker."""

from __future__ import annotations

import time

import pytest

from streamer import Publisher, Recommender, Subscriber
from streamer.config import Config, load_config
from streamer.errors import TopicMismatch
from streamer.kafka.topics import create_topics
from tests.echo_scorer import EchoScorer


@pytest.fixture
def config(kafka_bootstrap: str, topic_prefix: str) -> Config:
    flags = {"topics.prefix": topic_prefix, "kafka.bootstrap_servers": kafka_bootstrap}
    config = load_config(env={}, flags=flags)
    create_topics(kafka_bootstrap, config.topics)
    return config


def test_ask_answer_and_listen(config: Config) -> None:
    users = [f"user-{i}" for i in range(100)]
    with (
        EchoScorer(config.kafka.bootstrap_servers, config.topics),
        Subscriber(config=config, timeout_s=60.0) as everyone,
        Subscriber(config=config, user_id="user-7", timeout_s=60.0) as one,
        Recommender(config=config) as recommender,
    ):
        waits_s = []
        for user in users:
            began = time.perf_counter()
            assert recommender.recommend(user, k=2).items[1].item_id == f"{user}-1"
            waits_s.append(time.perf_counter() - began)
        seen = [next(iter(one)).user_id]
        listening = iter(everyone)
        assert sorted(next(listening).user_id for _ in users) == sorted(users)
        assert seen == ["user-7"]
    # Typically 1 to 2 ms. A wait for a full fetch on the way would cost 500 ms, every time.
    assert min(waits_s) < 0.4


def test_events_of_users_are_delivered(config: Config) -> None:
    with Publisher(config=config) as publisher:
        for i in range(1_000):
            publisher.publish(type="click", user_id=f"user-{i % 50}", item_id=f"item-{i}")
        publisher.flush()
        assert publisher.n_delivered == 1_000


def test_missing_topics_are_named_before_anything_is_asked(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    config = load_config(env={}, flags={"topics.prefix": topic_prefix})
    recommender = Recommender(kafka_bootstrap, config=config)
    with pytest.raises(TopicMismatch, match=f"{topic_prefix}recommendations"):
        recommender.recommend("ann")
    recommender.close()
