"""What a decision logs of a composition, so that its slate can be drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.composition import NOTHING_ALIKE, Composition, Groups, Wanted, composed
from streamer_models.bandits.composition_settings import CompositionSettings
from streamer_models.bandits.likeness import likeness_rows
from streamer_models.bandits.pinned_slots import free_slots

_SHARE: Final = np.dtype([("group", "<u2"), ("share", "<f4")])


def packed(composition: Composition, order: NDArray[np.intp]) -> bytes:
    """Return what a decision logs of a composition and of the slate that was drawn with it.

    2 B and 6 B for each of at most 512 shares; then of each field 1 B a candidate and 2 B a group
    of it; then the same of pinned items; then, where embeddings are compared, 1 B for each place
    before the last one that was drawn and each candidate: their likeness. Little-endian.

    Parameters
    ----------
    order
        Candidates in the order drawn.
    """
    groups = np.flatnonzero(composition.wanted)
    shares = np.empty(len(groups), dtype=_SHARE)
    shares["group"], shares["share"] = groups, composition.wanted[groups]
    parts = [np.array([len(shares)], dtype="<u2").tobytes(), shares.tobytes()]
    of_pinned: list[bytes] = []
    n, n_before = composition.n, 0
    for starts in composition.starts:
        numbers = composition.groups[starts[0] : starts[-1]] - n_before
        n_before += int(numbers.max(initial=-1)) + 1
        counts, n_own = np.diff(starts), starts[n] - starts[0]
        parts += _field_bytes(counts[:n], numbers[:n_own])
        of_pinned += _field_bytes(counts[n:], numbers[n_own:])
    parts += of_pinned
    if not composition.by_groups:
        above = _shown(composition, order)[:-1]
        parts.append(likeness_rows(composition.vectors, above, n).tobytes())
    return b"".join(parts)


def _field_bytes(counts: NDArray[np.int32], numbers: NDArray[np.int32]) -> tuple[bytes, bytes]:
    return counts.astype("u1").tobytes(), numbers.astype("<u2").tobytes()


def _shown(composition: Composition, order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the item at each place up to the last one that was drawn."""
    pinned_at = composition.pinned_at
    places = free_slots(len(order), pinned_at.tolist())
    shown = np.empty(places.max(initial=-1) + 1, dtype=np.intp)
    shown[places] = order
    above = np.flatnonzero(pinned_at < len(shown))
    shown[pinned_at[above]] = composition.n + above
    return shown


def unpacked(
    settings: CompositionSettings, state: bytes, n: int, k: int, pinned_at: Sequence[int] = ()
) -> Composition:
    """Return the composition that a decision with ``n`` candidates and ``k`` items logged.

    Parameters
    ----------
    pinned_at
        Places of its pinned items, rising. A decision of before these counted logged nothing of
        them, and is drawn again without.

    Raises
    ------
    ValueError
        Where ``state`` is none of so many candidates and of the fields of the settings.
    """
    reader = _PackedColumns(state)
    (n_shares,) = reader.take("<u2", 1).tolist()
    shares = reader.take(_SHARE, n_shares)
    fields = [_groups(reader, n) for _ in settings.fields]
    if pinned_at and reader.ended:
        pinned_at = ()
    if pinned_at:
        of_pinned = [_groups(reader, len(pinned_at)) for _ in settings.fields]
        fields = [_joined(*pair) for pair in zip(fields, of_pinned, strict=True)]
    alike = NOTHING_ALIKE
    if settings.by_vectors:
        n_rows = int(free_slots(k, pinned_at).max(initial=0))
        alike = reader.take("u1", n_rows * n).reshape(n_rows, n).copy()
    reader.end()
    wanted = Wanted(shares["group"].astype(np.int64), shares["share"].astype(np.float32))
    n_first = int(fields[0].numbers.max(initial=-1)) + 1 if fields else 0
    if wanted.groups.max(initial=-1) >= n_first:
        raise ValueError("composition has a share of a category that no candidate is in")
    return composed(settings, n, fields, wanted, alike=alike, pinned_at=pinned_at)


def _groups(reader: _PackedColumns, n: int) -> Groups:
    counts = reader.take("u1", n).astype(np.int64)
    return Groups(counts, reader.take("<u2", int(counts.sum())).astype(np.int64))


def _joined(first: Groups, other: Groups) -> Groups:
    return Groups(
        np.concatenate([first.counts, other.counts]), np.concatenate([first.numbers, other.numbers])
    )


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

    @property
    def ended(self) -> bool:
        return self._at == len(self._state)

    def end(self) -> None:
        if not self.ended:
            raise ValueError(f"composition holds {len(self._state)} bytes where {self._at} are")
