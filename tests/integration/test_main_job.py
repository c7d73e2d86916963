"""The main job on a real Kafka and a real Redis: real ratings in, recommendations out.

MovieLens latest-small is published in the order of time but for its last fifth, learned by a
`streamer learn` process and served by a `streamer score` one.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from streamer.application.local.system import LocalSystem, local_system
from streamer.client import Publisher, Recommender, Subscriber
from streamer.config import load_config
from streamer.events import Event
from streamer_producers.datasets import open_log
from tests.brokers import keys_apart, topics_apart
from tests.channels import Decisions, Recalls, by_column, by_count

DATA = Path(os.environ.get("STREAMER_DATA") or Path(__file__).parents[3] / "shared" / "data")
LEARNED_SHARE = 0.8
WARM_EVENTS = 20
CHUNK = 200
DEPTHS = (10, 50)
POSITIVE = 4.0
"""Ratings from here on are something a user would want to have been recommended."""
START_TIMEOUT_S = 120.0
SERVED_TIMEOUT_S = 180.0


@dataclass
class Running:
    """The system after the first four fifths of the time, and what comes next."""

    system: LocalSystem
    publisher: Publisher
    recommender: Recommender
    learned: list[Event]
    held_out: list[Event]
    n_published: int = 0

    def publish(self, events: list[Event]) -> None:
        """Publish, and wait until all is learned and served."""
        self.publisher.publish_many(events)
        self.publisher.flush()
        self.n_published += len(events)
        lacking = self.system.wait_until_served(self.n_published, timeout_s=SERVED_TIMEOUT_S)
        assert lacking == 0, f"{lacking} of {self.n_published} events not served"


@pytest.fixture(scope="module")
def running(
    kafka_bootstrap: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = DATA / "ml-latest-small"
    if not folder.exists():
        pytest.skip(f"no {folder}: STREAMER_DATA says where the folder of MovieLens is")
    log = open_log(folder)
    events = list(log.events())
    first_ms, last_ms = events[0].ts, events[-1].ts
    end_ms = first_ms + LEARNED_SHARE * (last_ms - first_ms)
    learned = [event for event in events if event.ts <= end_ms]
    held_out = events[len(learned) :]
    with ExitStack() as stack:
        prefix = stack.enter_context(topics_apart(kafka_bootstrap))
        config = load_config(
            os.devnull,
            env={},
            flags={
                "kafka.bootstrap_servers": kafka_bootstrap,
                "kafka.group": prefix,
                "topics.prefix": prefix,
                "store.url": redis_url,
                "store.key_prefix": stack.enter_context(keys_apart(redis_url)),
            },
        )
        log_dir = tmp_path_factory.mktemp("logs")
        system = stack.enter_context(
            local_system(config, config_path=Path(os.devnull), log_dir=log_dir)
        )
        publisher = stack.enter_context(Publisher(config=system.config))
        recommender = stack.enter_context(Recommender(config=system.config))
        for item in log.items():
            publisher.publish_item(**msgspec.structs.asdict(item))
        system.wait_until_ready(recommender, timeout_s=START_TIMEOUT_S)
        running = Running(system, publisher, recommender, learned, held_out)
        running.publish(learned)
        yield running


def test_a_subscriber_gets_recommendations_for_a_hundred_users(running: Running) -> None:
    users = list(dict.fromkeys(event.user_id for event in running.learned))[-100:]
    with Subscriber(config=running.system.config, timeout_s=60.0) as subscriber:
        answers = running.recommender.recommend_many(users, k=10)
        received = {}
        for recommendation in subscriber:
            received[recommendation.request_id] = recommendation
            if len(received) == len(users):
                break
    assert [answer.user_id for answer in answers] == users
    assert received == {answer.request_id: answer for answer in answers}
    history_max = running.system.config.mf.history
    for answer in answers:
        items = [item.item_id for item in answer.items]
        assert len(set(items)) == 10
        seen = [event.item_id for event in running.learned if event.user_id == answer.user_id]
        assert not set(items) & set(seen[-history_max:])


def test_a_click_changes_the_list_of_who_clicked(running: Running) -> None:
    user = running.learned[-1].user_id
    before = running.recommender.recommend(user, k=10)
    clicked = before.items[0].item_id
    running.publish(
        [
            Event(
                event_id="a-click",
                type="click",
                user_id=user,
                item_id=clicked,
                ts=running.learned[-1].ts,
            )
        ]
    )
    after = running.recommender.recommend(user, k=10)
    assert clicked not in [item.item_id for item in after.items]
    scores = {item.item_id: item.score for item in before.items}
    moved = [item.item_id for item in after.items if item.score != scores.get(item.item_id)]
    assert len(moved) == len(after.items)
    assert before.model_version != after.model_version


def test_the_blend_beats_popularity_on_next_items_of_warm_users(
    running: Running, record_property: Callable[[str, object], None]
) -> None:
    """Test, then learn: warm users of a chunk are asked for before any of it is published."""
    seen: dict[str, list[str]] = defaultdict(list)
    liked: Counter[str] = Counter()

    def take(events: list[Event]) -> None:
        for event in events:
            seen[event.user_id].append(event.item_id)
        liked.update(event.item_id for event in events if (event.value or 0) > 2.5)

    take(running.learned)
    rankings = {"blend": by_column("blend_z"), "popularity": by_count(liked)}
    at_once, in_turn = (Recalls(DEPTHS, rankings) for _ in range(2))
    decisions = Decisions(running.system.config)

    def ask(recalls: Recalls, events: list[Event]) -> None:
        taken: dict[str, list[str]] = defaultdict(list)
        for event in events:
            if len(seen[event.user_id]) >= WARM_EVENTS and (event.value or 0) >= POSITIVE:
                taken[event.user_id].append(event.item_id)
        for user, items in taken.items():
            recalls.ask(user, items, seen[user], running.recommender, decisions)

    try:
        ask(at_once, running.held_out)
        for start in range(0, len(running.held_out), CHUNK):
            chunk = running.held_out[start : start + CHUNK]
            ask(in_turn, chunk)
            take(chunk)
            running.publish(chunk)
    finally:
        decisions.close()
    for how, recalls in (("all that follows", at_once), (f"the next {CHUNK} events", in_turn)):
        print(f"foreseeing {how}, {recalls.n_asked} lists:\n{recalls}")
        record_property(how, str(recalls))
    # Of 86 users the ten best tell little: the difference there is as large as its error.
    gain = in_turn.gain("blend", "popularity", 50)
    assert gain.value > gain.error, str(in_turn)
