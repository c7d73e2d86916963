"""Where the tests' Kafka and Redis come from.

The address in the environment, else a container where a Docker engine answers, else a process on
this machine. ``Unavailable`` says what is missing for all three and how to get it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import redis
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from testcontainers.core.container import DockerContainer

from deploy.kafka.node import KafkaNode, Unavailable, answers, free_port
from tests.redis_server import RedisServer

KAFKA_IMAGE = "apache/kafka:4.3.0"
REDIS_IMAGE = "redis:7"
CONTAINER_TIMEOUT_S = 120.0


@contextlib.contextmanager
def kafka_service(data_dir: Path, *, short_lived: bool = False) -> Iterator[str]:
    """Yield the bootstrap servers of a Kafka 4 broker that answers.

    Parameters
    ----------
    short_lived
        As of :class:`KafkaNode`, where a process on this machine is started.
    """
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    if docker_answers():
        with _kafka_container() as bootstrap_servers:
            yield bootstrap_servers
        return
    try:
        node = KafkaNode(data_dir, short_lived=short_lived)
    except Unavailable as error:
        raise Unavailable(
            f"no Kafka: KAFKA_BOOTSTRAP_SERVERS is not set, no Docker engine answers, and {error}"
        ) from error
    try:
        node.start()
        yield node.bootstrap_servers
    finally:
        node.stop()


@contextlib.contextmanager
def redis_service(data_dir: Path) -> Iterator[str]:
    """Yield the URL of a Redis 7 server that answers."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    if docker_answers():
        with DockerContainer(REDIS_IMAGE).with_exposed_ports(6379) as container:
            host, port = container.get_container_host_ip(), container.get_exposed_port(6379)
            yield f"redis://{host}:{port}"
        return
    try:
        server = RedisServer(data_dir)
    except Unavailable as error:
        raise Unavailable(
            f"no Redis: REDIS_URL is not set, no Docker engine answers, and {error}"
        ) from error
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


@contextlib.contextmanager
def topics_apart(bootstrap_servers: str) -> Iterator[str]:
    """Yield a prefix for names of topics; what begins with it is deleted afterwards."""
    prefix = f"test-{uuid.uuid4().hex[:12]}-"
    try:
        yield prefix
    finally:
        delete_topics(bootstrap_servers, prefix)


def make_topic(bootstrap_servers: str, name: str, n_partitions: int) -> None:
    """Make a topic that is none of ours."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    made = admin.create_topics([NewTopic(name, n_partitions, 1)])
    made[name].result(timeout=30)


def alter_topic(bootstrap_servers: str, name: str, **settings: str) -> None:
    """Change settings of a topic, written with ``_`` for ``.``, and leave the others."""
    wanted = {key.replace("_", "."): value for key, value in settings.items()}
    resource = ConfigResource(ResourceType.TOPIC, name)
    for key, value in wanted.items():
        entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        resource.add_incremental_config(entry)
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for answer in admin.incremental_alter_configs([resource]).values():
        answer.result(timeout=30)
    while not wanted.items() <= topic_settings_at(bootstrap_servers, name).items():
        time.sleep(0.02)  # accepted, but not yet known to the broker that was asked


def topic_settings_at(bootstrap_servers: str, name: str) -> dict[str, str]:
    """Return all settings of a topic on the broker."""
    resource = ConfigResource(ResourceType.TOPIC, name)
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    found = admin.describe_configs([resource])[resource].result(timeout=30)
    return {key: str(entry.value) for key, entry in found.items()}


def delete_topics(bootstrap_servers: str, prefix: str) -> None:
    """Delete the topics whose names begin so."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    made = [name for name in admin.list_topics(timeout=10).topics if name.startswith(prefix)]
    if made:
        for deleted in admin.delete_topics(made).values():
            deleted.result(timeout=10)


@contextlib.contextmanager
def keys_apart(redis_url: str) -> Iterator[str]:
    """Yield a prefix for keys; what begins with it is deleted afterwards."""
    prefix = f"test-{uuid.uuid4().hex[:12]}:"
    try:
        yield prefix
    finally:
        delete_keys(redis_url, prefix)


def delete_keys(redis_url: str, prefix: str) -> None:
    """Delete the keys that begin so."""
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{prefix}*", count=1000):
            client.unlink(key)


def docker_answers() -> bool:
    """Whether a Docker engine answers here; the command knows its context and environment."""
    ask = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        return subprocess.run(ask, capture_output=True, timeout=10).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


@contextlib.contextmanager
def _kafka_container() -> Iterator[str]:
    # The broker tells clients its own address, so the port must be known before it starts.
    port = free_port()
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    host = container.get_docker_client().host()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{host}:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    for key, value in settings.items():
        container.with_env(key, value)
    with container:
        deadline = time.monotonic() + CONTAINER_TIMEOUT_S
        while not answers(host, port):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{KAFKA_IMAGE} at {host}:{port} did not answer in time")
            time.sleep(0.2)
        yield f"{host}:{port}"
