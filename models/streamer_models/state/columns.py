"""Columns of equal length, cut in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_column import IdColumn


class Columns:
    """Base of frozen, slotted dataclasses whose fields are columns of one length n.

    A field that holds an array, an id column, a list, a tuple, other columns or a dict of such
    is a column (or several), which may be None in some instances; anything else (a number, a text)
    belongs to all rows and stays as it is.

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
        _, columns, _ = self._names()
        return len(getattr(self, columns[0]))

    def columns(self) -> Sequence[Any]:
        """Return the columns, in the order of the fields."""
        names, *_ = self._names()
        present = set(self._present())
        return [getattr(self, name) for name in names if name in present]

    def slice(self, start: int, end: int) -> Self:
        """Return rows ``[start, end)``; arrays are views of the same memory."""
        if start == 0 and end >= len(self):
            return self
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

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of parts, at least one, one after the other, in memory of their own."""
        return parts[0]._with(lambda name: _joined([getattr(part, name) for part in parts]))

    def _cut(self, cut: Callable[[Any], Any]) -> Self:
        def cut_one(name: str) -> Any:
            value = getattr(self, name)
            if isinstance(value, dict):
                return {key: cut(column) for key, column in value.items()}
            return cut(value)

        return self._with(cut_one)

    def _with(self, column: Callable[[str], Any]) -> Self:
        """Return the same with other columns, by name."""
        names, *_ = self._names()
        values = {name: getattr(self, name) for name in names}
        for name in self._present():
            values[name] = column(name)
        return type(self)(**values)

    def _present(self) -> Sequence[str]:
        """Return the names of the columns that this instance has."""
        _, columns, optional = self._names()
        if not optional:
            return columns
        return [*columns, *(name for name in optional if _is_column(getattr(self, name)))]

    def _names(self) -> tuple[list[str], list[str], list[str]]:
        """Return the names of all fields, of the columns among them that each instance has, and of
        the fields that may be None."""
        kind: type[Any] = type(self)
        if kind not in _NAMES:
            of_kind = fields(self)  # type: ignore[arg-type]
            optional = [field.name for field in of_kind if str(field.type).endswith("| None")]
            names = [field.name for field in of_kind]
            columns = [
                name for name in names if name not in optional and _is_column(getattr(self, name))
            ]
            _NAMES[kind] = names, columns, optional
        return _NAMES[kind]


_NAMES: dict[type[Any], tuple[list[str], list[str], list[str]]] = {}
"""By class, found once: what a field holds is the same in all instances."""


def _is_column(value: object) -> bool:
    return isinstance(value, np.ndarray | list | tuple | dict | IdColumn | Columns)


def _sliced(column: Any, start: int, end: int) -> Any:
    # Its class itself is asked for: an abstract base looks for subclasses, which takes longer.
    if column.__class__ is IdColumn or isinstance(column, Columns):
        return column.slice(start, end)
    return column[start:end]


def _taken(column: Any, index: NDArray[Any]) -> Any:
    if isinstance(column, np.ndarray):
        return column[index]
    if column.__class__ is IdColumn or isinstance(column, Columns):
        return column.take(index)
    return type(column)([column[i] for i in index.tolist()])


def _joined(columns: Sequence[Any]) -> Any:
    first = columns[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(columns)
    if first.__class__ is IdColumn or isinstance(first, Columns):
        return first.concat(columns)
    if isinstance(first, dict):
        return {key: _joined([each[key] for each in columns]) for key in first}
    return type(first)(row for column in columns for row in column)
