"""Items and users over real compacted topics: a tombstone says by its key alone what it deletes."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client import CollectorRegistry

from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.events import Item, User, encode
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.learner.users import LOOK_EVERY_S, FollowedUsers, ReadUsers


def test_users_of_a_topic_that_is_made_late_are_followed_from_an_offset(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    topic, events, now_s = f"{topic_prefix}users", f"{topic_prefix}events", 0.0
    reader = KafkaReader(kafka_bootstrap)
    users = FollowedUsers(reader, topic, events, now_s=lambda: now_s)
    users.start({0: 1, 1: 0})
    assert users.poll() == []
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    for made in admin.create_topics([NewTopic(each, 2, 1) for each in (topic, events)]).values():
        made.result(timeout=10)
    sink = KafkaSink(kafka_bootstrap)
    sink.send(events, key=b"ann", value=b"{}", partition=0)
    for value in (encode(User(user_id="ann")), None):
        sink.send(topic, key=b"ann", value=value, partition=0)
    sink.close()
    found: list[ReadUsers] = []
    try:
        while not found:
            now_s += LOOK_EVERY_S
            found = users.poll()
    finally:
        reader.close()
    (read,) = found
    batch = read.batch
    assert (batch.partition, batch.keys, batch.values) == (0, [b"ann"], [None])
    assert read.events_end == 1


def test_items_and_tombstones_reach_the_catalogue(kafka_bootstrap: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}items"
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    made = admin.create_topics([NewTopic(topic, 1, 1, config={"cleanup.policy": "compact"})])
    made[topic].result(timeout=10)
    sink = KafkaSink(kafka_bootstrap)
    for item in (Item(item_id="a"), Item(item_id="b", available=False), Item(item_id="ç")):
        sink.send(topic, key=item.item_id.encode(), value=encode(item))
    sink.send(topic, key="ç".encode(), value=None)
    sink.close()
    catalogue = Catalogue(metrics=CatalogueMetrics(CollectorRegistry()))
    reader = KafkaReader(kafka_bootstrap, {(topic, 0): EARLIEST})
    rejected: list[str] = []
    n_taken = 0
    try:
        assert reader.end_offsets() == {(topic, 0): 4}
        while reader.positions.get((topic, 0), 0) < 4:
            n_taken += catalogue.follow(
                reader,
                n_max=100,
                timeout_s=1.0,
                reject=lambda batch, place, reason: rejected.append(reason),
            )
    finally:
        reader.close()
    assert (n_taken, rejected) == (4, [])
    assert list(catalogue.newest()) == ["a"]
    assert [catalogue.is_blocked(item_id) for item_id in ("a", "b", "ç")] == [False, True, True]
