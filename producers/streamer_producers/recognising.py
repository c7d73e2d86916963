"""What a file holds: it is told by what flags say of it, else by the names of its columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from streamer.config.files import Holds
from streamer_producers.columns import ColumnMapping, nearest_column
from streamer_producers.event_mapper import value_at
from streamer_producers.guessing import Sample, guess_events, guess_items, guess_users

_TELLING: Final[Mapping[Holds, Collection[str]]] = {
    "events": ("user_id", "item_id", "ts", "type"),
    "items": ("item_id", "title", "categories", "tags"),
}
"""Fields by which events and items are told apart; others may be absent from many records."""


@dataclass(frozen=True, slots=True)
class FlagMapping:
    """A mapping that a flag gives: of all files that have its columns.

    Attributes
    ----------
    flag
        ``--map`` of events, ``--items-map`` of items.
    columns
        Field → column, with its unit or form, as the flag has them; empty: it was not given.
    constants
        Types of events, which stand in the place of a column.
    """

    flag: str
    holds: Holds
    columns: Mapping[str, str]
    constants: Collection[str] = ()

    def __bool__(self) -> bool:
        return bool(self.columns)

    @property
    def by_place(self) -> bool:
        """Whether columns are named by their places; see ColumnMapping."""
        return ColumnMapping(columns=self.columns).by_place

    def lacking(self, sample: Sample) -> str:
        """Say which column a file lacks, so that the mapping is none of it; "": none.

        A file of text has every column in its first line. In JSON, what need not be in every record
        may be in none of the first.
        """
        wanted = {
            name: column
            for name, column in self.columns.items()
            if column
            and not name.startswith("type.")
            and not (name == "type" and column in self.constants)
        }
        if not sample.is_text:
            telling = {name: col for name, col in wanted.items() if name in _TELLING[self.holds]}
            wanted = telling or wanted
        for name, column in wanted.items():
            plain = column.rpartition(":")[0]
            if not any(_has(sample, each) for each in (column, plain) if each):
                near = nearest_column([plain or column], sample.columns)
                said = f"it has no column {plain or column!r}, which {self.flag} names for {name}"
                return said if near is None else f"{said} (did you mean {near!r}?)"
        return ""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file holds.

    Attributes
    ----------
    columns
        Field → column, with its unit or form.
    by
        Flags by which it is read.
    """

    holds: Holds
    columns: dict[str, str]
    by: frozenset[str] = frozenset()


def recognised(sample: Sample, of_events: FlagMapping, of_items: FlagMapping) -> Recognised | None:
    """Find out what a file holds; a mapping that is none of it counts as if it was not given."""
    fields = {} if of_events.lacking(sample) else of_events.columns
    item_fields = {} if of_items.lacking(sample) else of_items.columns
    if fields or not item_fields:
        given = {name: column for name, column in fields.items() if not name.startswith("type.")}
        columns = guess_events(sample, given)
        if columns is not None:
            return Recognised("events", columns, _flags(of_events, fields))
    if not item_fields:
        of_user = FlagMapping(
            of_events.flag, "events", {n: c for n, c in of_events.columns.items() if n == "user_id"}
        )
        user_fields = {} if of_user.lacking(sample) else of_user.columns
        columns = guess_users(sample, user_fields)
        if columns is not None:
            return Recognised("users", columns, _flags(of_events, user_fields))
    columns = guess_items(sample, item_fields)
    if columns is None:
        return None
    return Recognised("items", columns, _flags(of_items, item_fields))


def _flags(mapping: FlagMapping, used: Mapping[str, str]) -> frozenset[str]:
    return frozenset([mapping.flag] if used else ())


def _has(sample: Sample, column: str) -> bool:
    if column in sample.columns:
        return True
    if sample.is_text:
        return False
    return any(value_at(record, column) is not None for record in sample.records)
