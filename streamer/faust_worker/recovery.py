"""Restoring a table from its changelog must not wait for messages that never come.

Around a rebalance Faust can drop messages of a changelog that it had fetched already, while the
consumer goes on behind them. The recovery then waits for ever, and so do the windows. Beginning it
again seeks back to the last message that arrived.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

log = logging.getLogger(__name__)

STUCK_S: Final = 5.0
"""A recovery without any progress for so long begins again."""


class Signal(Protocol):
    def set(self) -> None: ...


class Recovery(Protocol):
    """What is needed of Faust's service of this name."""

    @property
    def in_recovery(self) -> bool: ...

    @property
    def signal_recovery_start(self) -> Signal: ...

    def active_remaining_total(self) -> int:
        """Messages of the changelog that are still to come."""


class RecoveryWatch:
    """Looks at a recovery from time to time, and begins it again where it stands still.

    Attributes
    ----------
    n_restarts
        How often that was.
    """

    def __init__(self) -> None:
        self.n_restarts = 0
        self._n_remaining = 0
        self._since_s = 0.0

    def look(self, recovery: Recovery, now_s: float) -> None:
        """Note how far it is; ``now_s`` is of a clock that only runs forward."""
        n_remaining = recovery.active_remaining_total() if recovery.in_recovery else 0
        if n_remaining != self._n_remaining or not n_remaining:
            self._n_remaining, self._since_s = n_remaining, now_s
        elif now_s - self._since_s >= STUCK_S:
            self._since_s = now_s
            self.n_restarts += 1
            log.warning("features_recovery_restarted", extra={"n_remaining": n_remaining})
            recovery.signal_recovery_start.set()
