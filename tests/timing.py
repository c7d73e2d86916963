"""Times that a test may judge: what else the machine does can delay one call, but not them all."""

from __future__ import annotations

import time
from collections.abc import Callable


def shortest_s(
    call: Callable[[], object], *, n: int = 5, clock: Callable[[], float] = time.monotonic
) -> float:
    """Seconds that the quickest of ``n`` calls took; ``time.thread_time``: of work alone."""
    times = []
    for _ in range(n):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)
