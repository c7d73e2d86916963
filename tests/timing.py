"""Times that a test may judge: what else the machine does can delay one call, but not them all."""

from __future__ import annotations

import time
from collections.abc import Callable


def shortest_s(call: Callable[[], object], *, n: int = 5) -> float:
    """Seconds that the quickest of ``n`` calls took."""
    times = []
    for _ in range(n):
        start = time.monotonic()
        call()
        times.append(time.monotonic() - start)
    return min(times)
