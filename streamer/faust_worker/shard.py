"""The windows of one partition of the state, and the records from which they come back.

Every sum is a record of a table, under the partition of the state, its series, its entity and its
pane; a record holds the sum together with the last offset of each partition of the events that went
into it. A contribution whose offset is not beyond that is in the sum already and is passed over. So
a message that is handled again after a crash changes nothing, whatever part of it had been kept:
what is counted is counted exactly once though messages come at least once.

That needs offsets to rise within what a partition of the events sends to a record, which holds:
bundles are sent in order, and a worker that takes over begins no later than where the last one
stopped. A record is deleted only when its windows are closed, and then what comes again is late.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, MutableMapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.config import FeatureDefinition
from streamer.events import EventTypes
from streamer.faust_worker.bundles import Bundle, Received, partition_of_entity, received, rising
from streamer.windows.engine import Ended, FeatureEngine
from streamer.windows.entities import Contributions
from streamer.windows.series import Series
from streamer.windows.watermark import Watermark
from streamer_models.windows.distinct import Sketch
from streamer_models.windows.sessions import Sessions

log = logging.getLogger(__name__)

Table = MutableMapping[bytes, bytes]
_Cell = tuple[str, int]
"""Entity and pane."""
_WATERMARK: Final = "watermark"


class _Key(msgspec.Struct, frozen=True, array_like=True):
    """Of a record; pane 0 holds all open sessions of an entity."""

    partition: int
    series: str
    id: str = ""
    pane: int = 0


class _Record(msgspec.Struct, array_like=True):
    """What is kept: sums, or sessions row by row, or a sketch; and who has been counted."""

    offsets: dict[int, int]
    amounts: list[list[int]] = msgspec.field(default_factory=list)
    sketch: bytes = b""


_encoder = msgspec.msgpack.Encoder()
_decode_key = msgspec.msgpack.Decoder(_Key).decode
_decode_record = msgspec.msgpack.Decoder(_Record).decode
_decode_watermark = msgspec.msgpack.Decoder(int).decode


class Shard:
    """State of one partition; not for several threads.

    Parameters
    ----------
    sources
        Partitions of the events: the watermark waits for all of them that are not idle.
    table
        Where records are kept; those of other partitions are left alone.
    """

    def __init__(
        self,
        partition: int,
        definitions: list[FeatureDefinition],
        types: EventTypes,
        *,
        n_partitions: int,
        sources: Collection[int],
        cells_max: int,
        table: Table,
    ) -> None:
        self.partition = partition
        self.engine = FeatureEngine(
            definitions,
            types,
            cells_max=cells_max,
            owns=lambda entity, each: partition == partition_of_entity(entity, each, n_partitions),
        )
        self._types = types
        self._table = table
        self._watermark = Watermark(sources)
        self._series = {each.name: each for each in self.engine.series}

    # --- taking ----------------------------------------------------------------------------------

    def take(self, *bundles: Bundle) -> None:
        """Count what has not been counted, and note how far the events have come."""
        for group in rising(bundles):
            for given in received(group, self._types):
                for series in self.engine.series:
                    if series.spec.entity == given.contributions.entity:
                        self._count(series, given)
        for each in bundles:
            self._watermark.note(each.source, each.latest_ms, idle=each.idle, at_ms=each.at_ms)

    @property
    def watermark_ms(self) -> int:
        """Time that all partitions of the events have reached; -1: not known."""
        return self._watermark.at_ms

    def _count(self, series: Series, given: Received) -> None:
        relevant = series.relevant(given.contributions)
        if not relevant.any():
            return
        given = given.take(relevant)
        cells, at = _cells(series, given.contributions)
        keys = [self._key(series, entity_id, pane) for entity_id, pane in cells]
        records = [self._read(key) for key in keys]
        # How far each source has come in each record.
        n_sources = int(given.sources.max()) + 1
        pairs, of_pair = np.unique(at * n_sources + given.sources, return_inverse=True)
        ways = [divmod(pair, n_sources) for pair in pairs.tolist()]
        reached = np.array([records[cell].offsets.get(source, -1) for cell, source in ways])
        fresh = given.offsets > reached[of_pair]
        if not fresh.any():
            return
        taken = fresh.copy()
        taken[fresh] = series.add(given.contributions.take(fresh))
        if not taken.any():
            return
        np.maximum.at(reached, of_pair[taken], given.offsets[taken])
        for (cell, source), offset in zip(ways, reached.tolist(), strict=True):
            if offset >= 0:
                records[cell].offsets[source] = offset
        self._bring_up(series, given.contributions.take(taken), cells, at[taken], records)
        for cell in np.unique(at[taken]).tolist():
            self._table[keys[cell]] = _encoder.encode(records[cell])

    def _key(self, series: Series, entity_id: str, pane: int) -> bytes:
        return _encoder.encode(_Key(self.partition, series.name, entity_id, pane))

    def _read(self, key: bytes) -> _Record:
        kept = self._table.get(key)
        return _Record({}) if kept is None else _decode_record(kept)

    def _bring_up(
        self,
        series: Series,
        taken: Contributions,
        cells: list[_Cell],
        at: NDArray[np.int64],
        records: list[_Record],
    ) -> None:
        """Bring records up to the state of the series, which has taken these contributions."""
        touched = np.unique(at).tolist()
        if series.panes is not None:
            weighed = series.panes.window.weighed(taken.ts_ms, series.amounts(taken))
            added = np.zeros((len(cells), weighed.shape[1]), np.int64)
            np.add.at(added, at, weighed)
            for cell, amounts in zip(touched, added[touched].tolist(), strict=True):
                record = records[cell]
                before = record.amounts[0] if record.amounts else [0] * len(amounts)
                record.amounts = [[a + b for a, b in zip(before, amounts, strict=True)]]
        elif series.sketches is not None:
            for cell in touched:
                entity_id, pane = cells[cell]
                sketch = series.sketches.find(series.ids.row(entity_id), pane)
                assert sketch is not None, "what was taken is kept"
                records[cell].sketch = sketch.to_bytes()
        else:
            rows = _session_rows(series, [cells[cell][0] for cell in touched])
            for cell in touched:
                records[cell].amounts = rows[cells[cell][0]]

    # --- closing ---------------------------------------------------------------------------------

    def close(self) -> Ended:
        """End the windows that the watermark allows; publish the results, then :meth:`forget`."""
        return self.engine.close(self.watermark_ms)

    def forget(self, ended: Ended) -> None:
        """Note that the results are published, and delete what no window needs any more.

        Until the watermark is noted, a crash publishes the same results again.
        """
        watermark = _encoder.encode(_Key(self.partition, _WATERMARK))
        self._table[watermark] = _encoder.encode(self.watermark_ms)
        for series, pane, entity_id in ended.dropped:
            self._delete(self._key(series, entity_id, pane))
        over: dict[Series, dict[str, None]] = {}
        for series, entity_id in ended.sessions:
            over.setdefault(series, {})[entity_id] = None
        for series, entity_ids in over.items():
            for entity_id, rows in _session_rows(series, entity_ids).items():
                key = self._key(series, entity_id, 0)
                if rows:
                    record = self._read(key)
                    record.amounts = rows
                    self._table[key] = _encoder.encode(record)
                else:
                    self._delete(key)

    def _delete(self, key: bytes) -> None:
        if key in self._table:
            del self._table[key]

    # --- coming back -----------------------------------------------------------------------------

    def restore(self, kept: Sequence[bytes]) -> int:
        """Take up records of this partition, by their keys; those of no series are deleted.

        Returns
        -------
        int
            How many were deleted since they are no records: another program writes to their topic.
        """
        n_unreadable = 0
        watermark = self._table.get(_encoder.encode(_Key(self.partition, _WATERMARK)))
        if watermark is not None:
            try:
                self._watermark.at_ms = _decode_watermark(watermark)
            except (msgspec.MsgspecError, ValueError) as error:
                n_unreadable += self._delete_unreadable(_Key(self.partition, _WATERMARK), error)
            self.engine.close(self.watermark_ms)  # what was closed stays closed
        for raw_key in kept:
            key = _decode_key(raw_key)
            series = self._series.get(key.series)
            if series is not None:
                try:
                    _restore(series, key, _decode_record(self._table[raw_key]))
                except (msgspec.MsgspecError, ValueError, OverflowError, IndexError) as error:
                    n_unreadable += self._delete_unreadable(key, error)
            elif key.series != _WATERMARK:
                del self._table[raw_key]
        return n_unreadable

    def _delete_unreadable(self, key: _Key, error: Exception) -> int:
        """Delete what is no record, and say so; its sum begins anew."""
        log.error(
            "record_unreadable %s of %r is no record (%s) and begins anew: does another program"
            " write to the changelog topic?",
            key.series,
            key.id,
            error,
            extra={"partition": key.partition, "pane": key.pane},
        )
        del self._table[_encoder.encode(key)]
        return 1


def keys_by_partition(table: Iterable[bytes]) -> dict[int, list[bytes]]:
    """The keys of a table's records, by partition of the state; what is no key is passed over."""
    found: dict[int, list[bytes]] = {}
    for raw_key in table:
        try:
            partition = _decode_key(raw_key).partition
        except (msgspec.MsgspecError, ValueError):
            log.error("record_unreadable %r is no key of a record", raw_key[:256])
            continue
        found.setdefault(partition, []).append(raw_key)
    return found


def _cells(series: Series, given: Contributions) -> tuple[list[_Cell], NDArray[np.int64]]:
    """The distinct cells of contributions, and ``(n,)`` the place of each one's cell among them."""
    panes: NDArray[np.int64] = np.zeros(len(given), np.int64)
    if series.window is not None:
        panes = series.window.panes(given.ts_ms)
    places: dict[_Cell, int] = {}
    at = [
        places.setdefault(cell, len(places)) for cell in zip(given.ids, panes.tolist(), strict=True)
    ]
    return list(places), np.array(at, np.int64)


def _session_rows(series: Series, entity_ids: Iterable[str]) -> dict[str, list[list[int]]]:
    """First and last time and sums of each open session of some entities."""
    rows_of: dict[str, list[list[int]]] = {entity_id: [] for entity_id in entity_ids}
    known = [row for each in rows_of if (row := series.ids.find(each)) is not None]
    if series.sessions is None or not known:
        return rows_of
    found = series.sessions.of(np.array(known))
    columns = (found.first_ms[:, None], found.last_ms[:, None], found.sums)
    for row, kept in zip(
        found.rows.tolist(), np.concatenate(columns, axis=1).tolist(), strict=True
    ):
        rows_of[series.ids[row]].append(kept)
    return rows_of


def _restore(series: Series, key: _Key, record: _Record) -> None:
    row = series.ids.row(key.id)
    amounts = np.array(record.amounts, np.int64)
    if series.panes is not None:
        series.panes.restore(np.array([row]), np.array([key.pane]), amounts)
    elif series.sketches is not None:
        series.sketches.restore(row, key.pane, Sketch.from_bytes(record.sketch))
    elif series.sessions is not None:
        rows = np.full(len(amounts), row, np.int64)
        series.sessions.restore(Sessions(rows, amounts[:, 0], amounts[:, 1], amounts[:, 2:]))
