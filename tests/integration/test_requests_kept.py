"""Requests without a committed offset, and on topics that are made anew: each has its answer."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from streamer.config.settings import TopicRole
from streamer.events import Item, Request, decode_dead_letter, decode_recommendation, encode
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.topics import create_topics
from tests.crashes import topic_settings
from tests.learner_processes import Deployment, wait_until


def ask(deployment: Deployment, name: str, n: int, *, ago_s: float = 0.0) -> set[str]:
    """Publish requests, as of so long ago; returns their ids."""
    kafka, topics = deployment.config.kafka, deployment.config.topics
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    at_ms = int(1000 * (time.time() - ago_s))
    ids = {f"{name}-{number}" for number in range(n)}
    for request_id in ids:
        value = encode(Request(request_id=request_id, user_id="ann", ts=at_ms))
        producer.produce(topics.topic("requests"), key=b"ann", value=value, timestamp=at_ms)
    assert producer.flush(30) == 0
    return ids


def read(deployment: Deployment, role: TopicRole) -> list[bytes]:
    """All that is on a topic."""
    with contextlib.closing(configured_reader(deployment.config)) as reader:
        partitions = reader.partitions(deployment.config.topics.topic(role))
        reader.start(dict.fromkeys(partitions, EARLIEST))
        ends, found = reader.end_offsets(), list[bytes]()
        while any(reader.positions[where] < end for where, end in ends.items()):
            for batch in reader.poll(n_max=1_000, timeout_s=1.0):
                found += [value or b"" for value in batch.values]
    return found


def answered(deployment: Deployment) -> set[str]:
    values = read(deployment, "recommendations")
    return {decode_recommendation(value).request_id for value in values}


def make_anew(deployment: Deployment, role: TopicRole) -> None:
    config = deployment.config
    topic = config.topics.topic(role)
    admin = AdminClient({"bootstrap.servers": config.kafka.bootstrap_servers})
    admin.delete_topics([topic])[topic].result(timeout=30)
    wait_until(lambda: topic not in admin.list_topics().topics, "it is deleted")
    create_topics(config.kafka.bootstrap_servers, config.topics)


def test_no_request_is_passed_over_without_a_word(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    settings = topic_settings(kafka_bootstrap, topic_prefix, 1)
    store = {"store.url": f"sqlite:{tmp_path / 'store.db'}"}
    with Deployment(tmp_path / "logs", settings | store) as deployment:
        ask(deployment, "ancient", 5, ago_s=3_600)
        ask(deployment, "old", 3, ago_s=120)
        fresh = ask(deployment, "fresh", 10)
        scorer = deployment.start_scorer(alone=False)
        wait_until(lambda: answered(deployment) >= fresh, "what came before the first scorer")
        letters = [decode_dead_letter(value) for value in read(deployment, "dead_letters")]
        assert [each.offset for each in letters] == [5, 6, 7]
        assert all("its answer was waited for 60000 ms" in each.reason for each in letters)
        assert "offsets 0 to 4 were published more than 600 s ago" in scorer.log
        assert answered(deployment) == fresh

        scorer.stop()
        make_anew(deployment, "requests")
        anew = ask(deployment, "anew", 40)
        scorer = deployment.start_scorer(alone=False)
        wait_until(lambda: answered(deployment) >= anew, "those of a topic that was made anew")

        # As many as were read of the former one, so that no offset shows it.
        make_anew(deployment, "requests")
        followed = ask(deployment, "followed", 60)
        wait_until(lambda: answered(deployment) >= followed, "those of one made anew under it")
        wait_until(lambda: "topic_made_anew" in scorer.log, "it says so")
        make_anew(deployment, "requests")
        fewer = ask(deployment, "fewer", 3)
        wait_until(lambda: answered(deployment) >= fewer, "fewer than of the one before")
        scorer.stop()


def test_items_of_a_topic_that_is_made_anew_are_followed(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    settings = topic_settings(kafka_bootstrap, topic_prefix, 1)
    store = {"store.url": f"sqlite:{tmp_path / 'store.db'}"}
    with Deployment(tmp_path / "logs", settings | store) as deployment:

        def publish(rubbish: bytes, *item_ids: str) -> None:
            topic = deployment.config.topics.topic("items")
            producer = Producer({"bootstrap.servers": kafka_bootstrap})
            producer.produce(topic, key=b"bad", value=rubbish)
            for each in item_ids:
                producer.produce(topic, key=each.encode(), value=encode(Item(item_id=each)))
            assert producer.flush(30) == 0

        def n_letters() -> int:
            return len(read(deployment, "dead_letters"))

        publish(b"rubbish", "tea", "milk")
        scorer = deployment.start_scorer(alone=False)
        wait_until(lambda: n_letters() == 1, "what was there has a letter")
        make_anew(deployment, "items")
        publish(b"rubbish of the new one")
        wait_until(lambda: n_letters() >= 2, "what is on the new one has a letter")
        asked = ask(deployment, "still", 1)
        wait_until(lambda: answered(deployment) >= asked, "it goes on")
        assert "topic_made_anew" in scorer.log
        topic = deployment.config.topics.topic("items")
        admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
        admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
        n_before = n_letters()
        producer = Producer({"bootstrap.servers": kafka_bootstrap})
        producer.produce(topic, key=b"bad", value=b"of a new partition", partition=1)
        assert producer.flush(30) == 0
        wait_until(lambda: n_letters() > n_before, "what is on a partition that was added has one")
        scorer.stop()
