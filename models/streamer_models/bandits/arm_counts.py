"""How often each arm was shown and what it earned: integer sums by arm, bounded."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.arms import ArmRows
from streamer_models.bandits.linear_statistics import FADING_UNIT, REWARD_MAX, STATISTICS_BITS
from streamer_models.counters.decay import decayed_values
from streamer_models.state.decayed_cells import CELLS_WIDTH, add_to_counter, forward_weight
from streamer_models.state.table import ARM, Keys, Merge, Slots, TableSpec, fold

N, N_POSITIVE, REWARDS = range(3)
"""Numbers in a row: outcomes, those with a reward above 0, the sum of rewards."""
N_NUMBERS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What is known of some arms: columns of length n_arms, weights where evidence fades.

    Attributes
    ----------
    n
        Outcomes.
    n_positive
        Those with a reward above 0.
    rewards
        Sum of rewards.
    """

    n: NDArray[np.float64]
    n_positive: NDArray[np.float64]
    rewards: NDArray[np.float64]


class ArmCounts:
    """Outcomes by arm, as sums that add up exactly in any order and can be taken back.

    Parameters
    ----------
    arms_max
        Bound of arms; at the bound, those with the oldest last outcome go, with what was known of
        them. An arm takes 24 B, 96 B where evidence fades, and about 50 B of book-keeping.
    sightings_min
        Outcomes at which an arm is admitted, 1: at once; those before count in the total alone.
    half_life_s
        After which evidence counts half, in event time; 0: it does not fade.

    Attributes
    ----------
    arms
        Which row is which arm's.
    newest_ms
        Newest event time learned: the time that fading evidence is read at.
    """

    def __init__(self, *, arms_max: int, sightings_min: int = 1, half_life_s: float = 0.0) -> None:
        self.half_life_ms = round(1000 * half_life_s)
        if not (half_life_s == 0 or 1 <= self.half_life_ms < 10**15):
            raise ValueError(
                f"half_life_s={half_life_s} must be 0 (evidence does not fade), or at least 0.001"
                " and below 1e12"
            )
        self.arms = ArmRows(arms_max=arms_max, sightings_min=sightings_min)
        self.newest_ms = 0
        fades = self.half_life_ms > 0
        merge, width = (Merge.DECAYED, CELLS_WIDTH * N_NUMBERS) if fades else (Merge.SUM, N_NUMBERS)
        self._spec = TableSpec("arm_counts", ARM, merge, "i8", width)
        self._values = np.zeros((0, width), dtype=np.int64)
        self._total = np.zeros((1, width), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.arms)

    # --- reading ---------------------------------------------------------------------------------

    def counts(self, arms: Keys) -> Counts:
        """What is known of ``(n,)`` arms; zeros for those unknown. Adds none."""
        rows = self.arms.find(arms)
        values = np.zeros((len(arms), self._values.shape[1]), dtype=np.int64)
        known = rows >= 0
        values[known] = self._values[rows[known]]
        return self._numbers(values)

    def total(self) -> Counts:
        """Outcomes of all arms, those dropped since included, in columns of length 1."""
        return self._numbers(self._total)

    def snapshot(self) -> tuple[Keys, NDArray[np.int64]]:
        """Arms by rising key ``(n_arms,)``, and their integers ``(n_arms, width)``."""
        rows = self.arms.live()
        return self.arms.keys[rows], self._values[rows]

    def _numbers(self, values: NDArray[np.int64]) -> Counts:
        if self.half_life_ms:
            half_life = np.array([self.half_life_ms], dtype=np.int64)
            cells = values.reshape(-1, CELLS_WIDTH)
            decayed = decayed_values(cells, half_life, self.newest_ms).reshape(-1, N_NUMBERS)
            columns = decayed.T * FADING_UNIT
        else:
            columns = values.T.astype(np.float64) * 2.0**-STATISTICS_BITS
        return Counts(columns[N], columns[N_POSITIVE], columns[REWARDS])

    # --- learning --------------------------------------------------------------------------------

    def amend(
        self,
        arms: Keys,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        ts_ms: NDArray[np.int64],
    ) -> None:
        """Bring ``(n,)`` outcomes from ``before`` to ``after``; NaN: not learned.

        Raises
        ------
        ValueError
            Where a reward is infinite or beyond ``REWARD_MAX``; nothing is learned then.
        """
        for rewards in (before, after):
            if (np.abs(rewards) > REWARD_MAX).any():
                worst = np.nanmax(np.abs(rewards))
                raise ValueError(
                    f"a reward of magnitude {worst} is beyond {REWARD_MAX}: scale rewards down"
                )
        changed = ~(np.isnan(before) & np.isnan(after))
        if not changed.all():
            arms, ts_ms = arms[changed], ts_ms[changed]
            before, after = before[changed], after[changed]
        if not len(arms):
            return
        self.newest_ms = max(self.newest_ms, int(ts_ms.max()))
        one_row = np.zeros(len(arms), dtype=np.int32)
        _amend(self._total, one_row, before, after, ts_ms, self.half_life_ms)
        start = 0
        while start < len(arms):
            rows, n = self.arms.resolve(arms[start:], ts_ms[start:])
            self._reserve()
            part = slice(start, start + n)
            _amend(self._values, rows, before[part], after[part], ts_ms[part], self.half_life_ms)
            start += n
            if start < len(arms):
                self._values[self.arms.expire()] = 0

    def _reserve(self) -> None:
        n_rows = self.arms.n_rows
        if n_rows > len(self._values):
            n_more = min(self.arms.arms_max, max(64, 2 * n_rows)) - len(self._values)
            more = np.zeros((n_more, self._values.shape[1]), dtype=np.int64)
            self._values = np.concatenate([self._values, more])

    def merge(self, other: ArmCounts) -> None:
        """Add what another has learned, from other examples: the same integers in any order, as
        long as all arms fit.

        Raises
        ------
        ValueError
            Where evidence fades otherwise there, or all arms together are too many.
        """
        if other.half_life_ms != self.half_life_ms:
            raise ValueError(
                f"half-lives of {self.half_life_ms} and {other.half_life_ms} ms do not add up:"
                " learn both with one"
            )
        theirs, rows = self.arms.absorb(other.arms)
        self._reserve()
        fold(self._spec, self._values, rows, other._values[theirs])
        fold(self._spec, self._total, np.zeros(1, dtype=np.int32), other._total)
        self.newest_ms = max(self.newest_ms, other.newest_ms)


@numba.njit(cache=True, nogil=True)
def _amend(
    values: NDArray[np.int64],
    rows: Slots,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    ts_ms: NDArray[np.int64],
    half_life_ms: int,
) -> None:
    """Amend rows in place, in cells where evidence fades; negative ones are passed over."""
    added = np.empty(N_NUMBERS, dtype=np.int64)
    for i in range(len(rows)):
        if rows[i] < 0:
            continue
        epoch, weight = 0, 2.0**STATISTICS_BITS
        if half_life_ms > 0:
            epoch, weight = forward_weight(ts_ms[i], half_life_ms)
            weight /= FADING_UNIT
        added[:] = 0
        for reward, sign in ((before[i], -1), (after[i], 1)):
            if not np.isnan(reward):
                added[N] += sign * np.int64(np.rint(weight))
                added[N_POSITIVE] += sign * np.int64(np.rint(weight * (reward > 0)))
                added[REWARDS] += sign * np.int64(np.rint(weight * reward))
        row = values[rows[i]]
        for j in range(N_NUMBERS):
            if half_life_ms == 0:
                row[j] += added[j]
            else:
                add_to_counter(row, j, epoch, added[j])
