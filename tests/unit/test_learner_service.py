"""The learner's rounds: how long they wait."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest

from streamer.learner import service as service_module
from streamer.learner.service import Assigned, LearnerService, Revoked
from streamer.protocols import MessageBatch
from streamer.simulation.broker import ManualClock
from streamer.store.memory import MemoryStore
from tests.event_log import SETTINGS, TOPIC, make_learner, make_log, messages, small_models

LOG = make_log(30, seed=9)


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


@pytest.mark.parametrize(("n_taken", "n_told"), [(2, 0), (3, 1), (5, 1), (6, 2)])
def test_it_is_told_why_partitions_are_taken_over_and_over(
    n_taken: int, n_told: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_REJOIN_PAUSE_S", 0.0)
    log = make_log(100, seed=9)
    store = MemoryStore()
    learner = make_learner(store, small_models(), SETTINGS)

    def on_round(lag: Mapping[tuple[str, int], int]) -> None:
        if lag and learner.counts.n_rejoins < n_taken:
            store.acquire(0, "of another group")
        if learner.offsets.get((TOPIC, 0)) == len(log):
            service.stop()

    service = LearnerService(
        learner=learner,
        open_source=lambda *, on_assign, on_revoke: LogSource(on_assign, log),
        sync_interval_s=0.0,
        n_max=10,
        clock=ManualClock(),
        on_round=on_round,
    )
    service.run()
    assert learner.counts.n_rejoins == n_taken
    told = [record.__dict__ for record in caplog.records if record.msg == "store_is_shared"]
    assert len(told) == n_told
    for each in told:
        assert "partition 0 is held by 'of another group'" in each["reason"]
        assert "kafka.group" in each["remedy"]


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


def test_joining_afresh_is_counted_and_told_at_once() -> None:
    store = MemoryStore()
    learner = make_learner(store, small_models(), SETTINGS)
    told: list[tuple[int, int]] = []

    def on_round(lag: Mapping[tuple[str, int], int]) -> None:
        told.append((learner.counts.n_rejoins, len(lag)))
        if len(told) == 1:
            store.acquire(0, "another learner")
        if learner.offsets.get((TOPIC, 0)) == len(LOG):
            service.stop()

    service = LearnerService(
        learner=learner,
        open_source=lambda *, on_assign, on_revoke: LogSource(on_assign),
        sync_interval_s=0.02,
        n_max=1_000,
        clock=SteppedClock(3_600_000),
        on_round=on_round,
    )
    service.run()
    assert told[:2] == [(0, 1), (1, 0)]
    assert set(told[2:]) == {(1, 1)}
