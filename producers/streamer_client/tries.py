"""One deadline over all tries of a call, and the pauses between them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from streamer_client.errors import (
    ClientError,
    NoAnswer,
    ServiceError,
    TooManyRequests,
    Unavailable,
)

_PAUSE_S_FIRST: Final = 0.1
_PAUSE_S_MAX: Final = 5.0


class Tries:
    """Tries of one call.

    Pauses double, from 0.1 s to 5 s, each shortened by a random part of itself (so that clients
    that failed together don't come back together) and never shorter than the service asks for.

    Parameters
    ----------
    timeout_s
        Of all tries together.
    repeatable
        Whether doing it twice is as doing it once. What is not is tried again only where the
        service has certainly not done it.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        repeatable: bool,
        now_s: Callable[[], float] = time.monotonic,
        drawn: Callable[[], float] = random.random,
    ) -> None:
        self._repeatable = repeatable
        self._now_s = now_s
        self._drawn = drawn
        self._end_s = now_s() + timeout_s
        self._longest_s = _PAUSE_S_FIRST

    @property
    def left_s(self) -> float:
        """How long the call may still take."""
        return max(self._end_s - self._now_s(), 0.001)

    def pause_s(self, failure: ClientError) -> float:
        """Return how long to wait until the next try.

        Raises
        ------
        ClientError
            The failure itself, where there is no next try.
        """
        if not (failure.retriable and (self._repeatable or _is_undone(failure))):
            raise failure
        asked_s = failure.retry_after_s if isinstance(failure, ServiceError) else 0.0
        pause_s = max(asked_s, self._longest_s * (1 - self._drawn() / 2))
        if pause_s >= self.left_s:
            raise failure
        self._longest_s = min(2 * self._longest_s, _PAUSE_S_MAX)
        return pause_s


def _is_undone(failure: ClientError) -> bool:
    if isinstance(failure, NoAnswer):
        return not failure.reached
    return isinstance(failure, TooManyRequests | Unavailable)
