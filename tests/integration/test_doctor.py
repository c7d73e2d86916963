"""``streamer doctor`` on a real Kafka and a real Redis: what fails, with what to do."""

from __future__ import annotations

from pathlib import Path

import redis

from streamer.application.doctor import examine
from streamer.application.findings import Finding
from streamer.client import Publisher
from streamer.config import Config, load_config
from tests.brokers import alter_topic, make_topic
from tests.crashes import topic_settings
from tests.learner_processes import SETTINGS, Deployment
from tests.redis_server import RedisServer


def findings(config: Config) -> dict[str, Finding]:
    return {each.check: each for each in examine(config, learning_s=0.5)}


def publish(config: Config, n: int) -> None:
    with Publisher(config=config) as publisher:
        for number in range(n):
            publisher.publish(type="click", user_id=f"u{number}", item_id="tea")


def test_a_learner_that_stopped_and_a_topic_that_forgets_are_found(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    settings = topic_settings(kafka_bootstrap, topic_prefix, 2)
    settings["store.url"] = f"sqlite:{tmp_path / 'store.db'}"
    missing = findings(load_config(env={}, flags=settings))
    assert "is missing" in missing["topics"].said
    assert missing["topics"].remedy.startswith("make it with `streamer topics create`")
    assert "learner" not in missing
    with Deployment(tmp_path / "logs", settings) as deployment:
        publish(deployment.config, 20)
        deployment.learn_all()
        found = findings(deployment.config)
        assert {each.state for each in found.values()} == {"ok"}, found
        assert "nothing waits" in found["learner"].said
        assert f"{topic_prefix}items 1 (compact)" in found["topics"].said

        publish(deployment.config, 5)
        alter_topic(kafka_bootstrap, f"{topic_prefix}events", retention_ms="3600000")
        found = findings(deployment.config)
        assert found["learner"].state == "fail"
        assert "5 messages wait, and none was learned" in found["learner"].said
        assert "streamer learn" in found["learner"].remedy
        assert found["topics"].state == "warn"
        assert f": {topic_prefix}events keep messages for less than" in found["topics"].said

        other = {**SETTINGS, **settings, "events.click.weight": 2.0}
        found = findings(load_config(env={}, flags=other))
        assert found["layout"].state == "warn"
        assert "events.click.weight" in found["layout"].said
        found = findings(load_config(env={}, flags=other | {"topics.partitions": 3}))
        assert found["topics"].state == "fail"
        assert "has 2 partitions, topics.partitions wants 3" in found["topics"].said

        alter_topic(kafka_bootstrap, f"{topic_prefix}events", cleanup_policy="compact")
        found = findings(deployment.config)
        assert found["topics"].state == "fail"
        assert "events has cleanup.policy=compact" in found["topics"].said
        assert "cleanup.policy=delete" in found["topics"].remedy


def test_a_bridge_whose_events_are_compacted_is_found(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}orders"
    make_topic(kafka_bootstrap, topic, 1)
    bridge = {"topic": topic, "map": "event_id=id,user_id=u,item_id=i,ts=at", "type": "purchase"}
    settings = topic_settings(kafka_bootstrap, topic_prefix, 1)
    settings |= {f"bridges.orders.{key}": value for key, value in bridge.items()}
    config = load_config(env={}, flags=settings | {"store.url": "memory:"})
    assert findings(config)["bridge orders"].state == "ok"
    alter_topic(kafka_bootstrap, topic, cleanup_policy="compact")
    found = findings(config)["bridge orders"]
    assert found.state == "warn"
    assert f"{topic} has cleanup.policy=compact" in found.said
    assert "cleanup.policy=delete" in found.remedy


def test_a_redis_that_drops_keys_is_found(
    redis_server: RedisServer, kafka_bootstrap: str, topic_prefix: str
) -> None:
    settings = topic_settings(kafka_bootstrap, topic_prefix, 1)
    config = load_config(env={}, flags={**settings, "store.url": redis_server.url})
    assert findings(config)["store"].state == "ok"
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", 14_000_000)
    found = next(each for each in examine(config) if each.state == "fail")
    assert "maxmemory-policy allkeys-lru" in found.said
