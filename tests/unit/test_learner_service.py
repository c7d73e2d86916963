"""The learner's rounds: how long they wait, and what happens when partitions are taken away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import pytest

from streamer.errors import DeliveryFailed
from streamer.events.decoding import Rejected
from streamer.learner.learner import Learner
from streamer.learner.service import Assigned, LearnerService, Revoked
from streamer.protocols import Entry, MessageBatch
from streamer.store.memory import MemoryStore
from streamer_models.state.partition import Bounds
from tests.event_log import (
    SETTINGS,
    TOPIC,
    make_learner,
    make_log,
    messages,
    small_models,
    with_settings,
)

LOG = make_log(30, seed=9)
OnRound = Callable[[Mapping[tuple[str, int], int]], None]


class SteppedClock:
    """A wall clock that is set by some hours between any two looks at it."""

    def __init__(self, step_ms: int) -> None:
        self.step_ms = step_ms
        self.at_ms = 1_700_000_000_000
        self.slept_s: list[float] = []

    def now_ms(self) -> int:
        self.at_ms += self.step_ms
        return self.at_ms

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)


class LogSource:
    """Partition 0 of a log, ten messages a poll."""

    def __init__(self, on_assign: Assigned, log: Sequence[bytes | None] = LOG) -> None:
        self._on_assign = on_assign
        self._log = log
        self._at = -1

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        if self._at < 0:
            self._at = self._on_assign([0])[TOPIC, 0]
        start, self._at = self._at, self._at + 10
        return [messages(self._log, 0, start, start + 10)]

    def hold(self, held: Collection[tuple[str, int]]) -> None:
        assert not held  # a single topic waits for none

    def tell_applied(self, offsets: Mapping[tuple[str, int], int]) -> None:
        self.told = dict(offsets)

    def lag(self) -> dict[tuple[str, int], int]:
        return {(TOPIC, 0): len(self._log) - self._at}

    def close(self) -> None:
        self._at = -1


@pytest.mark.parametrize(("step_ms", "slept_s"), [(-3_600_000, [0.02] * 3), (3_600_000, [])])
def test_a_clock_that_is_set_does_not_stop_the_rounds(step_ms: int, slept_s: list[float]) -> None:
    clock = SteppedClock(step_ms)
    learner = make_learner(MemoryStore(), small_models(), SETTINGS)

    def open_source(*, on_assign: Assigned, on_revoke: Revoked) -> LogSource:
        return LogSource(on_assign)

    def stop_at_the_end(source: object) -> None:
        if learner.offsets[TOPIC, 0] == len(LOG):
            service.stop()

    service = LearnerService(
        learner=learner,
        open_source=open_source,
        sync_interval_s=0.02,
        n_max=1_000,
        clock=clock,
        on_round=stop_at_the_end,
    )
    service.run()
    assert learner.counts.n_messages == len(LOG)
    assert clock.slept_s == slept_s


@pytest.mark.parametrize(("n_max", "ahead"), [(20, True), (21, False)])
def test_only_a_large_round_is_learned_while_the_next_is_read(n_max: int, ahead: bool) -> None:
    """A smaller one read early would make what comes soon after wait for two rounds."""
    opened = threading.Event()

    def rate_factor(n_events: int) -> float:
        assert ahead is False or opened.wait(30)
        return 1.0

    learner = make_learner(
        MemoryStore(), small_models(), SETTINGS, pipeline_depth=1, rate_factor=rate_factor
    )

    def open_source(*, on_assign: Assigned, on_revoke: Revoked) -> LogSource:
        return LogSource(on_assign)

    service = LearnerService(
        learner=learner,
        open_source=open_source,
        sync_interval_s=0.02,
        n_max=n_max,
        clock=SteppedClock(1),
    )
    source = service.join()
    service.round(source, timeout_s=0)
    assert learner.counts.n_messages == (0 if ahead else 10)
    opened.set()
    learner.flush()
    assert learner.counts.n_messages == 10


class Revoking(LogSource):
    """Hands out ten messages, and takes the partition away in the second poll."""

    def __init__(
        self, on_assign: Assigned, on_revoke: Revoked, log: Sequence[bytes | None]
    ) -> None:
        super().__init__(on_assign, log)
        self._on_revoke = on_revoke
        self._revoked = False

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]:
        if self._at <= 0:
            return super().poll(n_max=n_max, timeout_s=timeout_s)
        assert not self._revoked, "nothing is owned any more"
        self._revoked = True
        self._on_revoke([0])
        return []


def revoking(
    learner: Learner,
    log: Sequence[bytes | None] = LOG,
    on_round: OnRound = lambda lag: None,
) -> LearnerService:
    return LearnerService(
        learner=learner,
        open_source=partial(Revoking, log=log),
        sync_interval_s=0.02,
        n_max=20,
        clock=SteppedClock(1),
        on_round=on_round,
    )


class SlowStore(MemoryStore):
    """Commits nothing before a lot is learned, and then slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.learned = threading.Event()
        self.n_commits = 0

    def commit(self, entry: Entry, *, owner: str) -> None:
        assert self.learned.wait(30)
        time.sleep(0.02)
        super().commit(entry, owner=owner)
        self.n_commits += 1


def test_partitions_are_given_back_when_what_is_in_hand_is_committed() -> None:
    store, opened = SlowStore(), threading.Event()

    def rate_factor(n_events: int) -> float:
        assert opened.wait(30)
        return 1.0

    settings = with_settings(bounds=Bounds(users_max=2, items_max=2))
    learner = make_learner(
        store, small_models(), settings, pipeline_depth=16, rate_factor=rate_factor
    )
    service = revoking(learner, on_round=lambda lag: store.learned.set())
    source = service.join()
    service.round(source, timeout_s=0)
    second = threading.Thread(target=lambda: service.round(source, timeout_s=0))
    second.start()
    second.join(0.05)
    assert second.is_alive(), "the first round is being learned"
    assert learner.offsets == {(TOPIC, 0): 0}
    opened.set()
    second.join(30)
    assert learner.offsets == {}, "nothing is owned any more"
    assert store.n_commits > 1, "evictions end entries"
    assert store.load(0).offsets == {TOPIC: 10}


def test_what_went_wrong_in_the_thread_that_learns_ends_the_service() -> None:
    """Even when it comes up while partitions are given back; nothing of it is committed."""

    def refuse(batch: MessageBatch, rejected: Sequence[Rejected]) -> None:
        raise DeliveryFailed("a message was not delivered")

    store = MemoryStore()
    learner = make_learner(store, small_models(), SETTINGS, dead=refuse, pipeline_depth=1)
    with pytest.raises(DeliveryFailed):
        revoking(learner, [*LOG[:5], b"{", *LOG[6:]]).run()
    assert learner.offsets == {}
    assert store.load(0).offsets == {}
