"""A recovery that stands still begins again."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamer.faust_worker.recovery import STUCK_S, RecoveryWatch


@dataclass
class Signal:
    n_set: int = 0

    def set(self) -> None:
        self.n_set += 1


@dataclass
class Recovery:
    in_recovery: bool = False
    n_remaining: int = 0
    signal_recovery_start: Signal = field(default_factory=Signal)

    def active_remaining_total(self) -> int:
        return self.n_remaining


def test_only_a_recovery_without_progress_begins_again() -> None:
    watch, recovery = RecoveryWatch(), Recovery()

    def look(at_s: float) -> int:
        watch.look(recovery, at_s)
        return recovery.signal_recovery_start.n_set

    assert look(0.0) == look(100.0) == 0  # none is under way
    recovery.in_recovery, recovery.n_remaining = True, 7
    assert look(101.0) == look(101.0 + STUCK_S / 2) == 0
    recovery.n_remaining = 5
    assert look(101.0 + STUCK_S) == 0
    assert look(101.1 + 2 * STUCK_S) == 1
    assert look(101.2 + 2 * STUCK_S) == 1  # it is given time
    assert look(101.2 + 3 * STUCK_S) == 2
    recovery.in_recovery = False
    assert look(200.0) == look(300.0) == watch.n_restarts == 2
