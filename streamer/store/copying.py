"""Copy what was learned from one store to another, of any kind."""

from __future__ import annotations

import uuid

from streamer.errors import StoreError
from streamer.protocols import ParameterStore, RestorableStore


def copy_store(source: ParameterStore, target: RestorableStore) -> dict[int, int]:
    """Write into an empty store what another has: settings, rows, log, schedule and offsets.

    Learners go on there at the same offsets of the same topics, and ``streamer store verify``
    executes the same schedule. The source is read into memory as a whole and not changed.

    Returns
    -------
    dict
        Partition → version of its last commit.

    Raises
    ------
    StoreError
        When the source has nothing or is being learned into, or the target is not empty.
    """
    layout, versions = source.layout(), source.versions()
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
    if target.versions() or not target.replace_layout(layout, expected=None):
        raise StoreError("the store to copy to is not empty: name another one, or delete it")
    owner = f"copy-{uuid.uuid4().hex[:12]}"
    for image, recorded in copied:
        target.acquire(image.checkpoint.partition, owner)
        target.restore(image, recorded, owner=owner)
    return versions
