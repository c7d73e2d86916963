"""Where in a record the fields of a message are: what mappings of events and of items share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from streamer.errors import ConfigError

_PLACE: Final = re.compile(r"#[1-9]\d*")
_LIKENESS_MIN: Final = 0.8
"""Of names that may mean the same: ``usrid`` and ``userid`` have .91, and ``amount`` and
``account``, which do not, .77."""
_LETTERS_MIN: Final = 3
"""Shorter names are like too many others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMapping:
    """Field of a message → column of a file; by itself, all columns under their own names."""

    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_place(self) -> bool:
        """Whether columns are named by their places, ``#1``, so that no line has their names."""
        return any(_PLACE.fullmatch(column) for column in self.columns.values())

    def sources(self) -> dict[str, str] | None:
        """Field → column, of all that may be read; None: every column is."""
        return None

    def needed(self) -> list[str]:
        """Fields without which no row makes a message."""
        return []

    def remedy(self, name: str) -> str:
        """What else to do where the column of a field is missing."""
        return ""

    def missing(self, columns: Collection[str]) -> list[str]:
        """Fields that are needed, and whose column is none of ``columns``."""
        sources = self.sources() or {}
        return [name for name in self.needed() if sources.get(name) not in columns]

    def require(self, columns: Collection[str], log: str) -> None:
        """Check that a table has the columns without which no row makes a message, each once.

        Raises
        ------
        ConfigError
            Naming the missing column and those that are there, or the one that is there twice.
        """
        sources = self.sources() or {}
        for name, column in sources.items():
            if (n_columns := list(columns).count(column)) > 1:
                raise ConfigError(
                    f"{log} has {n_columns} columns {column!r}, and the field {name!r} is in one;"
                    " rename the others in the first line"
                )
        for name in self.missing(columns):
            column = sources.get(name, name)
            others = [each for each in columns if each not in sources.values()]
            near = nearest_column([column, name], others)
            more = f", as {name}={near}" if near is not None and not self.by_place else ""
            more += self.remedy(name)
            if len(columns) == 1:
                more += ", or name what divides the columns with --delimiter"
            raise ConfigError(
                f"{log} has no column {column!r} for the field {name!r}; its"
                f" columns are {', '.join(columns)}; map one with {name}=COLUMN{more}; where the"
                f" first line has no names, {name}=#1 is the first column"
            )


def assignments(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield part, field, ``=`` and column of every part of ``FIELD=COLUMN,FIELD=COLUMN…``."""
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = (each.strip() for each in part.partition("="))
        yield part, name, equals, column


def plain(name: str) -> str:
    """Return a name without case and signs, as names are compared.

    >>> plain("Book-Rating")
    'bookrating'
    """
    return re.sub(r"[\W_]", "", name.lower())


def nearest_column(words: Iterable[str], columns: Iterable[str]) -> str | None:
    """Return the column whose name is most like one of some words; None: none is.

    >>> nearest_column(["user_id"], ["Usr-Id", "item"]), nearest_column(["ts"], ["price"])
    ('Usr-Id', None)
    """
    by_name = {plain(column): column for column in reversed([*columns]) if plain(column)}
    scored = [
        (difflib.SequenceMatcher(None, plain(word), name).ratio(), column)
        for word in words
        for name, column in by_name.items()
        if min(len(plain(word)), len(name)) >= _LETTERS_MIN or plain(word) == name
    ]
    likeness, column = max(scored, key=lambda each: each[0], default=(0.0, ""))
    return column if likeness >= _LIKENESS_MIN else None
