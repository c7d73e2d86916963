"""The part of a model that the state of a partition needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from streamer_models.state.readable import Readable
from streamer_models.state.table import Keys, TableSpec


class TableOwner(Protocol):
    """Names tables, and says what their rows start from."""

    def tables(self) -> Sequence[TableSpec]:
        """Return its tables."""

    def readable(self) -> Sequence[Readable]:
        """Return the tables that are read, and how."""

    def initial(self, table: str, keys: Keys) -> NDArray[Any] | None:
        """Return the ``(n, width)`` values that shared rows of new ids start from; None: zeros."""
