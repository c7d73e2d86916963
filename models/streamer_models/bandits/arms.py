"""Bounded arms: which rows hold which arms, who is let in, who has to go."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.key_map import KeyMap, find_slot
from streamer_models.state.table import Keys, Slots

SIGHTING_BUCKETS = 1 << 16
"""Counters of arms not yet admitted: 65,536 * 16 B = 1 MB at most, only where it is asked for."""
EXPIRED_SHARE = 64
"""A full table drops 1/64 of its arms at once, so that expiry costs nothing on average."""

_LONG_AGO = -(1 << 62)


class ArmRows:
    """64-bit key of an arm → row, for at most ``arms_max`` arms.

    What an arm had been taught goes with it when it expires, and what came before its admission
    was never learned. An amendment of such an outcome must be passed over too, so every arm has a
    time *since* which its examples are learned: those that are no newer than anything that may
    have been lost for it are passed over and counted.

    Parameters
    ----------
    arms_max
        The bound. At the bound, the arms whose newest example is oldest go.
    sightings_min
        An arm is admitted at this many examples (1: at once). Arms not yet admitted share 2^16
        counters, so a rare collision admits early, never late.
    """

    def __init__(self, *, arms_max: int, sightings_min: int = 1) -> None:
        if arms_max < 1 or sightings_min < 1:
            raise ValueError(
                f"arms_max={arms_max} and sightings_min={sightings_min} must be at least 1"
            )
        self.arms_max = arms_max
        self.sightings_min = sightings_min
        self.map = KeyMap()
        self.keys: Keys = np.zeros(0, dtype=np.uint64)
        self.n_passed_over = 0
        self.n_expired = 0
        self._newest_ms = np.zeros(0, dtype=np.int64)
        self._since_ms = np.zeros(0, dtype=np.int64)
        self._free: list[int] = []
        self._n_rows = 0
        self._expired_ms = _LONG_AGO
        n_buckets = SIGHTING_BUCKETS if sightings_min > 1 else 0
        self._sightings = np.zeros(n_buckets, dtype=np.int64)
        self._sighted_ms = np.full(n_buckets, _LONG_AGO)

    def __len__(self) -> int:
        return len(self.map)

    @property
    def n_rows(self) -> int:
        """Rows in use or used before: row numbers are below it."""
        return self._n_rows

    def find(self, arms: Keys) -> Slots:
        """``(n,)`` rows of arms, -1 where unknown. Changes nothing."""
        return self.map.find(arms)

    def live(self) -> Slots:
        """``(n,)`` rows that hold an arm, in the order of the keys."""
        rows = self.map.slots[self.map.slots >= 0]
        ordered: Slots = rows[np.argsort(self.keys[rows])]
        return ordered

    def resolve(self, arms: Keys, ts_ms: NDArray[np.int64]) -> tuple[Slots, int]:
        """Rows of examples in order, admitting arms, until one would need another to expire.

        Parameters
        ----------
        arms, ts_ms
            ``(n,)``.

        Returns
        -------
        ``(n_ready,)`` rows, -1 where an example is not learned, and ``n_ready``. Where that is
        below n, call :meth:`expire` and go on from there.
        """
        rows = np.full(len(arms), -1, dtype=np.int32)
        at = 0
        while at < len(arms):
            at, n_passed_over = _resolve(
                arms, ts_ms, at, self.map.buckets, self.map.slots, self._newest_ms,
                self._since_ms, self._sightings, self._sighted_ms, self.sightings_min, rows,
            )  # fmt: skip
            self.n_passed_over += n_passed_over
            if at == len(arms):
                break
            if not self._free and self._n_rows == self.arms_max:
                break
            self._admit(arms[at : at + 1])
        return rows[:at], at

    def _admit(self, arm: Keys) -> None:
        row = self._free.pop() if self._free else self._n_rows
        self._n_rows = max(self._n_rows, row + 1)
        if self._n_rows > len(self.keys):
            n_more = min(self.arms_max, max(64, 2 * self._n_rows)) - len(self.keys)
            self.keys = np.concatenate([self.keys, np.zeros(n_more, dtype=np.uint64)])
            self._newest_ms = np.concatenate([self._newest_ms, np.full(n_more, _LONG_AGO)])
            self._since_ms = np.concatenate([self._since_ms, np.full(n_more, _LONG_AGO)])
        self.keys[row] = arm[0]
        self._newest_ms[row] = _LONG_AGO
        self._since_ms[row] = self._expired_ms
        if self.sightings_min > 1:
            bucket = int(arm[0]) % SIGHTING_BUCKETS
            self._since_ms[row] = max(self._expired_ms, int(self._sighted_ms[bucket]))
        self.map.insert(arm, np.array([row], dtype=np.int32))

    def expire(self) -> Slots:
        """Let go of the idlest 1/64 of the arms, at least one; ``(n,)`` their rows, now free."""
        live = self.live()
        n = max(1, self.arms_max // EXPIRED_SHARE)
        gone: Slots = live[np.argsort(self._newest_ms[live], kind="stable")[:n]]
        self._expired_ms = max(self._expired_ms, int(self._newest_ms[gone].max()))
        self.map.remove(self.keys[gone])
        self._free += gone.tolist()[::-1]
        self.n_expired += len(gone)
        return gone

    def absorb(self, other: ArmRows) -> tuple[Slots, Slots]:
        """Admit the arms of another table too.

        Returns
        -------
        ``(n,)`` the rows of its arms there, and here.

        Raises
        ------
        ValueError
            Where all arms together are too many; nothing is admitted then.
        """
        theirs = other.live()
        keys = other.keys[theirs]
        new = keys[self.map.find(keys) < 0]
        if len(self) + len(new) > self.arms_max:
            raise ValueError(
                f"{len(self) + len(new)} arms together, at most arms_max={self.arms_max} allowed;"
                " raise the bound of the one that others are merged into"
            )
        for i in range(len(new)):
            self._admit(new[i : i + 1])
        ours = self.map.find(keys)
        self._newest_ms[ours] = np.maximum(self._newest_ms[ours], other._newest_ms[theirs])
        self._since_ms[ours] = np.maximum(self._since_ms[ours], other._since_ms[theirs])
        self._expired_ms = max(self._expired_ms, other._expired_ms)
        return theirs, ours


@numba.njit(cache=True, nogil=True)
def _resolve(
    arms: Keys,
    ts_ms: NDArray[np.int64],
    at: int,
    buckets: Keys,
    slots: Slots,
    newest_ms: NDArray[np.int64],
    since_ms: NDArray[np.int64],
    sightings: NDArray[np.int64],
    sighted_ms: NDArray[np.int64],
    sightings_min: int,
    rows: Slots,
) -> tuple[int, int]:
    """Go on from ``at`` to the end, or to an arm that is to be admitted."""
    n_passed_over = 0
    for i in range(at, len(arms)):
        row = find_slot(buckets, slots, arms[i])
        if row < 0:
            if sightings_min == 1:
                return i, n_passed_over
            bucket = arms[i] % np.uint64(len(sightings))
            if sightings[bucket] + 1 >= sightings_min:
                return i, n_passed_over
            sightings[bucket] += 1
            sighted_ms[bucket] = max(sighted_ms[bucket], ts_ms[i])
            n_passed_over += 1
            continue
        if ts_ms[i] <= since_ms[row]:
            n_passed_over += 1
            continue
        newest_ms[row] = max(newest_ms[row], ts_ms[i])
        rows[i] = row
    return len(arms), n_passed_over
