"""Columns of equal length, cut in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.id_column import IdColumn


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
        return len(getattr(self, self._names()[1][0]))

    def columns(self) -> Sequence[Any]:
        """Return the columns, in the order of the fields."""
        return [getattr(self, name) for name in self._names()[1]]

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

    def _cut(self, cut: Callable[[Any], Any]) -> Self:
        names, columns = self._names()
        values = {name: getattr(self, name) for name in names}
        for name in columns:
            value = values[name]
            if isinstance(value, dict):
                values[name] = {key: cut(column) for key, column in value.items()}
            else:
                values[name] = cut(value)
        return type(self)(**values)

    def _names(self) -> tuple[list[str], list[str]]:
        """Return the names of all fields, and of the columns among them."""
        kind: type[Any] = type(self)
        of_kind = kind, *(name for name in kind.__dataclass_fields__ if getattr(self, name) is None)
        if of_kind not in _NAMES:
            names = [field.name for field in fields(self)]  # type: ignore[arg-type]
            _NAMES[of_kind] = names, [name for name in names if _is_column(getattr(self, name))]
        return _NAMES[of_kind]


_NAMES: dict[tuple[Any, ...], tuple[list[str], list[str]]] = {}
"""By class and the fields that are None, found once: what else a field holds is the same in all
instances."""


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
