"""How many requests each caller may have: one token bucket a caller."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_CALLERS_MAX: Final = 10_000
"""Of whom the one that asked longest ago is forgotten, some 200 B each."""


class TokenBuckets:
    """Lets each caller have ``per_s`` requests a second, and ``burst`` at once after a rest.

    Parameters
    ----------
    per_s
        0: any number.

    Examples
    --------
    >>> buckets = TokenBuckets(per_s=2.0, burst=1)
    >>> [buckets.take("ann", now_s) for now_s in (0.0, 0.0, 0.25, 0.5)]
    [0.0, 0.5, 0.25, 0.0]
    """

    def __init__(self, *, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, as of when

    def take(self, who: str, now_s: float) -> float:
        """Take one request; 0: it may be had, else the seconds until one may be."""
        if self._per_s == 0:
            return 0.0
        tokens, then_s = self._left.pop(who, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - then_s) * self._per_s)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._per_s
        self._left[who] = (tokens - 1 if wait_s == 0 else tokens, now_s)
        if len(self._left) > _CALLERS_MAX:
            self._left.popitem(last=False)
        return wait_s
