"""The readable tables of one version, asked for by what their models declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from streamer.replica.columns import ColumnView, DecayedColumnView
from streamer.replica.factor_blocks import FactorView
from streamer.replica.id_rows import IdView
from streamer.replica.list_rows import ListView
from streamer.replica.merged_table import TableView
from streamer.replica.row_store import RowView
from streamer_models.state.readable import (
    Readable,
    ReadColumns,
    ReadDecayed,
    ReadFactors,
    ReadLists,
    ReadRows,
)
from streamer_models.state.table import ID_ENTITIES


@dataclass(frozen=True, slots=True)
class Tables:
    """Merged tables of one version; nothing in it ever changes.

    A model's readings are the handles: ``tables.read(popularity.counts)`` is the view of that
    table, whoever declared it.
    """

    _ids: Mapping[str, IdView]
    _views: Mapping[str, Sequence[tuple[Readable, TableView]]]

    @overload
    def read(self, reading: ReadRows) -> RowView: ...

    @overload
    def read(self, reading: ReadColumns) -> ColumnView: ...

    @overload
    def read(self, reading: ReadDecayed) -> DecayedColumnView: ...

    @overload
    def read(self, reading: ReadFactors) -> FactorView: ...

    @overload
    def read(self, reading: ReadLists) -> ListView: ...

    def read(self, reading: Readable) -> TableView:
        """The merged rows of a table, as it is declared to be read.

        Raises
        ------
        KeyError
            Where no model of the replica declares this reading of the table.
        """
        for declared, view in self._views.get(reading.spec.name, ()):
            if declared is reading or declared == reading:
                return view
        raise KeyError(
            f"{reading} is not replicated: a model that the replica follows must name it in"
            " readable()"
        )

    def ids(self, reading: Readable) -> IdView:
        """The rows of a table's ids; of a plain index, each key is its row."""
        entity = reading.spec.entity
        return self._ids[entity if entity in ID_ENTITIES else reading.spec.name]

    def of_entity(self, entity: str) -> IdView:
        """The rows of the ids of one entity, ``"item"`` and ``"user"`` always among them."""
        return self._ids[entity]
