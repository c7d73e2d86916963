"""Copy what was learned from one store to another, of any kind."""

from __future__ import annotations

import uuid
from dataclasses import replace

from streamer.errors import StoreError
from streamer.protocols import Layout, ParameterStore, RestorableStore
from streamer.store.refusals import check_whole


def copy_store(source: ParameterStore, target: RestorableStore) -> dict[int, int]:
    """Write into an empty store what another has: settings, rows, log, schedule and offsets.

    Learners go on there at the same offsets of the same topics, and ``streamer store verify``
    executes the same schedule. The source is read into memory as a whole and not changed.

    The target's layout says that it is not whole until it is: nothing learns into a copy that was
    cut short, or serves it, and the same source can be copied again, which adds what is missing.

    Returns
    -------
    dict
        Partition → version of its last commit.

    Raises
    ------
    StoreError
        When the source has nothing, is itself a copy that is not finished or is being learned into,
        or the target has anything but a part of this copy.
    """
    layout, versions = source.layout(), source.versions()
    if layout is not None:
        check_whole(layout)
    if layout is None or not versions:
        raise StoreError("there is nothing to copy: no learner has committed to this store yet")
    copied = []
    for partition in versions:
        image = source.load(partition)
        recorded = [each for each in source.schedule(partition) if each.version <= image.version]
        copied.append((image, recorded))
    if source.versions() != versions:
        raise StoreError(
            "a learner committed while the store was read, so what was read is of no one moment:"
            " stop the learners, and ask again"
        )
    begun = replace(layout, copying=versions)
    present = _begin(target, begun)
    owner = f"copy-{uuid.uuid4().hex[:12]}"
    for image, recorded in copied:
        partition = image.checkpoint.partition
        if partition not in present:
            target.acquire(partition, owner)
            target.restore(image, recorded, owner=owner)
        elif list(target.schedule(partition)) != recorded:
            raise _not_empty()
    if not target.replace_layout(layout, expected=begun):
        raise StoreError(
            "the settings of the store were written by others while it was copied to: stop what"
            " uses it, and ask again with an empty one"
        )
    return versions


def _begin(target: ParameterStore, begun: Layout) -> dict[int, int]:
    """Claim an empty store, or one that the same copy was cut short in; return what it has."""
    if target.layout() != begun and (
        target.versions() or not target.replace_layout(begun, expected=None)
    ):
        raise _not_empty()
    return target.versions()


def _not_empty() -> StoreError:
    return StoreError("the store to copy to is not empty: name another one, or delete it")
