"""What runs until it is stopped: signals say when, and it ends in order."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator

from streamer.errors import is_interruption

log = logging.getLogger(__name__)


class _StoppedEarly(BaseException):
    """Unwinds a service that starts; no handler of errors takes it for one."""


class Signals:
    """What SIGTERM and SIGINT do to a service.

    The first of them ends its start, whatever that waits for, as a return from it would; once the
    service runs, it is stopped in order.

    Attributes
    ----------
    ended_start
        Whether a signal came before there was what stops the service.
    """

    def __init__(self, stop: Callable[[], None] | None) -> None:
        self._stop = stop
        self.ended_start = False

    def hand_over(self, stop: Callable[[], None]) -> None:
        """Have ``stop`` called by a signal from now on.

        The start ends here where a signal came before and what it raised was lost, as happens in
        the callbacks of clients in C.
        """
        self._stop = stop
        if self.ended_start:
            raise _StoppedEarly

    def take(self, number: int, frame: object) -> None:
        """Handle the first signal; a second one ends the process at once."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        if self._stop is None:
            self.ended_start = True
            raise _StoppedEarly
        self._stop()


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None] | None = None) -> Iterator[Signals]:
    """Let SIGTERM and SIGINT call ``stop``; None: end the block until :meth:`Signals.hand_over`.

    The block is left without an error then, whatever became of the exception on its way, so the
    process ends with status 0.
    """
    signals = Signals(stop)
    with stops_handled_by(signals.take):
        try:
            yield signals
        except BaseException as error:
            if not signals.ended_start:
                raise
            is_stop = is_interruption(error)
            failed = {} if is_stop else {"reason": f"{type(error).__name__}: {error}"}
            log.info("start_stopped", extra=failed)


@contextlib.contextmanager
def stops_handled_by(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Have SIGTERM and SIGINT handled in the block, and afterwards as before it."""
    before = {each: signal.signal(each, handler) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handled in before.items():
            signal.signal(each, handled)
