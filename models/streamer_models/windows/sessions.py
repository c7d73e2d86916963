"""Sums over sessions: runs of a key's events with less than a gap between neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer_models.windows.panes import NOTHING_CLOSED, UNIT, Amounts, Closed, Rows, Times


@dataclass(frozen=True, slots=True)
class Sessions:
    """Open sessions in columns, by key and then by time.

    Attributes
    ----------
    first_ms, last_ms
        ``(n,)`` times of the first and of the last event.
    sums
        ``(n, n_measures)``.
    """

    rows: Rows
    first_ms: Times
    last_ms: Times
    sums: Amounts

    def where(self, chosen: NDArray[np.bool_]) -> Sessions:
        return Sessions(
            self.rows[chosen], self.first_ms[chosen], self.last_ms[chosen], self.sums[chosen]
        )


class SessionSums:
    """Sums by key and session, and the results of sessions that are over.

    Two events of a key are in one session when less than ``gap_ms`` lie between them or between
    each and its neighbours: that does not depend on the order in which they come. A session is over
    when the watermark is ``gap + lateness`` past its last event; its result's window is ``[first,
    last + gap)``.

    Attributes
    ----------
    n_late, n_refused
        Events dropped: so late that their own session would be over, or those that would open one
        beyond ``sessions_max``.
    """

    def __init__(
        self, gap_ms: int, *, n_measures: int, lateness_ms: int, sessions_max: int
    ) -> None:
        if gap_ms < 1:
            raise ValueError(f"gap_ms={gap_ms}: give at least 1 ms")
        self.n_late = 0
        self.n_refused = 0
        self.watermark_ms = NOTHING_CLOSED
        self._gap_ms = gap_ms
        self._lateness_ms = lateness_ms
        self._sessions_max = sessions_max
        none = np.empty(0, np.int64)
        self._open = Sessions(none, none, none, np.empty((0, n_measures), np.int64))

    @property
    def n_cells(self) -> int:
        return len(self._open.rows)

    def of(self, rows: Rows) -> Sessions:
        """The open sessions of some keys."""
        return self._open.where(np.isin(self._open.rows, rows))

    def add(self, rows: Rows, ts_ms: Times, amounts: Amounts) -> NDArray[np.bool_]:
        """Count events, in any order; returns ``(n,)`` which were taken."""
        taken = ts_ms + self._gap_ms + self._lateness_ms > self.watermark_ms
        self.n_late += int(len(taken) - taken.sum())
        if self.n_cells + int(taken.sum()) > self._sessions_max:
            taken &= self._with_room(rows, ts_ms)
        self.restore(Sessions(rows[taken], ts_ms[taken], ts_ms[taken], amounts[taken]))
        return taken

    def _with_room(self, rows: Rows, ts_ms: Times) -> NDArray[np.bool_]:
        """``(n,)`` events of sessions that are open, or that there is room to open."""
        known = self.of(rows)
        # Sums say which sessions hold nothing but events: those that would be new.
        marked = _joined(
            Sessions(known.rows, known.first_ms, known.last_ms, np.ones((len(known.rows), 1), int)),
            Sessions(rows, ts_ms, ts_ms, np.zeros((len(rows), 1), int)),
        )
        merged = _merged(marked, self._gap_ms)
        new = merged.sums[:, 0] == 0
        room = max(0, self._sessions_max - self.n_cells)
        kept = ~new | (np.cumsum(new) <= room)
        span = int(marked.last_ms.max()) - int(marked.first_ms.min()) + 1
        _, ranks = np.unique(np.concatenate([merged.rows, rows]), return_inverse=True)
        starts = ranks[: len(merged.rows)] * span + merged.first_ms
        at = np.searchsorted(starts, ranks[len(merged.rows) :] * span + ts_ms, side="right") - 1
        self.n_refused += int((~kept[at]).sum())
        return np.asarray(kept[at], np.bool_)

    def restore(self, sessions: Sessions) -> None:
        """Add sessions, such as single events or what was kept elsewhere."""
        if not len(sessions.rows):
            return
        touched = np.isin(self._open.rows, sessions.rows)
        merged = _merged(_joined(self._open.where(touched), sessions), self._gap_ms)
        self._open = _inserted(self._open.where(~touched), merged)

    def close(self, watermark_ms: int) -> Iterator[Closed]:
        """Results of the sessions that are over, all in one."""
        self.watermark_ms = max(self.watermark_ms, watermark_ms)
        over = self._open.last_ms + self._gap_ms + self._lateness_ms <= self.watermark_ms
        if not over.any():
            return
        closed = self._open.where(over)
        self._open = self._open.where(~over)
        yield Closed(
            rows=closed.rows,
            start_ms=closed.first_ms,
            end_ms=closed.last_ms + self._gap_ms,
            sums=np.asarray(closed.sums * UNIT, np.float64),
            # A session's result holds until the key's next one.
            forgotten=np.empty(0, np.int64),
            left=np.setdiff1d(closed.rows, self._open.rows),
            dropped={},
        )


def _joined(one: Sessions, other: Sessions) -> Sessions:
    return Sessions(
        np.concatenate([one.rows, other.rows]),
        np.concatenate([one.first_ms, other.first_ms]),
        np.concatenate([one.last_ms, other.last_ms]),
        np.concatenate([one.sums, other.sums]),
    )


def _inserted(kept: Sessions, new: Sessions) -> Sessions:
    """Sessions of different keys together; both are in order, and so is what comes of them."""
    at = np.searchsorted(kept.rows, new.rows)
    return Sessions(
        np.insert(kept.rows, at, new.rows),
        np.insert(kept.first_ms, at, new.first_ms),
        np.insert(kept.last_ms, at, new.last_ms),
        np.insert(kept.sums, at, new.sums, axis=0),
    )


def _merged(sessions: Sessions, gap_ms: int) -> Sessions:
    """Sessions of a key that are nearer than the gap become one."""
    order = np.lexsort((sessions.first_ms, sessions.rows))
    rows, first_ms = sessions.rows[order], sessions.first_ms[order]
    last_ms, sums = sessions.last_ms[order], sessions.sums[order]
    # The latest time so far within each key: keys are lifted above each other by more than time.
    _, ranks = np.unique(rows, return_inverse=True)
    lift = ranks * (int(last_ms.max()) - int(first_ms.min()) + 1)
    reached = np.maximum.accumulate(last_ms + lift) - lift
    begins = np.ones(len(rows), np.bool_)
    begins[1:] = (rows[1:] != rows[:-1]) | (first_ms[1:] - reached[:-1] >= gap_ms)
    starts = np.flatnonzero(begins)
    return Sessions(
        rows[starts],
        first_ms[starts],
        np.maximum.reduceat(last_ms, starts),
        np.add.reduceat(sums, starts, axis=0),
    )
