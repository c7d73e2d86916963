"""A difference of means with its interval."""

from __future__ import annotations

import msgspec


class MeanDifference(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of one variant less that of another, and its interval."""

    estimate: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether 0 is outside."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.estimate:+.4f} ({self.low:+.4f} to {self.high:+.4f})"
