"""What a decision logs of a composition, so that its slate can be drawn again."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.composition import NOTHING_ALIKE, Composition, Groups, Wanted, composed
from streamer_models.bandits.composition_settings import CompositionSettings
from streamer_models.bandits.likeness import likeness_rows

_SHARE: Final = np.dtype([("group", "<u2"), ("share", "<f4")])


def packed(composition: Composition, order: NDArray[np.intp]) -> bytes:
    """Return what a decision logs of a composition and of the slate that was drawn with it.

    2 B and 6 B for each of at most 512 shares; then of each field 1 B a candidate and 2 B a group
    of it; then, where embeddings are compared, 1 B for each place but the last and each candidate:
    their likeness. Little-endian.

    Parameters
    ----------
    order
        Candidates in the order drawn.
    """
    groups = np.flatnonzero(composition.wanted)
    shares = np.empty(len(groups), dtype=_SHARE)
    shares["group"], shares["share"] = groups, composition.wanted[groups]
    parts = [np.array([len(shares)], dtype="<u2").tobytes(), shares.tobytes()]
    n_before = 0
    for starts in composition.starts:
        numbers = composition.groups[starts[0] : starts[-1]] - n_before
        n_before += int(numbers.max(initial=-1)) + 1
        parts += [np.diff(starts).astype("u1").tobytes(), numbers.astype("<u2").tobytes()]
    if not composition.by_groups:
        parts.append(likeness_rows(composition.vectors, order[:-1]).tobytes())
    return b"".join(parts)


def unpacked(settings: CompositionSettings, state: bytes, n: int, k: int) -> Composition:
    """Return the composition that a decision with ``n`` candidates and ``k`` items logged.

    Raises
    ------
    ValueError
        Where ``state`` is none of so many candidates and of the fields of the settings.
    """
    reader = _PackedColumns(state)
    (n_shares,) = reader.take("<u2", 1).tolist()
    shares = reader.take(_SHARE, n_shares)
    fields = []
    for _ in settings.fields:
        counts = reader.take("u1", n).astype(np.int64)
        fields.append(Groups(counts, reader.take("<u2", int(counts.sum())).astype(np.int64)))
    alike = NOTHING_ALIKE
    if settings.by_vectors:
        n_rows = max(k - 1, 0)
        alike = reader.take("u1", n_rows * n).reshape(n_rows, n).copy()
    reader.end()
    wanted = Wanted(shares["group"].astype(np.int64), shares["share"].astype(np.float32))
    n_first = int(fields[0].numbers.max(initial=-1)) + 1 if fields else 0
    if wanted.groups.max(initial=-1) >= n_first:
        raise ValueError("composition has a share of a category that no candidate is in")
    return composed(settings, n, fields, wanted, alike=alike)


class _PackedColumns:
    """Columns out of bytes, one after another."""

    def __init__(self, state: bytes) -> None:
        self._state = state
        self._at = 0

    def take(self, kind: np.dtype[np.void] | str, n: int) -> NDArray[Any]:
        dtype = np.dtype(kind)
        end = self._at + n * dtype.itemsize
        if end > len(self._state):
            raise ValueError(f"composition ends after {len(self._state)} of {end} bytes or more")
        found: NDArray[Any] = np.frombuffer(self._state[self._at : end], dtype=dtype)
        self._at = end
        return found

    def end(self) -> None:
        if self._at != len(self._state):
            raise ValueError(f"composition holds {len(self._state)} bytes where {self._at} are")
