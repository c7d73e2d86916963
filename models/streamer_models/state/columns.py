"""Columns of equal length, cut in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Self

import numpy as np

from streamer_models.state.id_column import IdColumn

_COLUMN_TYPES = (np.ndarray, IdColumn, list, tuple)


class Columns:
    """Base of frozen, slotted dataclasses whose fields are columns of one length n.

    A field that holds an array, an id column, a list, a tuple or a mapping of such is a column
    (or several); anything else (a number, a text) belongs to all rows and stays as it is.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, slots=True)
    ... class Clicks(Columns):
    ...     ts_ms: np.ndarray
    ...     users: list[str]
    >>> clicks = Clicks(np.array([10, 20, 30]), ["ann", "bob", "cem"])
    >>> clicks.slice(1, 3).users
    ['bob', 'cem']
    >>> clicks.take(np.array([2, 0])).ts_ms.tolist()
    [30, 10]
    """

    __slots__ = ()

    def __len__(self) -> int:
        """Return n, the length of the first column."""
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def slice(self, start: int, end: int) -> Self:
        """Return rows ``[start, end)``; arrays are views of the same memory."""
        return self._each(lambda column: _sliced(column, start, end))

    def take(self, index: np.ndarray[Any, Any]) -> Self:
        """Return the rows at ``index``, ``(m,)`` integers in any order."""
        return self._each(lambda column: _taken(column, index))

    def split(self, n: int) -> tuple[Self, Self]:
        """Return the first ``n`` rows, and the rest."""
        return self.slice(0, n), self.slice(n, len(self))

    def _each(self, cut: Any) -> Self:
        changes = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Mapping):
                changes[field.name] = {name: cut(column) for name, column in value.items()}
            elif isinstance(value, _COLUMN_TYPES):
                changes[field.name] = cut(value)
        return replace(self, **changes)  # type: ignore[type-var]


def _sliced(column: Any, start: int, end: int) -> Any:
    return column.slice(start, end) if isinstance(column, IdColumn) else column[start:end]


def _taken(column: Any, index: np.ndarray[Any, Any]) -> Any:
    if isinstance(column, IdColumn):
        return column.take(index)
    if isinstance(column, np.ndarray):
        return column[index]
    return type(column)(column[i] for i in index.tolist())
