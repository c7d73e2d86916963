"""Publisher, subscriber and recommender over the embedded broker."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import streamer
from streamer import Publisher, Recommender, Subscriber
from streamer.application.services.signals import stopped_by_signals
from streamer.config import load_config
from streamer.config.settings import TopicsConfig
from streamer.errors import BadMessage, ConfigError, DeliveryFailed, KafkaError, RequestTimeout
from streamer.events import (
    Event,
    RequestRow,
    decode_item,
    decode_request,
    decode_user,
    encode,
)
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.partitioner import partition_of
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.kafka.topics import create_topics
from tests.default_types import decode_event
from tests.echo_scorer import EchoScorer, recommendation

TIMEOUT_S = 60.0
QUIET_S = 5.0
"""Without a message for so long, all have come: on a machine that is busy, too."""


@pytest.fixture
def broker() -> Iterator[str]:
    with EmbeddedBroker() as embedded:
        create_topics(embedded.bootstrap_servers, TopicsConfig())
        yield embedded.bootstrap_servers


def read_all(broker: str, topic: str) -> list[bytes | None]:
    reader = KafkaReader(broker)
    reader.start(dict.fromkeys(reader.partitions(topic), EARLIEST))
    n_messages = sum(reader.end_offsets().values())
    values: list[bytes | None] = []
    while len(values) < n_messages:
        values += [v for b in reader.poll(n_max=1_000, timeout_s=5.0) for v in b.values]
    reader.close()
    return values


# --- publisher ----------------------------------------------------------------------------------


def test_published_events_are_on_the_topic_when_the_block_ends(broker: str) -> None:
    before_ms = time.time_ns() // 1_000_000
    with Publisher(broker) as publisher:
        sent = publisher.publish(
            type="rating", user_id="ann", item_id="tea", value=4.5, context={"hour": 7}
        )
    (found,) = [decode_event(value) for value in read_all(broker, "events")]
    assert found == sent
    assert before_ms <= found.ts <= time.time_ns() // 1_000_000
    assert publisher.n_delivered == 1


def test_events_of_a_user_land_on_the_partition_that_its_id_hashes_to(broker: str) -> None:
    with Publisher(broker) as publisher:
        for i in range(40):
            publisher.publish(type="click", user_id=f"user-{i}", item_id="tea")
    reader = KafkaReader(broker)
    reader.start(dict.fromkeys(reader.partitions("events"), EARLIEST))
    n_read = 0
    while n_read < 40:
        for batch in reader.poll(n_max=1_000, timeout_s=5.0):
            n_read += len(batch)
            users = [decode_event(value).user_id for value in batch.values]
            assert {partition_of(user.encode(), 4) for user in users} == {batch.partition}
    reader.close()


def test_many_events_keep_the_order_of_their_user(broker: str) -> None:
    events = [
        Event(event_id=f"e{i}", type="click", user_id="ann", item_id=f"i{i}", ts=i)
        for i in range(5_000)
    ]
    with Publisher(broker) as publisher:
        assert publisher.publish_many(iter(events)) == 5_000
    assert [decode_event(value) for value in read_all(broker, "events")] == events


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"type": "klick"}, "field 'type'"),
        ({"user_id": ""}, "field 'user_id'"),
        ({"value": float("nan")}, "field 'value'"),
        ({"ts": 4_000_000_000_000}, "over a day after"),
        ({"context": {"now": object()}}, "object"),
        ({"item_id": 7}, "field 'item_id'"),
    ],
)
def test_a_bad_event_is_refused_and_not_sent(
    broker: str, wrong: dict[str, Any], reason: str
) -> None:
    right: dict[str, Any] = {"type": "click", "user_id": "ann", "item_id": "tea"}
    with Publisher(broker) as publisher, pytest.raises(BadMessage, match=reason):
        publisher.publish(**{**right, **wrong})
    assert read_all(broker, "events") == []


def test_a_bad_event_among_many_is_named_by_its_place(broker: str) -> None:
    good = Event(event_id="e", type="click", user_id="ann", item_id="tea", ts=1)
    bad = Event(event_id="", type="click", user_id="ann", item_id="tea", ts=1)
    with Publisher(broker) as publisher, pytest.raises(BadMessage, match=r"event 1: .*event_id"):
        publisher.publish_many([good, bad, good])
    assert len(read_all(broker, "events")) == 1


def test_an_item_or_a_user_is_published_and_deleted_with_a_tombstone(broker: str) -> None:
    with Publisher(broker) as publisher:
        item = publisher.publish_item("tea", title="Tea", categories=["drinks"])
        publisher.delete_item("tea")
        with pytest.raises(BadMessage, match="'colour' is no field of an item"):
            publisher.publish_item("tea", colour="green")
        user = publisher.publish_user("ann", categories=["drinks"])
        publisher.delete_user("ann")
        with pytest.raises(BadMessage, match="'colour' is no field of a user"):
            publisher.publish_user("ann", colour="green")
    published, tombstone = read_all(broker, "users")
    assert decode_user(published) == user
    assert tombstone is None
    published, tombstone = read_all(broker, "items")
    assert decode_item(published) == item
    assert tombstone is None


def test_events_that_no_broker_takes_are_an_error_at_the_end_of_the_block() -> None:
    config = load_config(env={}, flags={"kafka.request_timeout_s": "0.3"})
    with pytest.raises(DeliveryFailed), Publisher("127.0.0.1:1", config=config) as publisher:
        publisher.publish(type="click", user_id="ann", item_id="tea")


def test_what_went_wrong_inside_the_block_is_not_hidden_by_the_broker() -> None:
    config = load_config(env={}, flags={"kafka.request_timeout_s": "0.3"})

    def publish_and_fail() -> None:
        with Publisher("127.0.0.1:1", config=config) as publisher:
            publisher.publish(type="click", user_id="ann", item_id="tea")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        publish_and_fail()


@pytest.mark.parametrize("client", [Publisher, Subscriber, Recommender])
def test_a_client_without_a_broker_says_how_to_name_one(client: type) -> None:
    with pytest.raises(ConfigError, match="STREAMER_KAFKA__BOOTSTRAP_SERVERS"):
        client(config=load_config(env={}, flags={}))


def test_the_package_offers_the_three_and_nothing_unknown() -> None:
    assert streamer.__all__ == ["Publisher", "Recommender", "Subscriber"]
    with pytest.raises(AttributeError, match="Learner"):
        streamer.Learner  # noqa: B018


# --- subscriber ---------------------------------------------------------------------------------


def publish_recommendations(broker: str, *user_ids: str) -> None:
    sink = KafkaSink(broker, linger_s=0.0)
    for i, user_id in enumerate(user_ids):
        value = encode(recommendation(f"r{i}", user_id))
        sink.send("recommendations", key=user_id.encode(), value=value)
    sink.close()


def test_a_subscriber_sees_what_comes_after_it_was_opened(broker: str) -> None:
    publish_recommendations(broker, "early")
    with Subscriber(broker, timeout_s=QUIET_S) as subscriber:
        publish_recommendations(broker, "ann", "bob")
        assert {found.user_id for found in subscriber} == {"ann", "bob"}


def test_a_subscriber_may_begin_with_the_earliest(broker: str) -> None:
    publish_recommendations(broker, "ann", "bob", "cem")
    with Subscriber(broker, start="earliest", timeout_s=QUIET_S) as subscriber:
        assert {found.user_id for found in subscriber} == {"ann", "bob", "cem"}


def test_a_subscriber_to_one_user_sees_no_other(broker: str) -> None:
    others = [f"user-{i}" for i in range(40)]  # ten on every partition, ann's too
    publish_recommendations(broker, *others, "ann", *others, "ann")
    with Subscriber(broker, user_id="ann", start="earliest", timeout_s=QUIET_S) as subscriber:
        assert [found.user_id for found in subscriber] == ["ann", "ann"]


def test_what_is_no_recommendation_is_passed_over_and_counted(broker: str) -> None:
    sink = KafkaSink(broker)
    sink.send("recommendations", key=b"ann", value=b"{}")
    sink.send("recommendations", key=b"ann", value=None)
    sink.close()
    publish_recommendations(broker, "ann")
    with Subscriber(broker, start="earliest", timeout_s=QUIET_S) as subscriber:
        assert [found.user_id for found in subscriber] == ["ann"]
        assert subscriber.n_rejected == 2


def test_closing_a_subscriber_ends_its_iteration_in_another_thread(broker: str) -> None:
    with Subscriber(broker) as subscriber, ThreadPoolExecutor(1) as pool:
        iteration = pool.submit(list, subscriber)
        time.sleep(0.1)
        assert not iteration.done()
        subscriber.close()
        assert iteration.result(timeout=TIMEOUT_S) == []


def test_a_signal_ends_an_iteration_from_its_handler(broker: str) -> None:
    with Subscriber(broker) as subscriber, stopped_by_signals(subscriber.stop):
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        assert list(subscriber) == []
        timer.join()


# --- recommender --------------------------------------------------------------------------------


def test_a_request_gets_its_own_answer(broker: str) -> None:
    with EchoScorer(broker, TopicsConfig()), Recommender(broker) as recommender:
        answer = recommender.recommend("ann", k=3, exclude=["tea"], context={"hour": 7})
        looked = recommender.recommend("ann", preview=True)
    assert answer.user_id == "ann"
    assert (answer.preview, looked.preview) == (False, True)
    assert [item.item_id for item in answer.items] == ["ann-0", "ann-1", "ann-2"]


def test_the_first_answer_is_not_missed(broker: str) -> None:
    # Without `with`: the place to listen from is found by the request itself.
    with EchoScorer(broker, TopicsConfig()):
        for _ in range(5):
            recommender = Recommender(broker)
            assert recommender.recommend("ann").user_id == "ann"
            recommender.close()


def test_many_requests_are_answered_in_the_order_asked(broker: str) -> None:
    users = [f"user-{i}" for i in range(300)]
    with EchoScorer(broker, TopicsConfig()), Recommender(broker) as recommender:
        answers = recommender.recommend_many(users, k=2)
    assert [answer.user_id for answer in answers] == users
    assert {len(answer.items) for answer in answers} == {2}


def test_threads_share_a_recommender(broker: str) -> None:
    users = [f"user-{i}" for i in range(200)]
    with (
        EchoScorer(broker, TopicsConfig()),
        Recommender(broker) as recommender,
        ThreadPoolExecutor(16) as pool,
    ):
        answers = list(pool.map(recommender.recommend, users))
    assert [answer.user_id for answer in answers] == users


def test_a_request_that_nobody_answers_asks_for_a_scorer(broker: str) -> None:
    with (
        Recommender(broker) as recommender,
        pytest.raises(RequestTimeout, match="is a scorer running") as raised,
    ):
        recommender.recommend("ann", timeout_s=1.5)
    assert raised.value.retriable


def test_rows_and_what_else_a_request_may_have_are_sent_as_they_were_given(broker: str) -> None:
    given: dict[str, Any] = {
        "k": 4,
        "filter": "item.title == 'a'",
        "exclude": ["x"],
        "rows": [RequestRow(name="new", list_name="latest"), RequestRow(name="more", k=2)],
    }
    with EchoScorer(broker, TopicsConfig()), Recommender(broker) as recommender:
        recommender.recommend("ann", timeout_s=TIMEOUT_S, **given)
    (payload,) = read_all(broker, "requests")
    request = decode_request(payload)
    assert {name: getattr(request, name) for name in given} == given


def test_a_bad_request_is_refused_and_not_sent(broker: str) -> None:
    with Recommender(broker) as recommender, pytest.raises(BadMessage, match="field 'k'"):
        recommender.recommend("ann", k=0)
    with (
        Recommender(broker) as recommender,
        pytest.raises(BadMessage, match=r"field 'filter'.*CEL"),
    ):
        recommender.recommend("ann", filter="item.price <")
    rows = [RequestRow(name="new", filter="item.colour == 'red'")]
    with (
        Recommender(broker) as recommender,
        pytest.raises(BadMessage, match=r"field 'filter'.*colour"),
    ):
        recommender.recommend("ann", rows=rows)
    assert read_all(broker, "requests") == []


def test_closing_a_recommender_fails_what_still_waits(broker: str) -> None:
    recommender = Recommender(broker)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(recommender.recommend, "ann", timeout_s=30)
        while not read_all(broker, "requests"):
            time.sleep(0.02)
        recommender.close()
        with pytest.raises(KafkaError, match="closed before the answer"):
            answer.result(timeout=TIMEOUT_S)
    with pytest.raises(KafkaError, match="open another one"):
        recommender.recommend("ann")
