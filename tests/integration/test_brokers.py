"""The services the other integration tests rely on: real, restartable, and apart for each test."""

from __future__ import annotations

import subprocess

import pytest
import redis
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.kafka.node import KafkaNode
from tests.redis_server import RedisServer


def make_topic(bootstrap_servers: str, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(name, num_partitions=4, replication_factor=1)])[name].result(10)


def produce(bootstrap_servers: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    for value in values:
        producer.produce(topic, value, key=value)
    assert producer.flush(20) == 0


def consume(bootstrap_servers: str, topic: str, *, n_messages: int) -> list[bytes]:
    settings = {"bootstrap.servers": bootstrap_servers, "group.id": topic}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    try:
        consumer.subscribe([topic])
        messages = consumer.consume(n_messages, timeout=20)
    finally:
        consumer.close()
    assert all(message.error() is None for message in messages)
    return sorted(message.value() or b"" for message in messages)


def test_a_group_consumes_what_was_produced(kafka_bootstrap: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}events"
    values = sorted(b"%d" % i for i in range(100))
    make_topic(kafka_bootstrap, topic)
    produce(kafka_bootstrap, topic, values)
    assert consume(kafka_bootstrap, topic, n_messages=100) == values


def test_kcat_reads_and_writes_the_same_topics(
    kafka_bootstrap: str, topic_prefix: str, kcat: str
) -> None:
    topic = f"{topic_prefix}events"
    make_topic(kafka_bootstrap, topic)
    written = [kcat, "-P", "-b", kafka_bootstrap, "-t", topic, "-K", "\t"]
    subprocess.run(written, input=b"ann\t{}\nbob\t[]\n", check=True, timeout=30)
    read = [kcat, "-C", "-b", kafka_bootstrap, "-t", topic, "-e", "-q", "-f", "%k %s\n"]
    done = subprocess.run(read, capture_output=True, check=True, timeout=30)
    assert sorted(done.stdout.splitlines()) == [b"ann {}", b"bob []"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restarted_broker_keeps_its_messages(kafka_broker: KafkaNode, end: str) -> None:
    address = kafka_broker.bootstrap_servers
    make_topic(address, "events")
    produce(address, "events", [b"before"])
    getattr(kafka_broker, end)()
    kafka_broker.start()
    assert kafka_broker.bootstrap_servers == address
    produce(address, "events", [b"then"])
    assert consume(address, "events", n_messages=2) == [b"before", b"then"]


def test_redis_keeps_a_value(redis_url: str, redis_prefix: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{redis_prefix}key", b"value")
        assert client.get(f"{redis_prefix}key") == b"value"


def test_a_killed_redis_keeps_what_it_acknowledged(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("key", b"value")
    redis_server.kill()
    redis_server.start()
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.get("key") == b"value"


def test_a_redis_cluster_refuses_keys_of_several_slots(redis_cluster_url: str) -> None:
    with redis.RedisCluster.from_url(redis_cluster_url) as client:
        client.set("{0}key", b"value")
        assert client.get("{0}key") == b"value"
        client.disconnect_connection_pools()  # which its end leaves open
    with (
        redis.Redis.from_url(redis_cluster_url) as node,
        pytest.raises(redis.ResponseError, match="same slot"),
    ):
        node.execute_command("MSET", "{0}key", "1", "{1}key", "2")
