"""A topic that was trimmed or made anew, by a real Kafka: what is said, and the way out."""

from __future__ import annotations

from pathlib import Path

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from streamer.client import Publisher
from streamer.kafka.topics import create_topics
from tests.crashes import topic_settings
from tests.learner_processes import Deployment, wait_until

N_EVENTS = 300


def publish(deployment: Deployment, n: int) -> None:
    with Publisher(config=deployment.config) as publisher:
        for i in range(n):
            publisher.publish(type="click", user_id=f"user-{i % 20}", item_id=f"item-{i % 31}")


def learn(deployment: Deployment) -> None:
    learner = deployment.start(alone=True)
    wait_until(deployment.caught_up, "all is learned")
    learner.stop()


def admin_of(deployment: Deployment) -> AdminClient:
    return AdminClient({"bootstrap.servers": deployment.config.kafka.bootstrap_servers})


def test_a_trimmed_topic(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> None:
    settings = topic_settings(kafka_bootstrap, topic_prefix, 1)
    store = {"store.url": f"sqlite:{tmp_path / 'store.db'}"}
    with Deployment(tmp_path / "logs", settings | store) as deployment:
        publish(deployment, N_EVENTS)
        learn(deployment)
        deployment.verify()
        events = deployment.config.topics.topic("events")
        where = ck.TopicPartition(events, 0, N_EVENTS)
        admin = admin_of(deployment)
        admin.delete_records([where])[where].result(timeout=30)
        publish(deployment, N_EVENTS)
        learn(deployment)
        status, said = deployment.command("store", "verify")
        assert status == 3, said
        assert f"{events} begins at offset {N_EVENTS}, the schedule needs it from 0 on" in said
        status, said = deployment.command("store", "verify", "--from-checkpoint")
        assert status == 3, said
        assert "a stopped one has put all into its checkpoint" in said

        versions = deployment.versions()
        status, said = deployment.command("store", "rebuild", "--partition", "0")
        assert status == 1, said
        assert f"offset {N_EVENTS} on ({N_EVENTS} messages before it were deleted" in said
        assert "nothing was changed" in said
        assert deployment.versions() == versions
        status, said = deployment.command("store", "rebuild", "--partition", "0", "--yes")
        assert status == 0, said
        learn(deployment)
        assert "what is left gives the store bit for bit" in deployment.verify()


def test_a_topic_made_anew(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> None:
    settings = topic_settings(kafka_bootstrap, topic_prefix, 1)
    store = {"store.url": f"sqlite:{tmp_path / 'store.db'}"}
    with Deployment(tmp_path / "logs", settings | store) as deployment:
        publish(deployment, N_EVENTS // 3)
        learn(deployment)
        config = deployment.config
        events = config.topics.topic("events")
        admin = admin_of(deployment)
        admin.delete_topics([events])[events].result(timeout=30)
        wait_until(lambda: events not in admin.list_topics().topics, "it is deleted")
        create_topics(config.kafka.bootstrap_servers, config.topics)
        publish(deployment, N_EVENTS)
        learner = deployment.start(alone=True)
        assert learner.wait() == 1, learner.log
        said = " ".join(learner.log.split())
        assert f"topic {events} was deleted and made anew" in said
        assert "streamer store rebuild" in said
        status, said = deployment.command("store", "verify")
        assert status == 3, said
        assert "made anew" in said
        status, said = deployment.command("store", "rebuild", "--yes")
        assert status == 0, said
        learn(deployment)
        assert f"{N_EVENTS} messages executed again" in deployment.verify()
