"""Faust's view of records on a worker's disk.

Faust has a store over RocksDB of its own, which would not do. It writes a record before the broker
has it, so after a crash a worker would count as done what no other worker could know of. And it
writes how far a copy is apart from the records, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from faust.stores.base import SerializedStore
from faust.types import TP, EventT

from streamer.faust_worker.changes import change_read

if TYPE_CHECKING:
    from streamer.faust_worker.local_records import LocalRecords


class RocksStore(SerializedStore[bytes, bytes]):
    """A table's records, raw bytes both, in a worker's :class:`LocalRecords`."""

    def __init__(self, *args: Any, records: LocalRecords, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._records = records

    # --- partitions ------------------------------------------------------------------------------

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Hold what is assigned, before Faust asks how far it is."""
        topics = self.table.changelog_topic.topics
        self._records.hold({tp.partition for tp in assigned if tp.topic in topics})

    def persisted_offset(self, tp: TP) -> int | None:
        return self._records.offset(tp.partition)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Nothing: it is written together with the records it covers."""

    def apply_changelog_batch(
        self,
        batch: Iterable[EventT[Any]],
        to_key: Callable[[Any], bytes],
        to_value: Callable[[Any], bytes],
    ) -> None:
        self._records.replay([change_read(each.message) for each in batch])

    # --- records ---------------------------------------------------------------------------------

    def _get(self, key: bytes) -> bytes | None:
        return self._records.get(key)

    def _set(self, key: bytes, value: bytes | None) -> None:
        self._records.put(key, value)

    def _del(self, key: bytes) -> None:
        self._records.put(key, None)

    def _contains(self, key: bytes) -> bool:
        return self._records.get(key) is not None

    def _iterkeys(self) -> Iterator[bytes]:
        return iter(self._records)

    def _iteritems(self) -> Iterator[tuple[bytes, bytes]]:
        for key in self._records:
            value = self._records.get(key)
            assert value is not None, "it is one of its keys"
            yield key, value

    def _itervalues(self) -> Iterator[bytes]:
        return (value for _, value in self._iteritems())

    def _size(self) -> int:
        return sum(1 for _ in self._records)

    def _clear(self) -> None:
        for key in list(self._records):
            self._records.put(key, None)

    # --- what nothing here asks for --------------------------------------------------------------

    def reset_state(self) -> None:
        raise NotImplementedError("delete the folder of a worker that does not run")

    async def backup_partition(
        self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        raise NotImplementedError("the changelog topic is the backup")

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        raise NotImplementedError("the changelog topic is the backup")
