"""A Faust worker that ends within a bounded time when it is asked to.

Faust's own end waits until the broker has acknowledged all that is under way, which is for ever
where the broker is away. Ending without is safe: what has no acknowledgement is not committed, and
the next worker reads it again.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Final

import faust

log = logging.getLogger(__name__)

STOP_S_MAX: Final = 20.0
"""Longer than the messages on their way through Faust take (128,000 events: some 13 s), shorter
than the 30 s after which a supervisor usually kills."""


class StoppableWorker(faust.Worker):
    """Faust's runner, whose orderly end takes ``stop_s_max`` at most.

    A second SIGTERM or SIGINT ends the process at once, as in every service here.

    Parameters
    ----------
    app
        What runs.
    stop_s_max
        From the signal to the end of waiting for the broker.

    Attributes
    ----------
    cut_short
        Whether the end was not waited for. Faust's threads then still wait for the broker, and
        Python for them: only :func:`end_process` ends it.
    """

    def __init__(self, app: faust.App, *, stop_s_max: float = STOP_S_MAX) -> None:
        super().__init__(app, override_logging=False, redirect_stdouts=False, quiet=True)
        self.spinner = None
        self.cut_short = False
        self._stop_s_max = stop_s_max

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            self.loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        log.info("stopping", extra={"signal": number.name})
        self.loop.call_later(self._stop_s_max, self._cut_short)
        super()._schedule_shutdown(number)

    def _cut_short(self) -> None:
        self.cut_short = True
        log.warning(
            "features_stop_cut_short: Kafka has not acknowledged within %.0f s what is under way;"
            " nothing is lost: what was not committed is read again at the next start. The exit"
            " status is 0",
            self._stop_s_max,
        )
        raise SystemExit(0)  # the loop lets it through, and stops

    def stop_and_shutdown(self) -> None:
        if not self.cut_short:
            super().stop_and_shutdown()


def end_process() -> None:
    """End this process with status 0, whatever threads it has."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
