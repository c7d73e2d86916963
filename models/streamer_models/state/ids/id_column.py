"""A column of external ids: spans of bytes and their hashes; texts are made where asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.blake2b import digests
from streamer_models.state.ids.id_bytes import (
    HASH_SEED,
    Bytes,
    Hashes,
    hashes_of,
    packed,
    read_only,
    texts_of,
)
from streamer_models.state.table import Keys


@dataclass(frozen=True, slots=True, eq=False)
class IdColumn(Sequence[str]):
    """Ids of n events: id *i* is the UTF-8 text ``data[starts[i]:ends[i]]``.

    The bytes are those that the messages came with, so a column costs no copy and no Python object
    an id. An empty span stands for an id that is absent.

    Attributes
    ----------
    data
        Read-only uint8; columns of one batch share it.
    starts, ends
        ``(n,)`` int64.
    hashes
        ``(n,)`` uint64 of :func:`streamer_models.state.ids.id_bytes.hash_of`: of use in this
        process alone. The key of an id in stores and logs is that of :meth:`keys`.

    Examples
    --------
    >>> column = IdColumn.of(["ann", "bob", "ann"])
    >>> column[1], column.take(np.array([2, 0])).strings()
    ('bob', ['ann', 'ann'])
    """

    data: Bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    hashes: Hashes

    @classmethod
    def of(cls, ids: Sequence[str]) -> IdColumn:
        """Return a column of texts; a column is returned as it is."""
        return ids if isinstance(ids, IdColumn) else cls.of_bytes([each.encode() for each in ids])

    @classmethod
    def of_bytes(cls, names: Sequence[bytes]) -> IdColumn:
        """Return a column of texts in UTF-8."""
        ends = np.cumsum(np.fromiter(map(len, names), np.int64, len(names)), dtype=np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
        data = read_only(b"".join(names))
        return cls(data, starts, ends, hashes_of(data, starts, ends, HASH_SEED))

    @classmethod
    def concat(cls, columns: Sequence[IdColumn]) -> IdColumn:
        """Return the ids of columns, one after the other, in bytes of their own: those of the
        messages they came with are let go."""
        data = read_only(b"".join(packed(each.data, each.starts, each.ends) for each in columns))
        ends = np.cumsum(np.concatenate([each.n_bytes for each in columns]), dtype=np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
        return cls(data, starts, ends, np.concatenate([each.hashes for each in columns]))

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> IdColumn: ...
    def __getitem__(self, index: int | slice) -> str | IdColumn:
        if isinstance(index, slice):
            return self._cut(index)
        return self.data[self.starts[index] : self.ends[index]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.strings())

    def slice(self, start: int, end: int) -> IdColumn:
        """Return ids ``[start, end)``; nothing is copied."""
        return self._cut(slice(start, end))

    def take(self, index: NDArray[Any]) -> IdColumn:
        """Return the ids at ``index``, ``(m,)`` integers or ``(n,)`` booleans."""
        return self._cut(index)

    def _cut(self, at: Any) -> IdColumn:
        return IdColumn(self.data, self.starts[at], self.ends[at], self.hashes[at])

    def strings(self) -> list[str]:
        """Return all ids as texts."""
        return [name.decode() for name in self.encoded()]

    def encoded(self) -> list[bytes]:
        """Return all ids in UTF-8."""
        return texts_of(self.data, self.starts, self.ends)

    @property
    def n_bytes(self) -> NDArray[np.int64]:
        """``(n,)`` lengths of the ids in bytes; 0: absent."""
        return self.ends - self.starts

    def keys(self) -> Keys:
        """Return the ``(n,)`` keys of the ids, as they stand in stores and logs."""
        return digests(self.data, self.starts, self.ends)
