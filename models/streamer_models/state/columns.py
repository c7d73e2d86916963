"""Columns of equal length, cut in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.id_column import IdColumn

_Cut = Callable[[Any], Any]


class Columns:
    """Base of frozen, slotted dataclasses whose fields are columns of one length n.

    A field that holds an array, an id column, a list, a tuple, other columns or a mapping of such
    is a column (or several); anything else (a number, a text) belongs to all rows and stays as it
    is.

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
        return len(next(self._columns())[1])

    def slice(self, start: int, end: int) -> Self:
        """Return rows ``[start, end)``; arrays are views of the same memory."""
        return self._cut(lambda column: _sliced(column, start, end))

    def take(self, index: NDArray[Any]) -> Self:
        """Return rows: those at ``(m,)`` integers in any order, or where ``(n,)`` booleans are
        true."""
        if index.dtype == np.bool_:
            if index.all():
                return self
            index = np.flatnonzero(index)
        return self._cut(lambda column: _taken(column, index))

    def split(self, n: int) -> tuple[Self, Self]:
        """Return the first ``n`` rows, and the rest."""
        return self.slice(0, n), self.slice(n, len(self))

    def _columns(self) -> Iterator[tuple[str, Any]]:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, _COLUMNS):
                yield field.name, value

    def _cut(self, cut: _Cut) -> Self:
        changes = {name: _each(column, cut) for name, column in self._columns()}
        return replace(self, **changes)  # type: ignore[type-var]


_COLUMNS = (np.ndarray, IdColumn, list, tuple, Mapping, Columns)


def _each(column: Any, cut: _Cut) -> Any:
    if isinstance(column, Mapping):
        return {name: cut(each) for name, each in column.items()}
    return cut(column)


def _sliced(column: Any, start: int, end: int) -> Any:
    if isinstance(column, IdColumn | Columns):
        return column.slice(start, end)
    return column[start:end]


def _taken(column: Any, index: NDArray[Any]) -> Any:
    if isinstance(column, IdColumn | Columns):
        return column.take(index)
    if isinstance(column, np.ndarray):
        return column[index]
    return type(column)([column[i] for i in index.tolist()])
