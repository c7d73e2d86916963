"""Times that lie ahead of those around them, in a log that says of no message when it was
published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer.events import FUTURE_MS_MAX
from streamer.events.rejection import reason

T = TypeVar("T")

AROUND: Final = 100
"""Messages of others behind one that tell a jump of its sender's clock from time that passed."""
_FEW: Final = 20
"""Senders behind one that one or two phones can't outvote that were offline, or messages that may
all be late ones, where a log ends: then only a day is ahead."""
_SLACK_MS_MIN: Final = 900_000
"""Ahead by less, a time moves a watermark by less than a quarter of an hour; time zones move it by
more."""


@dataclass(frozen=True, slots=True)
class CountedTimes:
    """Times of messages in order of arrival.

    Attributes
    ----------
    ts_ms
        ``(n,)`` int64 times that everything counts with.
    ahead
        ``(n,)`` whether a message's own time lies ahead, and counts as that of those around it.
    far
        ``(n,)`` whether it lies over a day ahead: such a message counts for nothing.
    """

    ts_ms: NDArray[np.int64]
    ahead: NDArray[np.bool_]
    far: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sent:
    """Messages in order of arrival.

    Attributes
    ----------
    ts_ms
        ``(n,)`` int64 their own times.
    senders
        ``(n,)`` int64 a number that tells senders apart.
    """

    ts_ms: NDArray[np.int64]
    senders: NDArray[np.int64]


NONE_SENT: Final = Sent(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


class ArrivalTimes:
    """The bound on times that lie ahead where no publication bounds them (see
    :func:`streamer.events.decoding.counted_ms`): the messages around them.

    A time that lies beyond all before it by more than ``lateness_ms`` is that of a clock that is
    ahead if most of the others who send something behind it don't reach it then; otherwise time
    passed. The sender itself has no say, however many messages come in a row, unless no other sends
    anything; nor has another that sends many more than one, where there are ``_FEW`` others.

    Parameters
    ----------
    lateness_ms
        How far messages may be out of order anyway.
    """

    def __init__(self, lateness_ms: int) -> None:
        self._slack_ms = max(lateness_ms, _SLACK_MS_MIN)
        self._latest_ms: int | None = None

    def counted(self, sent: Sent, following: Sent) -> CountedTimes:
        """Return what the next messages count as.

        Parameters
        ----------
        following
            Messages behind them, or all there are: more of one sender in a row than these pass as
            time.
        """
        n = len(sent.ts_ms)
        times = np.concatenate([sent.ts_ms, following.ts_ms])
        senders = np.concatenate([sent.senders, following.senders])
        counted = sent.ts_ms.copy()
        ahead, far = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        for i, own_ms in enumerate(sent.ts_ms.tolist()):
            latest_ms = self._latest_ms
            if latest_ms is not None and own_ms <= latest_ms + self._slack_ms:
                self._latest_ms = max(latest_ms, own_ms)
                continue
            behind_ms = _said_behind(times[i + 1 :], senders[i + 1 :], senders[i])
            around_ms = self._around(own_ms, np.sort(behind_ms))
            if around_ms is None:
                self._latest_ms = own_ms
                continue
            far[i] = own_ms - FUTURE_MS_MAX > around_ms
            ahead[i] = not far[i]
            counted[i] = around_ms
            self._latest_ms = around_ms if latest_ms is None else max(latest_ms, around_ms)
        return CountedTimes(counted, ahead, far)

    def _around(self, own_ms: int, behind_ms: NDArray[np.int64]) -> int | None:
        """Return about when a message was published that lies ahead; None: it does not."""
        n = len(behind_ms)
        slack_ms = self._slack_ms if n >= _FEW else max(self._slack_ms, FUTURE_MS_MAX)
        if not n or behind_ms[(n - 1) // 2] + slack_ms >= own_ms:
            return None
        # Some of those behind it are late, and came after it all the same.
        soon_ms = int(behind_ms[n // 10])
        return soon_ms if self._latest_ms is None else max(self._latest_ms, soon_ms)


def _said_behind(
    ts_ms: NDArray[np.int64], senders: NDArray[np.int64], sender: np.int64
) -> NDArray[np.int64]:
    """Return the times that tell whether that of a sender lies ahead, of the messages behind it:
    the first one of each of the others, or all of theirs where they are few."""
    is_other = senders != sender
    if not is_other.any():
        return ts_ms[:AROUND]
    others = senders[is_other]
    others_ms: NDArray[np.int64] = ts_ms[is_other]
    for n in (AROUND, len(others)):
        _, firsts = np.unique(others[:n], return_index=True)
        if len(firsts) >= _FEW:
            return np.take(others_ms, np.sort(firsts)[:AROUND])
    return others_ms[:AROUND]


def newest_reached(ts_ms: Sequence[int], senders: Sequence[str]) -> int:
    """Return the newest time of a log whose order says little, as that of several partitions does:
    a sender's clock that is ahead moves it no further than to the newest time of the others.

    A sender's clock is ahead where no other one comes within a quarter of an hour of its newest
    time, and at least ``_FEW`` messages of others lie behind it in the log; before fewer, where
    none comes within a day of it. A hundredth of the senders may be ahead, and one in any case. A
    log may end with a message that comes long after the others: then time passed.

    Parameters
    ----------
    ts_ms, senders
        Times in the order of the log, and who sent what has them; not empty.

    Examples
    --------
    >>> newest_reached([0, 4_000_000_000_000, 5, 9], ["ann", "bob", "ann", "cem"])
    9
    >>> newest_reached([0, 5, 9, 4_000_000_000_000], ["ann", "ann", "cem", "bob"])
    4000000000000
    """
    newest: dict[str, int] = {}
    for sender, own_ms in zip(senders, ts_ms, strict=True):
        newest[sender] = max(newest.get(sender, own_ms), own_ms)
    rising = sorted(newest, key=newest.__getitem__)
    for sender in rising[: -1 - max(1, len(rising) // 100) : -1]:
        rising.pop()
        others_ms = newest[rising[-1]] if rising else newest[sender]
        if newest[sender] <= others_ms + _SLACK_MS_MIN:
            return newest[sender]
        first = next(i for i, each in enumerate(senders) if each == sender and ts_ms[i] > others_ms)
        n_behind = sum(each != sender for each in senders[first + 1 :])
        if not n_behind or newest[sender] <= others_ms + (n_behind < _FEW) * FUTURE_MS_MAX:
            return newest[sender]
    return newest[rising[-1]]


def far_reason(ts_ms: int) -> str:
    """Say that a time lies far ahead, and what to send instead."""
    problem = (
        "is over a day ahead of the lines around it, as a clock that is wrong; send event time in"
        " ms since 1970"
    )
    return reason("ts", ts_ms, problem)


def with_next(batches: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Return each with the one behind it; None behind the last."""
    rest = iter(batches)
    batch = next(rest, None)
    while batch is not None:
        following = next(rest, None)
        yield batch, following
        batch = following
