"""When something last happened, to the millisecond, by partition.

A maximum cannot be taken back from what was merged: once a partition drops an id, the latest event
of the others would have to be known again, and whoever merged in another order would know another
one. So these times are rows that a partition owns, and who reads several partitions keeps what each
says and takes the latest of what is left (:class:`streamer_models.state.table.Merge`, ``MAX``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import Slots

NEVER: Final = 0
"""In place of a time: no such event is remembered. An event at 0 ms counts as of 1 ms."""
_WEIGHT_HALF_LIFE_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEvent:
    """The seconds since the last event of some types, at least 0.

    Attributes
    ----------
    entity
        ``"user"``, ``"item"``, ``"surface"`` or ``"global"``.
    types
        Codes of the event types.
    """

    name: str
    entity: str
    types: tuple[int, ...]


@numba.njit(cache=True, nogil=True)
def keep_latest(
    last_ms: NDArray[np.int64],
    slots: Slots,
    places: NDArray[np.int64],
    types: NDArray[np.int8],
    ts_ms: NDArray[np.int64],
    kinds: NDArray[np.int64],
) -> None:
    """Bring times of last events up to some events, in place; they may come in any order.

    Parameters
    ----------
    last_ms
        ``(n_rows, n_kinds)``.
    slots
        ``(m,)`` row of each event; negative: it has none.
    places
        ``(m,)`` where it stands in the columns below.
    types, ts_ms
        ``(n,)`` type codes from 0 to 62 and event times.
    kinds
        ``(n_kinds,)`` a bit for each type that counts.
    """
    for i in range(len(slots)):
        row, at = slots[i], places[i]
        if row < 0:
            continue
        for kind in range(len(kinds)):
            if (kinds[kind] >> types[at]) & 1:
                last_ms[row, kind] = max(last_ms[row, kind], ts_ms[at], NEVER + 1)


def seconds_since(last_ms: NDArray[np.int64], at_ms: int) -> NDArray[np.float64]:
    """Seconds from times to another, 0 where they are later; NaN for :data:`NEVER`.

    >>> seconds_since(np.array([1_000, 3_000, NEVER]), 2_500).tolist()
    [1.5, 0.0, nan]
    """
    since: NDArray[np.float64] = np.maximum(at_ms - last_ms, 0) / 1000.0
    since[last_ms == NEVER] = np.nan
    return since


def weight_of_last(last_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(n,)`` what the newest of each row's ``(n, n_kinds)`` times is worth remembering, beside
    counts that fade: 1 for the newest of all, half a day before it 0.7, 0 where there is none."""
    newest = last_ms.max(axis=1, initial=NEVER)
    weights = np.exp2((newest - newest.max(initial=NEVER)) / _WEIGHT_HALF_LIFE_MS)
    return np.where(newest == NEVER, 0.0, weights)
