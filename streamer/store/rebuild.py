"""Forget what a store has learned, under its fencing, so that it is learned again."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from streamer.errors import StoreError
from streamer.protocols import Layout, ParameterStore
from streamer.store.agreement import agree, goes_on

_ATTEMPTS: Final = 3
"""A learner that was fenced off joins again after a second; forgetting takes less."""


def forget_partition(store: ParameterStore, partition: int, asked: Layout, *, owner: str) -> None:
    """Forget one partition; the others, and the settings, stay.

    Raises
    ------
    LayoutMismatch, TopicMismatch
        Where the store can't be learned into under these settings: all of it is forgotten then, or
        nothing.
    """
    agree(store, asked, may_change=False)
    store.acquire(partition, owner)
    store.forget(partition, owner=owner)


def forget_all(store: ParameterStore, asked: Layout, *, owner: str) -> None:
    """Forget every partition, and the settings where they are not those asked for.

    All learners are fenced off first, so nothing that was learned from a partition before it was
    forgotten is committed after it. Meanwhile the layout says so: where this is cut short, nothing
    goes on with the partitions that are left, until the same is done again.

    Raises
    ------
    StoreError
        Where learners went on to commit meanwhile, at each of several attempts.
    """
    for _ in range(_ATTEMPTS):
        stored = store.layout()
        kept = asked if stored is None else replace(stored, forgetting=False)
        begun = replace(kept, forgetting=True)
        if stored != begun and not store.replace_layout(begun, expected=stored):
            continue  # others have written it
        n = max(asked.n_partitions, kept.n_partitions)
        partitions = sorted({*range(n), *store.versions()})
        for partition in partitions:
            store.acquire(partition, owner)
        for partition in partitions:
            store.forget(partition, owner=owner)
        # A commit in between may have been learned from a partition that was forgotten after it.
        if any(store.load(partition).offsets for partition in partitions):
            continue
        left = kept if goes_on(kept, asked) else asked
        if store.replace_layout(left, expected=begun):
            return
    raise StoreError(
        f"learners went on to commit at each of {_ATTEMPTS} attempts to forget all partitions: stop"
        " them, and ask again"
    )
