"""The main job on a real Kafka and a real Redis: real ratings in, recommendations out.

MovieLens latest-small is published in the order of time but for its last fifth, learned by a
`streamer learn` process and served by a `streamer score` one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamer.application.local import LocalSystem, local_system
from streamer.client import Publisher, Recommender, Subscriber
from streamer.config import load_config
from streamer.events import Event, encode
from streamer_producers.datasets import open_log
from tests.brokers import keys_apart, topics_apart
from tests.channels import Decisions, Recalls

DATA = Path(os.environ.get("STREAMER_DATA") or Path(__file__).parents[3] / "shared" / "data")
LEARNED_SHARE = 0.8
WARM_EVENTS = 20
CHUNK = 200
CHANNELS = {"factorization": "mf_score", "popularity": "log_count"}
DEPTHS = (10, 50)
N_CLICKS = 200
N_CLICKS_MIN = 20
FULL_PER_S = 35_000.0
"""Events/s at full load of the slowest quiet machine of two cores that this was measured on."""
FULL_EVENTS = 150_000
HALF_PER_S_MAX = 20_000.0
"""Beyond it a publisher in Python takes half of such a machine for itself."""
HALF_LOAD_S = 30.0
ATTEMPTS = 3
LOAD_STARTS_S = 3.0
AGREE_MS = 15.0
"""An event waits up to 5 ms for others to share its request; the metric is read in whole ms."""
AGREE_SHARE = 0.25
"""Of the metric: it is over all events, of which the clicks are 200 drawn at random times."""
POSITIVE = 4.0
"""Ratings from here on are something a user would want to have been recommended."""
START_TIMEOUT_S = 60.0
TAKEN_TIMEOUT_S = 60.0

pytestmark = pytest.mark.timeout(240)


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
        """Publish, and wait until all is learned."""
        self.publisher.publish_many(events)
        self.publisher.flush()
        self.n_published += len(events)
        lacking = self.system.wait_until_taken(self.n_published, timeout_s=TAKEN_TIMEOUT_S)
        assert lacking == 0, f"{lacking} of {self.n_published} events not learned"

    def metric(self, name: str) -> float:
        """One of the product's own numbers; a busy process may not answer the first time."""
        deadline = time.monotonic() + TAKEN_TIMEOUT_S
        while (value := self.system.metrics().get(name)) is None:
            self.system.check()
            assert time.monotonic() < deadline, f"{name} is not served"
        return value

    def n_taken(self) -> int:
        """Events that the learner has taken."""
        return int(self.metric("streamer_learner_events_total"))


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
    with Subscriber(config=running.system.config, timeout_s=10.0) as subscriber:
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


def test_factorization_beats_popularity_on_next_items_of_warm_users(
    running: Running, record_property: Callable[[str, object], None]
) -> None:
    """Test, then learn: warm users of a chunk are asked for before any of it is published."""
    seen: dict[str, list[str]] = defaultdict(list)
    for event in running.learned:
        seen[event.user_id].append(event.item_id)
    at_once, in_turn = (Recalls(DEPTHS, CHANNELS) for _ in range(2))
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
            for event in chunk:
                seen[event.user_id].append(event.item_id)
            running.publish(chunk)
    finally:
        decisions.close()
    for how, recalls in (("all that follows", at_once), (f"the next {CHUNK} events", in_turn)):
        print(f"foreseeing {how}, {recalls.n_asked} lists:\n{recalls}")
        record_property(how, str(recalls))
    for depth in DEPTHS:
        gain = in_turn.gain("factorization", "popularity", depth)
        assert gain.value > gain.error, str(in_turn)


def test_a_click_is_served_fresh_at_half_load(
    running: Running, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Half load: half of what the system learns when it is published as fast as can be.

    What others do on the machine can only make it slower, so one of a few attempts has to hold.
    """
    for number in range(ATTEMPTS):
        found = freshness_at_half_load(running, tmp_path / str(number))
        print(found.said)
        record_property("freshness", found.said)
        if found.holds:
            return
    pytest.fail(f"in none of {ATTEMPTS} attempts; the last: {found.said}")


@dataclass
class Freshness:
    """What one measurement found, in milliseconds.

    The outside clock runs from before the click is published until an answer without the clicked
    item is there; it is asked for again and again. So it is above the product's own metric by the
    publication and by one to two round trips of a request.
    """

    full_per_s: float
    half_per_s: float
    outside: list[float]
    own_p50: list[float]
    own_p99: list[float]
    round_trips: list[float]

    @property
    def holds(self) -> bool:
        """What is promised is 100 and 500 ms on a quiet machine; where others take most of its
        time, as the full load shows, everything takes as much longer."""
        slower = max(1.0, FULL_PER_S / self.full_per_s)
        p50, p99 = np.percentile(self.outside, [50, 99])
        own = np.median(self.own_p50)
        agree_ms = 2 * np.median(self.round_trips) + AGREE_MS + AGREE_SHARE * own
        return bool(p50 <= 250 * slower and p99 <= 1_500 * slower and abs(p50 - own) <= agree_ms)

    @property
    def said(self) -> str:
        # The metric covers the last 10,000 events, at half load less than a second; it was read
        # after each click, so the median of its medians is that of the whole time.
        p50, p99 = np.percentile(self.outside, [50, 99])
        request_p50, request_p99 = np.percentile(self.round_trips, [50, 99])
        return (
            f"full load {self.full_per_s:,.0f} events/s, {self.half_per_s:,.0f} published;"
            f" {len(self.outside)} users\n"
            f"outside clock: p50 {p50:.0f} ms, p99 {p99:.0f} ms\n"
            f"own metric: p50 {np.median(self.own_p50):.0f} ms, p99 {np.median(self.own_p99):.0f}"
            f" ms (its worst: {max(self.own_p50):.0f}, {max(self.own_p99):.0f})\n"
            f"a request: p50 {request_p50:.0f} ms, p99 {request_p99:.0f} ms"
        )


def freshness_at_half_load(running: Running, folder: Path) -> Freshness:
    """Users click what was recommended, one after the other, while events are published."""
    folder.mkdir()
    wait_until_all_is_taken(running)
    full_per_s = FULL_EVENTS / seconds_to_learn(running, folder, FULL_EVENTS)
    half_per_s = min(full_per_s / 2, HALF_PER_S_MAX)
    users = list(dict.fromkeys(event.user_id for event in reversed(running.learned)))
    log = log_of_clicks(
        running, folder / "half.jsonl", n=int(HALF_LOAD_S * half_per_s), per_s=half_per_s
    )
    found = Freshness(full_per_s, half_per_s, [], [], [], [])
    load = publishing(running, log, "--speed", "1")
    try:
        time.sleep(LOAD_STARTS_S)
        for user in users[:N_CLICKS]:
            if load.poll() is not None:
                break  # what is measured from here on would not be at half load
            measure_click(running, user, found)
        assert len(found.outside) >= N_CLICKS_MIN, "the load ended long before the measurement"
    finally:
        load.terminate()
        load.wait()
    return found


def measure_click(running: Running, user: str, found: Freshness) -> None:
    """Click the first item that is recommended, and wait until it is recommended no more."""
    clicked = running.recommender.recommend(user).items[0].item_id
    began_ms = clock_ms()
    running.publisher.publish(type="click", user_id=user, item_id=clicked)
    items = [clicked]
    while clicked in items:
        asked_ms = clock_ms()
        items = [item.item_id for item in running.recommender.recommend(user).items]
        found.round_trips.append(clock_ms() - asked_ms)
    found.outside.append(clock_ms() - began_ms)
    found.own_p50.append(running.metric("streamer_scorer_freshness_ms{0.5}"))
    found.own_p99.append(running.metric("streamer_scorer_freshness_ms{0.99}"))


def wait_until_all_is_taken(running: Running) -> None:
    """Nothing is published any more; wait for what an earlier attempt left to be learned."""
    before = -1
    while (taken := running.n_taken()) > before:
        before = taken
        time.sleep(0.5)


def seconds_to_learn(running: Running, folder: Path, n: int) -> float:
    """Seconds from the first to the last of ``n`` events learned, published at full speed."""
    log = log_of_clicks(running, folder / "full.jsonl", n=n, per_s=1_000.0)
    before = running.n_taken()
    load = publishing(running, log)
    deadline = time.monotonic() + TAKEN_TIMEOUT_S
    began: tuple[float, int] | None = None
    try:
        while (taken := running.n_taken() - before) < n:
            assert time.monotonic() < deadline, f"{taken} of {n} events learned"
            if taken and began is None:
                began = time.perf_counter(), taken
            time.sleep(0.02)
        ended_s = time.perf_counter()
    finally:
        load.terminate()
        load.wait()
    assert began is not None, "all was learned between two looks: publish more"
    began_s, n_before = began
    return (ended_s - began_s) * n / (n - n_before)


def publishing(running: Running, log: Path, *options: str) -> subprocess.Popen[bytes]:
    """`streamer publish` in a process of its own."""
    config = running.system.config
    environment = os.environ | {
        "STREAMER_KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
        "STREAMER_TOPICS__PREFIX": config.topics.prefix,
    }
    command = [sys.executable, "-P", "-m", "streamer", "publish", str(log), *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def log_of_clicks(running: Running, path: Path, *, n: int, per_s: float) -> Path:
    """Clicks of those who rated on what was rated, ``per_s`` a second of the log's time."""
    chosen = np.random.default_rng(0).integers(len(running.learned), size=n)
    start_ms = time.time_ns() // 1_000_000
    with path.open("wb") as file:
        for number, row in enumerate(chosen.tolist()):
            event = msgspec.structs.replace(
                running.learned[row],
                event_id=f"{path.parent.name}-{path.stem}-{number}",
                type="click",
                value=None,
                ts=start_ms + int(1000 * number / per_s),
            )
            file.write(encode(event) + b"\n")
    return path


def clock_ms() -> float:
    return 1000 * time.perf_counter()
