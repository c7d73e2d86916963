"""All readable tables merged over all partitions: what the follower of their commits writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from streamer.replica.id_rows import IdRows, IdView, IndexRows
from streamer.replica.list_rows import ListTable
from streamer.replica.merged_table import MergedTable, TableView
from streamer.replica.tables import Tables
from streamer_models.state.ids.id_table import IdTable
from streamer_models.state.model import Model
from streamer_models.state.readable import Readable, ReadLists
from streamer_models.state.table import (
    ID_ENTITIES,
    ITEM,
    USER,
    Change,
    IdChange,
    Keys,
    Rows,
    check_specs,
)

_NO_KEYS = np.zeros(0, dtype=np.uint64)

Views = dict[str, list[tuple[Readable, TableView]]]
_AnyTable = MergedTable | ListTable


class MergedState:
    """Merged rows of every table that the models declare readable, and of users' last events.

    For the follower thread alone, but for what :meth:`publish` makes. Partitions may be read in any
    order, each partition's commits in theirs. Where a foreign producer spread one user over several
    partitions, the last write to a row counts.

    Parameters
    ----------
    models
        Whose tables are read, and who say what new rows start from.

    Raises
    ------
    ValueError
        Where a model declares a table that it does not have.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        tables: list[_AnyTable] = [MergedTable(IdTable.readable(USER), None)]
        for model in models:
            specs = model.tables()
            for reading in model.readable():
                if reading.spec not in specs:
                    raise ValueError(
                        f"{type(model).__name__} declares {reading}, which is none of its tables"
                    )
                tables.append(_table(reading, model))
        check_specs(list(dict.fromkeys(table.spec for table in tables)))
        self._entities = {entity: _Ids(entity) for entity in (USER, ITEM)}
        self._indices: dict[str, _Indices] = {}
        self._of: dict[str, _Ids | _Indices] = {}
        for table in tables:
            self._of[table.spec.name] = self._rows_of(table)

    def _rows_of(self, table: _AnyTable) -> _Ids | _Indices:
        entity, name = table.spec.entity, table.spec.name
        if entity not in ID_ENTITIES:
            index = self._indices.setdefault(name, _Indices())
            index.tables.append(table)
            return index
        ids = self._entities.setdefault(entity, _Ids(entity))
        ids.tables.setdefault(name, []).append(table)
        return ids

    def load(
        self,
        partition: int,
        names: Mapping[str, tuple[Keys, tuple[bytes, ...]]],
        tables: Mapping[str, Rows],
    ) -> None:
        """Take a partition's checkpoint: its ids by entity, and its rows in full."""
        for entity, (keys, id_names) in names.items():
            if entity in self._entities:
                self._entities[entity].admit(IdChange(keys, id_names, _NO_KEYS))
        for name, rows in tables.items():
            if name in self._of and len(rows):
                self._of[name].load(partition, name, rows)

    def apply(self, partition: int, change: Change) -> None:
        """Take a commit: withdrawals, then ids dropped and admitted, then what was learned."""
        self._add(partition, change.withdrawn)
        for entity, ids in change.ids.items():
            if entity in self._entities:
                self._entities[entity].release(partition, ids.removed)
                self._entities[entity].admit(ids)
        self._add(partition, change.tables)

    def _add(self, partition: int, tables: Mapping[str, Rows]) -> None:
        for name, rows in tables.items():
            if name in self._of and len(rows):
                self._of[name].add(partition, name, rows)

    def publish(self, watermark_ms: int) -> Tables:
        """All rows as they are now, immutable; only what changed is copied."""
        ids: dict[str, IdView] = {}
        views: Views = {}
        for entity, of_entity in self._entities.items():
            ids[entity] = of_entity.publish(watermark_ms, views)
        for name, index in self._indices.items():
            ids[name] = index.publish(watermark_ms, views)
        return Tables(ids, views)


def _table(reading: Readable, model: Model) -> _AnyTable:
    return ListTable(reading) if isinstance(reading, ReadLists) else MergedTable(reading, model)


class _Ids:
    """The tables of one entity, by the rows of its ids; one for each way in which a table is
    read."""

    def __init__(self, entity: str) -> None:
        self.tables: dict[str, list[_AnyTable]] = {}
        self._ids = IdRows(keep_names=entity == ITEM)

    def _all(self) -> Iterator[_AnyTable]:
        return chain.from_iterable(self.tables.values())

    def admit(self, ids: IdChange) -> None:
        """A partition admits ids: new ones have a row at its initial value."""
        rows = self._ids.admit(ids.added, ids.names)
        if not len(rows):
            return
        for table in self._all():
            table.reserve(self._ids.n_rows)
            table.start(rows, self._ids.keys[rows])

    def release(self, partition: int, keys: Keys) -> None:
        """A partition drops ids."""
        if not len(keys):
            return
        dead = self._ids.release(keys)
        rows = self._ids.map.find(keys)
        for table in self._all():
            table.drop(dead)
            table.release(partition, keys, rows)

    def add(self, partition: int, name: str, rows: Rows) -> None:
        at = self._ids.find(rows.keys)
        for table in self.tables[name]:
            table.add(partition, rows.keys, at, rows.values)

    def load(self, partition: int, name: str, rows: Rows) -> None:
        at = self._ids.find(rows.keys)
        for table in self.tables[name]:
            table.load(partition, rows.keys, at, rows.values)

    def publish(self, watermark_ms: int, views: Views) -> IdView:
        """The rows as they are now, their tables put among ``views``."""
        if self._ids.too_many_dead:
            kept = self._ids.pack()
            for table in self._all():
                table.pack(kept)
        ids = self._ids.publish()
        for name, tables in self.tables.items():
            views[name] = [(table.reading, table.publish(ids, watermark_ms)) for table in tables]
        return ids


class _Indices:
    """A table keyed by a plain index: its rows stay."""

    def __init__(self) -> None:
        self.tables: list[_AnyTable] = []
        self._rows = IndexRows()

    def add(self, partition: int, name: str, rows: Rows) -> None:
        at = self._rows.find(rows.keys)
        for table in self.tables:
            table.reserve(self._rows.n_rows)
            table.add(partition, rows.keys, at, rows.values)

    def load(self, partition: int, name: str, rows: Rows) -> None:
        at = self._rows.find(rows.keys)
        for table in self.tables:
            table.reserve(self._rows.n_rows)
            table.load(partition, rows.keys, at, rows.values)

    def publish(self, watermark_ms: int, views: Views) -> IdView:
        """The rows as they are now, the table put among ``views``."""
        ids = self._rows.publish()
        for table in self.tables:
            view = table.publish(ids, watermark_ms)
            views.setdefault(table.spec.name, []).append((table.reading, view))
        return ids
