"""Whether recorded schedules are whole, and how much of them has to be executed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Final

from streamer.protocols import PartitionImage, Schedule

NOTHING_COMMITTED: Final = (
    "the store holds no commit, so there is nothing to verify: see that store.url and"
    " store.key_prefix name the store that was learned into"
)

NOTHING_TO_EXECUTE: Final = "nothing was verified"
NOT_WHOLE: Final = (
    "the schedule of the store is not whole, so nothing was executed again: `streamer store verify"
    " --from-checkpoint` checks what was committed since the last checkpoints, and `streamer store"
    " rebuild` forgets what was learned, to learn it again from the topics"
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
    lost: Collection[int] = (),
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
    lost
        Partitions that are not executed: what they have seen is gone.
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
            entries = () if p in lost else schedules[p]
            for entry in entries[looked_at[p] - began[p] : until[p] - began[p]]:
                for q, version in (*entry.seen.items(), *entry.merged.items()):
                    until[q] = max(until[q], version)
            looked_at[p] = until[p]
    for p, schedule in schedules.items():
        last = schedule[-1].version if schedule else began[p]
        problems += _length(p, schedule, last, needed=until[p], latest=latest.get(p, 0))
    return until, problems


def went_back(
    schedules: Mapping[int, Sequence[Schedule]], latest: Mapping[int, int]
) -> dict[int, str]:
    """Return partition → why it can't be executed again, of those that have seen entries of another
    one which then lost them: it was set back to an older copy, or deleted.

    What a partition has seen of another one only grows, and no entry is seen before it is
    committed: by an entry, that is, which a later one of that partition has seen in turn.

    Parameters
    ----------
    latest
        Partition → version of the store, read after the schedules.
    """
    by_version = {
        p: {entry.version: entry for entry in schedule} for p, schedule in schedules.items()
    }
    found: dict[int, str] = {}
    lost: set[int] = set()

    def note(p: int, entry: Schedule, q: int, version: int) -> None:
        lost.add(q)
        found.setdefault(
            p,
            f"entry {entry.version} has seen entry {version} of partition {q}, which was lost: that"
            " partition was set back to an older copy since, or deleted",
        )

    for p, schedule in schedules.items():
        for before, entry in pairwise(schedule):
            for q, version in before.merged.items():
                if entry.seen.get(q, 0) < version:
                    note(p, before, q, version)
        for entry in schedule:
            for q, version in entry.merged.items():
                if version > latest.get(q, 0):
                    note(p, entry, q, version)
    known = frozenset(lost)
    for p, schedule in schedules.items():
        for entry in schedule:
            for q, version in entry.merged.items():
                other = by_version.get(q, {}).get(version)
                # Each has seen the other, which does not say whose entries are others than then.
                mirrored = q in known and p not in known
                if other and other.merged.get(p, 0) >= entry.version and not mirrored:
                    note(q, other, p, other.merged[p])
    return found


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
    partition: int,
    schedule: Sequence[Schedule],
    image: PartitionImage,
    topic: str,
    *,
    began: int,
    entries_max: int,
) -> list[str]:
    """Whether versions and offsets follow each other without a gap or an overlap, from 0."""
    if schedule and (first := schedule[0]).version != began + 1:
        if len(schedule) < entries_max:
            why = (
                f"and has {len(schedule):,} entries, of which none is trimmed below"
                f" store.schedule_entries_max = {entries_max:,}: older ones were deleted by"
                " something other than streamer (in Redis, of the key that ends with"
                f" {{{partition}}}:schedule), or trimmed when that maximum was lower"
            )
        else:
            why = "older entries were trimmed; raise store.schedule_entries_max to keep them"
        return [f"partition {partition}: the schedule starts at version {first.version}, {why}"]
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
