"""Two topics of a partition, neither learned far ahead of the other."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from streamer.learner.backlog import WAITING_BYTES_MAX, Backlog
from streamer.protocols import MessageBatch

EVENTS, DECISIONS = "events", "decisions"
AHEAD_MS = 10_000
SECOND_MS = 1_000
START_MS = 1_700_000_000_000


def batch(topic: str, start: int, end: int, *, size: int = 10) -> MessageBatch:
    """Messages at offsets ``[start, end)``, one a second."""
    offsets = np.arange(start, end, dtype=np.int64)
    publish_ms = START_MS + SECOND_MS * offsets
    return MessageBatch(topic, 0, [b"x" * size] * len(offsets), offsets, publish_ms)


def new_backlog(*, learned: int = 0, reread_from: int = 0, ahead_max: int = 1_000) -> Backlog:
    return Backlog(
        dict.fromkeys((EVENTS, DECISIONS), learned),
        dict.fromkeys((EVENTS, DECISIONS), reread_from),
        ahead_max_ms=AHEAD_MS,
        ahead_max={EVENTS: ahead_max},
    )


def lengths(found: dict[str, MessageBatch]) -> dict[str, int]:
    return {topic: len(each) for topic, each in found.items()}


def known_lengths(backlog: Backlog, lag: dict[str, int]) -> dict[str, int]:
    found: Counter[str] = Counter()
    while known := backlog.known(lag):
        found.update({each.topic: len(each) for each in known})
    return dict(found)


def test_a_topic_waits_for_one_that_has_more_to_read() -> None:
    backlog = new_backlog()
    backlog.put(batch(EVENTS, 0, 100))
    assert backlog.ready({DECISIONS: 100}) == {}
    backlog.put(batch(DECISIONS, 0, 6))
    assert lengths(backlog.ready({DECISIONS: 94})) == {EVENTS: 16, DECISIONS: 6}
    backlog.put(batch(DECISIONS, 6, 21))
    assert lengths(backlog.ready({DECISIONS: 79})) == {EVENTS: 15, DECISIONS: 15}
    assert lengths(backlog.ready({})) == {EVENTS: 69}


def test_no_more_goes_ahead_than_can_wait_for_the_other() -> None:
    backlog = new_backlog(ahead_max=3)
    backlog.put(batch(DECISIONS, 0, 1))
    backlog.put(batch(EVENTS, 0, 3))
    assert lengths(backlog.ready({DECISIONS: 1})) == {EVENTS: 3, DECISIONS: 1}
    backlog.put(batch(EVENTS, 3, 8))
    assert backlog.ready({DECISIONS: 1}) == {}  # more may have been decided at 0
    backlog.put(batch(DECISIONS, 1, 3))
    assert lengths(backlog.ready({DECISIONS: 1})) == {EVENTS: 2, DECISIONS: 2}  # 2, 3 and 4
    assert lengths(backlog.ready({})) == {EVENTS: 3}  # there is nothing to wait for


def test_what_waits_is_held_when_it_is_much_and_let_go_when_it_is_less() -> None:
    backlog = new_backlog()
    backlog.put(batch(EVENTS, 0, 100, size=WAITING_BYTES_MAX // 100))
    assert backlog.ready({DECISIONS: 1}) == {}
    assert backlog.waiting == set()
    backlog.put(batch(EVENTS, 100, 101))
    assert backlog.ready({DECISIONS: 1}) == {}
    assert backlog.waiting == {EVENTS}
    backlog.put(batch(DECISIONS, 0, 1))
    assert lengths(backlog.ready({DECISIONS: 1})) == {EVENTS: 11, DECISIONS: 1}
    assert backlog.waiting == set()


def test_tombstones_may_wait_too() -> None:
    backlog = new_backlog()
    one = batch(EVENTS, 0, 1)
    backlog.put(MessageBatch(one.topic, 0, [None], one.offsets, one.publish_ms))
    assert backlog.ready({DECISIONS: 1}) == {}
    assert backlog.waiting == set()
    assert lengths(backlog.ready({})) == {EVENTS: 1}


def test_new_messages_wait_until_all_known_ones_have_passed() -> None:
    backlog = new_backlog(learned=50)
    backlog.put(batch(EVENTS, 0, 60))
    assert backlog.known({DECISIONS: 50}) == []
    assert backlog.ready({DECISIONS: 50}) == {}
    backlog.put(batch(DECISIONS, 0, 30))
    assert known_lengths(backlog, {DECISIONS: 20}) == {DECISIONS: 30, EVENTS: 40}
    assert backlog.ready({DECISIONS: 20}) == {}
    backlog.put(batch(DECISIONS, 30, 50))
    assert known_lengths(backlog, {}) == {DECISIONS: 20, EVENTS: 10}
    assert lengths(backlog.ready({})) == {EVENTS: 10}


def test_known_messages_wait_for_none_that_the_broker_has_no_more() -> None:
    backlog = new_backlog(learned=50)
    backlog.put(batch(EVENTS, 0, 60))
    assert known_lengths(backlog, {}) == {EVENTS: 50}
    assert lengths(backlog.ready({})) == {EVENTS: 10}


@pytest.mark.parametrize("ahead_max", [1, 8, 1_000])
def test_one_of_two_that_wait_may_always_go_on(ahead_max: int) -> None:
    backlog = new_backlog(ahead_max=ahead_max)
    backlog.put(batch(EVENTS, 0, 100))
    backlog.put(batch(DECISIONS, 50, 150))
    at = {EVENTS: 100, DECISIONS: 150}
    n_learned = 0
    while n_learned < 200 + 150:
        lag = {topic: 200 - end for topic, end in at.items()}
        n_more = sum(lengths(backlog.ready(lag)).values())
        assert n_more or any(topic not in backlog.waiting for topic in at if lag[topic])
        n_learned += n_more
        for topic, end in at.items():
            if lag[topic] and topic not in backlog.waiting:
                at[topic] = end + 10
                backlog.put(batch(topic, end, end + 10))
