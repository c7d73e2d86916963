"""The console script ``streamer``, and ``python -m streamer``, which is the same."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Load the commands, and run the one that was asked for."""
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:
        # The trace of an import that was interrupted is of no use: the process just ends.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from streamer import cli

    signal.signal(signal.SIGINT, interrupted)
    return cli.main()


def _leave_working_directory() -> None:
    # `python -m` looks for modules in the working directory first, and a project of a user's may
    # hold a numpy.py. The console script doesn't, nor does `python -P -m`.
    from pathlib import Path

    source_root = Path(__file__).resolve().parent.parent
    if not sys.flags.safe_path and Path(sys.path[0]).resolve() != source_root:
        del sys.path[0]


if __name__ == "__main__":
    _leave_working_directory()
    sys.exit(main())
