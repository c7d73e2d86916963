"""The table of the state, whose changes count as kept when the broker has them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import faust
from faust.types.tuples import FutureMessage

from streamer.faust_worker.changes import change_sent
from streamer.faust_worker.rocks_store import RocksStore

if TYPE_CHECKING:
    from streamer.faust_worker.local_records import LocalRecords


class AcknowledgedTable(faust.Table[bytes, bytes]):
    """A table that knows which of its changes the broker does not have yet.

    Parameters
    ----------
    records
        On disk, where they are not in memory: what the broker has is written there.
    """

    def __init__(self, *args: Any, records: LocalRecords | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._records = records
        self._sent: list[FutureMessage] = []

    def _new_store_by_url(self, url: Any) -> Any:
        if self._records is None:
            return super()._new_store_by_url(url)
        return RocksStore("rocksdb://", self.app, self, records=self._records, loop=self.loop)

    def send_changelog(self, *args: Any, **kwargs: Any) -> Any:
        sent = super().send_changelog(*args, **kwargs)
        self._sent.append(sent)
        return sent

    async def acknowledged(self) -> None:
        """Wait for the broker; raise what it refuses."""
        sent, self._sent = self._sent, []
        await asyncio.gather(*sent)
        if self._records is not None:
            self._records.settle([change_sent(each) for each in sent])
