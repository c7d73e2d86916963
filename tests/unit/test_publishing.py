"""A log is published whole, in order, and at the pace asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamer.client import Publisher
from streamer.errors import ConfigError
from streamer.events import Event, Item, User
from streamer.kafka.embedded import EmbeddedBroker
from streamer_producers.datasets import open_log
from streamer_producers.publishing import Pace, Published, publish_logs
from tests.unit.movielens import write_movielens


class _Collected:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.items: list[Item] = []
        self.users: list[User] = []
        self.n_flushed = 0

    def publish_event(self, event: Event) -> None:
        self.events.append(event)

    def publish_item(self, item_id: str, **fields: Any) -> None:
        self.items.append(Item(item_id=item_id, **fields))

    def publish_user(self, user_id: str, **fields: Any) -> None:
        self.users.append(User(user_id=user_id, **fields))

    def flush(self) -> None:
        self.n_flushed += 1


class _ManualTime:
    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.slept_s: list[float] = []

    def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)
        self.now_s += duration_s

    def pace(self, speed: float | None) -> Pace:
        return Pace(speed, now_s=lambda: self.now_s, sleep=self.sleep)


def test_a_log_is_published_whole_and_flushed(tmp_path: Path) -> None:
    folder = write_movielens(tmp_path / "ml", "csv")
    with (folder / "ratings.csv").open("a") as file:
        file.write("broken\n")
    log, publisher, progress = open_log(folder), _Collected(), list[Sequence[Published]]()
    (done,) = publish_logs([log], publisher, on_progress=progress.append)
    assert publisher.events == list(log.events())
    assert publisher.items == list(log.items())
    assert publisher.n_flushed == 1
    assert (done.n_events, done.n_items, done.n_malformed) == (4, 2, 1)
    assert progress[-1] == [done]


def test_a_log_is_published_at_its_pace(tmp_path: Path) -> None:
    log, publisher, clock = (
        open_log(write_movielens(tmp_path / "ml", "csv")),
        _Collected(),
        _ManualTime(),
    )
    # Times 50, 100, 300, 300 at ten times their pace.
    (done,) = publish_logs([log], publisher, pace=clock.pace(10.0))
    assert clock.slept_s == pytest.approx([5.0, 20.0])
    assert done.elapsed_s == pytest.approx(25.0)
    assert [event.ts for event in publisher.events] == [50_000, 100_000, 300_000, 300_000]


def test_late_events_are_not_waited_for() -> None:
    clock = _ManualTime()
    pace = clock.pace(1.0)
    assert pace.wait(10_000) == 0.0
    clock.now_s += 5.0
    assert [pace.wait(ts) for ts in (9_000, 12_000, 16_000)] == pytest.approx([0.0, 0.0, 1.0])
    with pytest.raises(ConfigError, match="speed=0 must be above 0"):
        Pace(0)


def test_rebased_events_happen_now_under_their_old_ids(tmp_path: Path) -> None:
    log = open_log(write_movielens(tmp_path / "ml", "csv"))
    publisher = _Collected()
    clock = _ManualTime()
    publish_logs(
        [log],
        publisher,
        rebase=True,
        pace=clock.pace(10.0),
        now_ms=lambda: int(clock.now_s * 1000),
    )
    assert [event.ts for event in publisher.events] == [1_000_000, 1_005_000, 1_025_000, 1_025_000]
    old = {event.event_id: event for event in log.events()}
    assert [old[event.event_id].item_id for event in publisher.events] == ["12", "11", "10", "10"]


def test_the_client_is_a_publisher_of_logs(tmp_path: Path) -> None:
    log = open_log(write_movielens(tmp_path / "ml", "csv"))
    with EmbeddedBroker() as broker, Publisher(broker.bootstrap_servers) as publisher:
        (done,) = publish_logs([log], publisher)
        assert publisher.n_delivered == done.n_events + done.n_items == 6
