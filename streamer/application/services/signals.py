"""What runs until it is stopped: signals say when, and it ends in order."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)


class _StoppedEarly(BaseException):
    """Unwinds a service that starts; no handler of errors takes it for one."""


class Signals:
    """What SIGTERM and SIGINT do to a service.

    Attributes
    ----------
    stop
        Called by the first of them. While it is None the service has nothing in hand: the signal
        ends its start, whatever that waits for, as a return from it would.
    """

    def __init__(self, stop: Callable[[], None] | None) -> None:
        self.stop = stop

    def take(self, number: int, frame: object) -> None:
        """Handle the first signal; a second one ends the process at once."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        if self.stop is None:
            raise _StoppedEarly
        self.stop()


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None] | None = None) -> Iterator[Signals]:
    """Let SIGTERM and SIGINT call ``stop``; None: end the block until :attr:`Signals.stop` is set.

    The block is left without an error then, so the process ends with status 0.
    """
    signals = Signals(stop)
    before = {each: signal.signal(each, signals.take) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    except _StoppedEarly:
        log.info("start_stopped")
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
