"""One thread reads and decodes, one learns, one commits: what each does, and how it ends."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from streamer.clock import SystemClock
from streamer.config import Config
from streamer.errors import DeliveryFailed, Fenced
from streamer.events.decoding import Rejected
from streamer.learner.learner import Learner
from streamer.learner.practice.budget import PracticeBudget
from streamer.learner.practice.practice import Practice
from streamer.protocols import MessageBatch
from streamer.store.memory import MemoryStore
from streamer.verify.parameters import Contents, compare_contents
from tests.event_log import (
    SETTINGS,
    TOPIC,
    default_rewards,
    make_learner,
    make_log,
    messages,
    small_models,
    stored,
    with_settings,
)

MODELS = small_models()
LOG = make_log(2_000, seed=2)


class Gate:
    """A factor of learning rates that is not told until it is opened: learning waits for it."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.opened = threading.Semaphore(0)

    def __call__(self, n_events: int) -> float:
        self.asked.release()
        assert self.opened.acquire(timeout=30)
        return 1.0


def contents(store: MemoryStore) -> Contents:
    return stored(store, MODELS, SETTINGS)[0]


def committed_to(store: MemoryStore) -> int:
    return store.load(0).offsets.get(TOPIC, 0)


@pytest.fixture(scope="module")
def undisturbed() -> Contents:
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS)
    learner.assign([0])
    learner.learn([messages(LOG, 0, 0, len(LOG))])
    return contents(store)


def test_one_lot_is_read_ahead_of_what_is_learned(undisturbed: Contents) -> None:
    gate, learned = Gate(), list[int]()
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS, pipeline_depth=2, rate_factor=gate)
    learner.assign([0])

    def give(number: int, start: int, end: int) -> None:
        learner.learn([messages(LOG, 0, start, end)], then=lambda: learned.append(number))

    give(1, 0, 100)
    assert gate.asked.acquire(timeout=30)
    assert learned == []
    second = threading.Thread(target=give, args=(2, 100, len(LOG)))
    second.start()
    second.join(0.05)
    assert second.is_alive(), "the second lot waits for the first to be learned"
    assert not gate.asked.acquire(blocking=False)
    gate.opened.release(2)
    second.join(30)
    learner.flush()
    assert learned == [1, 2]
    assert compare_contents(contents(store), undisturbed) == []


def test_what_is_being_learned_at_a_reassignment_is_dropped(undisturbed: Contents) -> None:
    """Another learner has taken over meanwhile: it is fenced, and learns what that did not."""
    gate = Gate()
    store = MemoryStore()
    learner = make_learner(store, MODELS, SETTINGS, pipeline_depth=2, rate_factor=gate)
    learner.assign([0])
    learner.learn([messages(LOG, 0, 0, 500)])
    assert gate.asked.acquire(timeout=30)
    other = make_learner(store, MODELS, SETTINGS, owner="other")
    other.assign([0])
    other.learn([messages(LOG, 0, 0, 200)])
    gate.opened.release(100)
    with pytest.raises(Fenced):
        learner.flush()
    with pytest.raises(Fenced):
        learner.learn([messages(LOG, 0, 500, 600)])
    at = learner.assign([0])[TOPIC, 0]
    learner.learn([messages(LOG, 0, at, len(LOG))])
    learner.flush()
    assert compare_contents(contents(store), undisturbed) == []


def test_each_thread_does_its_own_work() -> None:
    """What decides, remembers and draws is asked by the thread that learns alone."""
    seen: defaultdict[str, set[str]] = defaultdict(set)

    def noted(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            seen[what].add(threading.current_thread().name)
            return function(*arguments)

        return call

    store = MemoryStore()
    make_learner(store, MODELS, SETTINGS)  # lays it out
    budget_clock = noted("budget", time.monotonic)
    budget = PracticeBudget(0.0, 0.5, CollectorRegistry(), clock=budget_clock)
    learner = Learner(
        store=store,
        models=MODELS,
        settings=with_settings(checkpoint_interval_s=0.0),
        rewards=noted("decode", default_rewards),
        owner="a",
        clock=SystemClock(),
        dead_letter=noted("dead letter", lambda batch, rejected: None),
        practice=Practice(Config(), budget=budget),
        committed=noted("committed", lambda seconds, n_rows: None),
        rate_factor=noted("factor", lambda n_events: 1.0),
        pipeline_depth=2,
    )
    seen.clear()
    learner.assign([0])
    for start in range(0, 600, 200):
        then = noted("then", lambda: None)
        learner.learn([messages(LOG, 0, start, start + 200)], then=then)
    learner.flush()
    assert seen == {
        "decode": {threading.current_thread().name},
        **{what: {"learning"} for what in ("budget", "dead letter", "factor", "then")},
        "committed": {"commits"},
    }
    assert learner.counts.n_checkpoints == 3, "one a lot, for its time has come"


class Letters:
    """Dead letters, and up to where was committed when each batch of them came.

    Parameters
    ----------
    refused_from
        Offset from which they are refused.
    """

    def __init__(self, store: MemoryStore, *, refused_from: int) -> None:
        self.offsets: list[int] = []
        self._store = store
        self._refused_from = refused_from

    def __call__(self, batch: MessageBatch, rejected: Sequence[Rejected]) -> None:
        offsets = [int(batch.offsets[bad.index]) for bad in rejected]
        if offsets[-1] >= self._refused_from:
            raise DeliveryFailed("a message was not delivered")
        assert committed_to(self._store) <= offsets[0], "letters come first"
        self.offsets += offsets


def test_nothing_is_committed_ahead_of_a_dead_letter(undisturbed: Contents) -> None:
    store = MemoryStore()
    letters = Letters(store, refused_from=len(LOG))
    learner = make_learner(store, MODELS, SETTINGS, dead=letters, pipeline_depth=2)
    learner.assign([0])
    for start in range(0, len(LOG), 100):
        learner.learn([messages(LOG, 0, start, start + 100)])
    learner.flush()
    bad = [offset for offset, value in enumerate(LOG) if value == b'{"event_id": 7']
    assert letters.offsets == bad
    assert compare_contents(contents(store), undisturbed) == []


def test_a_dead_letter_that_is_refused_ends_what_is_learned(undisturbed: Contents) -> None:
    """The error comes with the next call; nothing behind the letter is committed."""
    store = MemoryStore()
    letters = Letters(store, refused_from=1_000)
    learner = make_learner(store, MODELS, SETTINGS, dead=letters, pipeline_depth=2)
    learner.assign([0])
    for start in range(0, 1_100, 100):
        learner.learn([messages(LOG, 0, start, start + 100)])
    with pytest.raises(DeliveryFailed):
        learner.learn([messages(LOG, 0, 1_100, 1_200)])
    with pytest.raises(DeliveryFailed):
        learner.flush()
    learner.release()
    assert committed_to(store) <= 1_000
    later = make_learner(store, MODELS, SETTINGS, owner="later")
    at = later.assign([0])[TOPIC, 0]
    later.learn([messages(LOG, 0, at, len(LOG))])
    assert compare_contents(contents(store), undisturbed) == []
