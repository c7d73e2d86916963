"""When a store says no: the same checks, in the same words, in every implementation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Final

from streamer.commit_ids import UNKNOWN, differ
from streamer.errors import (
    Fenced,
    LayoutMismatch,
    LogTrimmed,
    StoreError,
    StoreUnavailable,
    damaged,
)
from streamer.protocols import Checkpoint, Entry, Layout, PartitionImage, Schedule
from streamer.store.checked import check_ids
from streamer.store.layout import Progress
from streamer_models.state.table import TableSpec

FOLLOW_ENTRIES_MAX: Final = 128
"""Entries that one follow() returns at most (but one a partition)."""

_RELOAD = "what was learned of it and not committed is dropped, and it is loaded again"
_WENT_BACK = "since the store was replaced or restored from an older copy"


def check_commit(entry: Entry, *, owner: str, stored_owner: str | None, progress: Progress) -> None:
    """Raise Fenced unless ``entry`` of ``owner`` is the next one of its partition."""
    check_owner(entry.partition, owner=owner, stored_owner=stored_owner)
    if progress.version != entry.version - 1:
        raise fenced_by_version(entry, progress.version)
    if differ(progress.commit_id, entry.parent_id):
        raise Fenced(
            f"partition {entry.partition} has another commit at version {progress.version} than the"
            f" one before this entry, {_WENT_BACK}: {_RELOAD}"
        )
    for topic, (start, _) in entry.schedule.offsets.items():
        stored = progress.offsets.get(topic, start)
        if stored != start:
            raise fenced_by_offset(entry, topic, stored)


def check_checkpoint(
    checkpoint: Checkpoint,
    *,
    owner: str,
    stored_owner: str | None,
    version: int,
    checkpoint_version: int,
) -> None:
    """Raise Fenced unless ``owner`` may set the checkpoint to one between the stored versions."""
    check_owner(checkpoint.partition, owner=owner, stored_owner=stored_owner)
    if not checkpoint_version <= checkpoint.version <= version:
        raise fenced_checkpoint(checkpoint, checkpoint_version, version)


def check_owner(partition: int, *, owner: str, stored_owner: str | None) -> None:
    if stored_owner != owner:
        raise fenced_by_owner(partition, owner, stored_owner)


def check_never_committed(partition: int, version: int) -> None:
    """Raise Fenced where a partition has commits."""
    if version:
        raise Fenced(
            f"partition {partition} is at version {version}, and only one that was never committed"
            " can be restored; use an empty store"
        )


def fenced_by_owner(partition: int, owner: str, stored_owner: str | None) -> Fenced:
    held = "nobody" if stored_owner is None else repr(stored_owner)
    return Fenced(f"partition {partition} is held by {held}, not by {owner!r}: {_RELOAD}")


def fenced_by_version(entry: Entry, stored: int) -> Fenced:
    return Fenced(
        f"partition {entry.partition} is at version {stored}, so entry {entry.version} is not its"
        f" next: {_RELOAD}"
    )


def fenced_by_offset(entry: Entry, topic: str, stored: int) -> Fenced:
    return Fenced(
        f"partition {entry.partition} has taken {topic!r} up to offset {stored}, entry"
        f" {entry.version} starts at {entry.schedule.offsets[topic][0]}: {_RELOAD}"
    )


def check_eviction(policy: str, bytes_max: int, *, address: str) -> None:
    """Raise StoreError where a server drops parameters to make room for others."""
    if policy.startswith("allkeys") and bytes_max:
        raise StoreError(
            f"Redis at {address} drops any key when it holds {bytes_max} bytes (maxmemory-policy"
            f" {policy}), so parameters would be lost without a word: set maxmemory-policy"
            " noeviction, or give the store a server of its own"
        )


def ahead_of_version(entry: Entry, *, address: str) -> StoreError:
    return damaged(
        f"partition {entry.partition} of {address} is at version {entry.version - 1}, but its log"
        " holds later entries"
    )


def fenced_checkpoint(checkpoint: Checkpoint, checkpoint_version: int, version: int) -> Fenced:
    return Fenced(
        f"partition {checkpoint.partition} has a checkpoint at version {checkpoint_version} and"
        f" entries up to {version}, so it can't have one at {checkpoint.version}: {_RELOAD}"
    )


def check_followed(partition: int, after: int, version: int, found: Sequence[int]) -> None:
    """Raise LogTrimmed unless ``found`` begins with what comes next.

    Parameters
    ----------
    after
        Version that the follower has.
    version
        Version of the partition, read before ``found``.
    found
        Versions of the entries found in the log, beginning above ``after``.
    """
    if version < after:
        raise LogTrimmed(
            f"partition {partition} is at version {version}, the follower at {after},"
            f" {_WENT_BACK}; it is loaded again"
        )
    if found[0] != after + 1 if found else version > after:
        first = found[0] if found else version + 1
        raise LogTrimmed(
            f"partition {partition}: the follower is at version {after}, the log starts at {first};"
            " it is loaded again; raise store.log_entries_kept if this repeats"
        )
    for expected, version_found in enumerate(found, after + 1):
        if version_found != expected:
            raise LogTrimmed(
                f"partition {partition}: entry {expected} is missing from the log, which goes on"
                f" with {version_found}; it is loaded again"
            )


def check_ancestry(
    after: Mapping[int, int],
    commit_ids: Mapping[int, int],
    reached: Mapping[int, Progress],
    entries: Iterable[Entry],
) -> None:
    """Raise LogTrimmed where a follower has other commits than the store.

    Parameters
    ----------
    after, commit_ids
        As :meth:`streamer.protocols.ParameterStore.follow` takes them.
    reached
        Progress of partitions of the store.
    entries
        What the store has behind ``after``.
    """
    last = dict(commit_ids)
    for entry in entries:
        if differ(last.get(entry.partition, UNKNOWN), entry.parent_id):
            raise _other_history(entry.partition, entry.version - 1)
        last[entry.partition] = entry.commit_id
    for partition, progress in reached.items():
        version = after[partition]
        known = commit_ids.get(partition, UNKNOWN)
        if progress.version == version and differ(known, progress.commit_id):
            raise _other_history(partition, version)


def _other_history(partition: int, version: int) -> LogTrimmed:
    return LogTrimmed(
        f"partition {partition} has another commit at version {version} than the follower,"
        f" {_WENT_BACK}; it is loaded again"
    )


def check_image(
    image: PartitionImage,
    progress: Progress,
    layout: Layout | None,
    *,
    address: str,
    version_max: int | None = None,
) -> None:
    """Raise StoreError unless checkpoint and log are one unbroken record of ``progress``.

    Parameters
    ----------
    progress
        Of the partition, read before ``image``, which may hold later commits too.
    layout
        By which ``image`` was loaded.
    version_max
        Version of the partition, read after ``image``; None: nothing was committed meanwhile.
    """
    checkpoint = image.checkpoint
    check_sizes(checkpoint, address=address)
    check_ids(checkpoint, layout, address=address)
    partition, at = checkpoint.partition, Progress.of(checkpoint)
    if layout is not None and not 0 <= image.generation <= layout.newest:
        raise damaged(
            f"partition {partition} of {address} is of generation {image.generation} of the"
            f" settings, and the layout ends with {layout.newest}"
        )
    reached = at if at.version == progress.version else None
    for entry in image.entries:
        if entry.version != at.version + 1:
            raise damaged(
                f"partition {partition} of {address}: entry {at.version + 1} is missing from the"
                f" log, which goes on with entry {entry.version} after a checkpoint at version"
                f" {checkpoint.version}"
            )
        check_parent(entry, at.commit_id, address=address)
        at = at.after(entry)
        if at.version == progress.version:
            reached = at
    if reached is not None and differ(reached.commit_id, progress.commit_id):
        raise damaged(
            f"partition {partition} of {address} is at version {progress.version} of other commits"
            " than its checkpoint and its log"
        )
    if at.version < progress.version:
        raise damaged(
            f"partition {partition} of {address} is at version {progress.version}, but its"
            f" checkpoint is at {checkpoint.version} and its log ends with entry {at.version}:"
            f" entry {at.version + 1} is missing"
        )
    if reached is None or at.version > (progress.version if version_max is None else version_max):
        raise damaged(
            f"partition {partition} of {address} is at version {progress.version}, but its"
            f" checkpoint is at {checkpoint.version} and its log ends with entry {at.version}"
        )
    # A topic that is read no longer is in the progress alone.
    offsets = {topic: progress.offsets.get(topic, 0) for topic in reached.offsets}
    for what, stored, recorded in (
        ("position", offsets, reached.offsets),
        ("watermark", progress.watermark_ms, reached.watermark_ms),
    ):
        if stored != recorded:
            raise damaged(
                f"partition {partition} of {address}: its {what} at version {progress.version}"
                f" is {stored}, by its checkpoint and its log {recorded}"
            )


def check_parent(entry: Entry, last_id: int, *, address: str) -> None:
    """Raise StoreError where an entry was committed after another one than the log's last."""
    if differ(last_id, entry.parent_id):
        raise damaged(
            f"entry {entry.version} of partition {entry.partition} of {address} was committed after"
            f" another entry {entry.version - 1} than its log has"
        )


def check_log(
    partition: int, entries: Iterable[Entry], progress: Progress, *, address: str
) -> dict[int, Schedule]:
    """Return version → what each entry of a whole log was learned from.

    Raises
    ------
    StoreError
        Unless it is without a gap and ends at ``progress`` or later.
    """
    last, last_id, found = None, UNKNOWN, {}
    for entry in entries:
        if last is not None and entry.version != last + 1:
            raise damaged(
                f"partition {partition} of {address}: entry {last + 1} is missing from the log,"
                f" which goes on with entry {entry.version}"
            )
        check_parent(entry, last_id, address=address)
        last, last_id = entry.version, entry.commit_id
        found[last] = entry.schedule
    if last is not None and last < progress.version:
        raise damaged(
            f"partition {partition} of {address} is at version {progress.version}, and its log ends"
            f" with entry {last}"
        )
    return found


def check_recorded(
    partition: int,
    logged: Mapping[int, Schedule],
    checkpoint: Progress,
    recorded: Iterable[Schedule],
    *,
    address: str,
) -> None:
    """Raise StoreError where the schedule says otherwise than the log of one entry, or than the
    checkpoint of its generation."""
    for schedule in recorded:
        what = f"partition {partition} of {address}: the schedule of entry {schedule.version}"
        if logged.get(schedule.version, schedule) != schedule:
            raise damaged(f"{what} is not that in the log")
        if schedule.version == checkpoint.version and schedule.generation != checkpoint.generation:
            raise damaged(
                f"{what} is of generation {schedule.generation} of the settings, the checkpoint at"
                f" this version of {checkpoint.generation}"
            )


def check_sizes(checkpoint: Checkpoint, *, address: str) -> None:
    """Raise StoreError unless a loaded checkpoint has all rows and names that were written."""
    found = {f"names:{entity}": len(keys) for entity, (keys, _) in checkpoint.names.items()}
    found |= {name: len(rows) for name, rows in checkpoint.tables.items()}
    for name, n in checkpoint.sizes.items():
        if found.get(name, 0) != n:
            what = name if name.startswith("names:") else f"rows:{name}"
            raise damaged(
                f"partition {checkpoint.partition} of {address}: {what} has {found.get(name, 0):,}"
                f" of {n:,} entries that its checkpoint at version {checkpoint.version} left"
            )


def check_whole(layout: Layout) -> None:
    """Raise StoreError where a store is a copy of which partitions may still be missing, and
    StoreUnavailable where it is being forgotten, and some may still be there."""
    if layout.forgetting:
        raise StoreUnavailable(
            "what the store has learned is being forgotten: `streamer store rebuild` has not ended"
            " yet, or was cut short; give the same command again, which forgets the rest"
        )
    if layout.copying:
        raise StoreError(
            "the store is a copy that is not finished: `streamer store import` has not ended yet,"
            " or was cut short; give it the same file again, which copies what is missing, or"
            " forget what is there with `streamer store rebuild` and learn again from the topics"
        )


def check_layout(stored: Layout, asked: Layout, *, address: str) -> None:
    """Raise LayoutMismatch unless both are equal."""
    differences = [
        f"{field.name} is {getattr(stored, field.name)!r}, asked for {getattr(asked, field.name)!r}"
        for field in fields(Layout)
        if field.name not in ("tables", "topic_ids")
        and getattr(stored, field.name) != getattr(asked, field.name)
    ]
    differences += _table_differences(
        {spec.name: spec for spec in stored.tables}, {spec.name: spec for spec in asked.tables}
    )
    if not differences and stored.tables != asked.tables:
        differences = ["the order of the tables"]
    if differences:
        raise LayoutMismatch(
            f"the store at {address} was written with other settings: {'; '.join(differences)}."
            " Go back to the settings it was written with, or use an empty store (another path or"
            " key prefix) and learn again from the topics"
        )


def _table_differences(
    stored: Mapping[str, TableSpec], asked: Mapping[str, TableSpec]
) -> list[str]:
    return [
        f"table {name} is {_words(a)}, asked for {_words(b)}"
        for name in sorted(stored.keys() | asked.keys())
        if (a := stored.get(name)) != (b := asked.get(name))
    ]


def _words(spec: TableSpec | None) -> str:
    return f"{spec.merge} {spec.dtype} × {spec.width} by {spec.entity}" if spec else "absent"


def no_layout(place: str) -> LayoutMismatch:
    """The error of a write into a store whose layout is not there."""
    return LayoutMismatch(
        f"{place} is not there: it says what the tables of the store are, so nothing can be written"
        " to them. Something other than streamer deleted it: restore a copy of the store, or forget"
        " what it has with `streamer store rebuild` and learn again from the topics"
    )
