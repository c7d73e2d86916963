"""Sums over windows of event time: tumbling, hopping and fading ones, in integers.

Event time is cut into *panes* of one hop, and a window is the ``n`` panes before its end, so an
event is added once however many windows it is in. A window ends at ``T`` when the watermark (the
time that all inputs have reached) is ``lateness`` past it, and its result is then final:

    result(key, T) = sum over panes p of  w(T - end(p)) * sum of the amounts in p,

with ``w = 1`` in a tumbling or hopping window, and ``w(age) = 2^(-age / half_life)`` in a fading
one, whose events weigh ``2^((t - end(p)) / half_life)`` inside their pane, so that each counts
``2^((t - T) / half_life)``. A fading window is cut off after 16 half-lives (below 2^-16).

Amounts are integers in units of 2^-20, so sums do not depend on the order of events, and results
are a function of the events alone as long as none is later than ``lateness``. One that is later
than that is dropped and counted, as a key beyond the bound is.

The cut into panes is that of Li et al. 2005, "No pane, no gain" (SIGMOD Record 34-1).
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""Keys as numbers that their owner hands out and never gives to another key while one is known."""
Times = NDArray[np.int64]
Amounts = NDArray[np.int64]
"""``(n, n_measures)`` in units of ``UNIT``."""

UNIT: Final = 2.0**-20
"""A millionth: 2^63 of them are 8.8e12, so a window may count so many events."""
AMOUNT_MAX: Final = 1e9
"""A value beyond it is taken as this: 8,000 of them fit into a sum."""
HALF_LIVES: Final = 16
PANES_MAX: Final = 20_000
NOTHING_CLOSED: Final = -(2**62)


@dataclass(frozen=True, slots=True)
class PaneWindow:
    """A window that ends every ``hop_ms``; tumbling where that is its length.

    Raises
    ------
    ValueError
        Where the hop does not divide the length, or into more than ``PANES_MAX`` panes.
    """

    length_ms: int
    hop_ms: int
    half_life_ms: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.hop_ms <= self.length_ms or self.length_ms % self.hop_ms:
            raise ValueError(
                f"a window of {self.length_ms} ms can't hop by {self.hop_ms} ms: give a hop that"
                " divides it"
            )
        if self.n_panes > PANES_MAX:
            raise ValueError(
                f"a window of {self.length_ms} ms with a hop of {self.hop_ms} ms has"
                f" {self.n_panes} panes, over the bound of {PANES_MAX}: give a longer hop"
            )

    @property
    def n_panes(self) -> int:
        return self.length_ms // self.hop_ms

    def panes(self, ts_ms: Times) -> NDArray[np.int64]:
        """``(n,)`` pane each event falls into; an event at a boundary begins the next one."""
        return np.asarray(ts_ms // self.hop_ms, np.int64)

    def weighed(self, ts_ms: Times, amounts: Amounts) -> Amounts:
        """Amounts as they count at the end of their pane."""
        if not self.half_life_ms:
            return amounts
        ends = (self.panes(ts_ms) + 1) * self.hop_ms
        weights = np.exp2((ts_ms - ends) / self.half_life_ms)
        return np.rint(amounts * weights[:, None]).astype(np.int64)


def fading_window(half_life_ms: int, hop_ms: int) -> PaneWindow:
    """The window that fades by a half-life; its length is the 16 half-lives, in whole hops."""
    n_panes = -(-HALF_LIVES * half_life_ms // hop_ms)
    return PaneWindow(n_panes * hop_ms, hop_ms, half_life_ms)


def as_amounts(values: NDArray[np.float64]) -> Amounts:
    """Numbers in units of ``UNIT``; NaN is nothing, what is out of range is cut.

    >>> as_amounts(np.array([1.0, np.nan, 0.25])) * UNIT
    array([1.  , 0.  , 0.25])
    """
    known = np.nan_to_num(values, nan=0.0, posinf=AMOUNT_MAX, neginf=-AMOUNT_MAX)
    return np.rint(np.clip(known, -AMOUNT_MAX, AMOUNT_MAX) / UNIT).astype(np.int64)


def smoothed_ratio(
    numerator: NDArray[np.float64],
    denominator: NDArray[np.float64],
    *,
    parent: NDArray[np.float64],
    smoothing: float,
) -> NDArray[np.float64]:
    """``(numerator + smoothing * parent) / (denominator + smoothing)``: shrinkage to the parent.

    Parameters
    ----------
    parent
        Ratio of the parent entity over the same window; NaN: it has none, and does not smooth.
    smoothing
        Events that the parent's ratio is worth; 0: none.

    Returns
    -------
    ``(n,)``; NaN where nothing is known: 0 / 0.

    Examples
    --------
    >>> one = np.ones(1)
    >>> smoothed_ratio(one * 3, one * 10, parent=one * 0.1, smoothing=20.0)
    array([0.16666667])
    """
    prior = np.where(np.isnan(parent), 0.0, smoothing)
    below = denominator + prior
    above = numerator + prior * np.nan_to_num(parent)
    ratio: NDArray[np.float64] = np.full(len(below), np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio


@dataclass(frozen=True, slots=True)
class Closed:
    """The results of one window's end.

    Attributes
    ----------
    rows
        ``(n,)`` keys that have events in the window, rising.
    start_ms, end_ms
        ``(n,)`` bounds of the window, the end exclusive; of a session its own.
    sums
        ``(n, n_measures)`` float64.
    forgotten
        Keys that had events in a window before and have none in this one: the result they had
        holds no longer.
    left
        Those of them of which nothing is kept any more, of later windows neither.
    dropped
        Panes that were dropped, and the keys that each had.
    """

    rows: Rows
    start_ms: Times
    end_ms: Times
    sums: NDArray[np.float64]
    forgotten: Rows
    left: Rows
    dropped: dict[int, Rows]


def window_ends(panes: Collection[int], *, after: int, last: int) -> Iterator[int]:
    """Window ends in ``(after, last]``, in hops, that the ``panes`` there are *then* can matter to.

    The panes may be dropped between two steps; long times without any take no step.
    """
    end = after + 1
    while panes and (end := max(end, min(panes) + 1)) <= last:
        yield end
        end += 1


class PaneState(abc.ABC):
    """What is kept by pane, and the ends of windows over it.

    Attributes
    ----------
    closed_until_ms
        End of the last window that has closed.
    n_late, n_refused
        Events dropped: later than allowed, or beyond the bound.
    """

    def __init__(self, window: PaneWindow, *, lateness_ms: int) -> None:
        self.window = window
        self.closed_until_ms = NOTHING_CLOSED
        self.n_late = 0
        self.n_refused = 0
        self._lateness_ms = lateness_ms

    def close(self, watermark_ms: int) -> Iterator[Closed]:
        """Results of the windows that end ``lateness`` or more before the watermark, in order."""
        hop = self.window.hop_ms
        last = (watermark_ms - self._lateness_ms) // hop
        for end in window_ends(self._kept(), after=self.closed_until_ms // hop, last=last):
            closed = self._result(end)
            if len(closed.rows) or len(closed.forgotten):
                yield closed
        self.closed_until_ms = max(self.closed_until_ms, last * hop)

    def _in_time(self, panes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """``(n,)`` whether no window over the pane has closed; what is late is counted."""
        in_time = (panes + 1) * self.window.hop_ms > self.closed_until_ms
        self.n_late += int(len(panes) - in_time.sum())
        return np.asarray(in_time, np.bool_)

    @abc.abstractmethod
    def _kept(self) -> Collection[int]:
        """The panes there are, as they change."""

    @abc.abstractmethod
    def _result(self, end: int) -> Closed:
        """Of the window whose last pane is the one before ``end``; older panes are dropped."""
