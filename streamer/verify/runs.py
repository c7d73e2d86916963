"""Re-execution of all partitions, each entry after those that it has seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from streamer.protocols import Schedule
from streamer.verify.execution import Run
from streamer_models.state.table import Change

Changes = dict[tuple[int, int], Change]
"""(partition, version) → what it changed."""


def execute_all(
    runs: Mapping[int, Run], schedules: Mapping[int, Sequence[Schedule]], changes: Changes
) -> Iterator[tuple[int, Schedule, Change | str]]:
    """Execute what can be; yield partition, entry, and its change or what went wrong.

    A partition in which something went wrong stops there, and so do those that have seen what
    would have come after it.

    Parameters
    ----------
    schedules
        Partition → entries without a gap, which may begin before those to be executed.
    changes
        Those that are given; what is executed is added, and dropped once every run has applied it.
    """
    stopped: set[int] = set()
    while runnable := [p for p in runs if p not in stopped and _is_runnable(p, runs, schedules)]:
        for p in runnable:
            entry = _next(runs[p], schedules[p])
            assert entry is not None
            outcome = runs[p].execute(entry, changes)
            if isinstance(outcome, str):
                stopped.add(p)
            else:
                changes[p, entry.version] = outcome
            yield p, entry, outcome
        stopped |= {p for p in runs if _waits_for_others(p, runs, schedules, stopped)}
        going_on = {p: run for p, run in runs.items() if not run.finished and p not in stopped}
        done = {p: run.version for p, run in runs.items()}
        for p, run in going_on.items():
            if (entry := _next(run, schedules[p])) is not None:
                run.catch_up(entry, done, changes)
        for q, version in list(changes):
            if all(run.applied.get(q, 0) >= version for p, run in going_on.items() if p != q):
                del changes[q, version]


def _next(run: Run, schedule: Sequence[Schedule]) -> Schedule | None:
    if run.finished or not schedule or schedule[-1].version <= run.version:
        return None
    return schedule[run.version + 1 - schedule[0].version]


def _lacks(
    p: int, runs: Mapping[int, Run], schedules: Mapping[int, Sequence[Schedule]]
) -> set[int]:
    """Return partitions of which the next entry has seen more than was executed."""
    entry = _next(runs[p], schedules[p])
    seen = () if entry is None else (*entry.seen.items(), *entry.merged.items())
    return {q for q, v in seen if v > (runs[q].version if q in runs else runs[p].applied.get(q, 0))}


def _is_runnable(
    p: int, runs: Mapping[int, Run], schedules: Mapping[int, Sequence[Schedule]]
) -> bool:
    return _next(runs[p], schedules[p]) is not None and not _lacks(p, runs, schedules)


def _waits_for_others(
    p: int,
    runs: Mapping[int, Run],
    schedules: Mapping[int, Sequence[Schedule]],
    stopped: set[int],
) -> bool:
    return any(q not in runs or q in stopped for q in _lacks(p, runs, schedules))
