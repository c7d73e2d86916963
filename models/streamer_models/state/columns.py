"""Columns of equal length, cut in one place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.id_column import IdColumn


class Columns:
    """Base of frozen, slotted dataclasses whose fields are columns of one length n.

    A field that holds an array, an id column, a list, a tuple, other columns or a dict of such
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
        values = (getattr(self, name) for name in _names(type(self)))
        return next(len(value) for value in values if _is_column(value))

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

    def _cut(self, cut: Callable[[Any], Any]) -> Self:
        values = {name: getattr(self, name) for name in _names(type(self))}
        for name, value in values.items():
            if isinstance(value, dict):
                values[name] = {key: cut(column) for key, column in value.items()}
            elif _is_column(value):
                values[name] = cut(value)
        return type(self)(**values)


@functools.cache
def _names(kind: type[Columns]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))  # type: ignore[arg-type]


def _is_column(value: object) -> bool:
    # The class itself is asked for: an abstract base looks for subclasses, which takes longer.
    return (
        isinstance(value, np.ndarray | list | tuple | dict)
        or value.__class__ is IdColumn
        or isinstance(value, Columns)
    )


def _sliced(column: Any, start: int, end: int) -> Any:
    if column.__class__ is IdColumn or isinstance(column, Columns):
        return column.slice(start, end)
    return column[start:end]


def _taken(column: Any, index: NDArray[Any]) -> Any:
    if isinstance(column, np.ndarray):
        return column[index]
    if column.__class__ is IdColumn or isinstance(column, Columns):
        return column.take(index)
    return type(column)([column[i] for i in index.tolist()])
