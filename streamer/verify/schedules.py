"""Whether recorded schedules are whole, and how much of them has to be executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from streamer.protocols import PartitionImage, Schedule

NOTHING_COMMITTED: Final = (
    "the store holds no commit, so there is nothing to verify: see that store.url and"
    " store.key_prefix name the store that was learned into"
)


def began_at(schedule: Sequence[Schedule], image: PartitionImage) -> int:
    """Return the version with which a partition began: 0, or where it was rebuilt.

    A rebuilt partition goes on counting versions, and takes every topic from its first offset.
    """
    if not schedule:
        return 0 if image.offsets else image.version
    first = schedule[0]
    return first.version - 1 if all(start == 0 for start, _ in first.offsets.values()) else 0


def needed(
    schedules: Mapping[int, Sequence[Schedule]],
    versions: Mapping[int, int],
    latest: Mapping[int, int],
    *,
    began: Mapping[int, int],
    topics: Sequence[str],
    n_generations: int,
) -> tuple[dict[int, int], list[str]]:
    """Return the versions to execute up to, and what the schedules lack for that.

    They are those loaded, and what entries up to there have seen: a partition that was loaded late
    may have seen what one loaded early had not yet committed.

    Parameters
    ----------
    versions
        Partition → version loaded.
    latest
        Partition → version of the store, read after the schedules.
    began
        Partition → version with which it began.
    """
    if not any(schedules.values()) and not any(versions.values()):
        return dict(versions), [NOTHING_COMMITTED]
    problems = []
    for p, schedule in schedules.items():
        for entry in schedule:
            others = sorted({*entry.seen, *entry.merged} - (schedules.keys() - {p}))
            unknown = sorted(set(entry.offsets) - set(topics))
            if others or unknown or not 0 <= entry.generation < n_generations:
                problems.append(
                    f"partition {p}: entry {entry.version} of the schedule names what the store"
                    f" does not have: partitions {others}, topics {unknown}, generation"
                    f" {entry.generation} of {n_generations}"
                )
                break
    until = dict(versions)
    if problems:
        return until, problems
    looked_at = dict(began)
    while behind := [p for p in until if looked_at[p] < until[p]]:
        for p in behind:
            for entry in schedules[p][looked_at[p] - began[p] : until[p] - began[p]]:
                for q, version in (*entry.seen.items(), *entry.merged.items()):
                    until[q] = max(until[q], version)
            looked_at[p] = until[p]
    for p, schedule in schedules.items():
        last = schedule[-1].version if schedule else began[p]
        problems += _length(p, schedule, last, needed=until[p], latest=latest.get(p, 0))
    return until, problems


def _length(
    partition: int, schedule: Sequence[Schedule], last: int, *, needed: int, latest: int
) -> list[str]:
    """What the schedule lacks of the store's entries, or the store of the schedule's."""
    if last < needed:
        kept = f"ends with entry {last}" if schedule else "is empty"
        return [
            (
                f"partition {partition}: the schedule {kept}, but there are entries up to {needed}:"
                f" entry {last + 1} and those after it can't be executed again"
            )
        ]
    if last > latest:
        return [
            (
                f"partition {partition}: the schedule ends with entry {last}, but the store is at"
                f" version {latest}: what was learned from entry {latest + 1} on is missing"
            )
        ]
    return []


def coverage(
    partition: int, schedule: Sequence[Schedule], image: PartitionImage, topic: str, *, began: int
) -> list[str]:
    """Whether versions and offsets follow each other without a gap or an overlap, from 0."""
    if schedule and (first := schedule[0]).version != began + 1:
        return [
            (
                f"partition {partition}: the schedule starts at version {first.version}, older"
                " entries were trimmed; raise store.schedule_entries_max to keep them"
            )
        ]
    at = 0
    for expected, entry in enumerate(schedule, start=began + 1):
        start, end = entry.offsets.get(topic, (at, at))
        empty = all(first == last for first, last in entry.offsets.values())
        empty = empty and not entry.catalogue  # by which deleted items may have been forgotten
        if entry.version != expected or start != at or end < start or empty:
            return [
                (
                    f"partition {partition}: entry {entry.version} takes offsets [{start}, {end})"
                    f" of {topic}, but entry {expected} should start at {at}"
                )
            ]
        at = end
        if entry.version == image.version and at != image.offsets.get(topic, at):
            return [
                (
                    f"partition {partition}: the schedule ends at offset {at} of {topic}, the store"
                    f" says {image.offsets[topic]}"
                )
            ]
    return []
