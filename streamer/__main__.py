"""``python -m streamer`` is the console script under another name."""

from __future__ import annotations

import sys
from pathlib import Path


def _leave_working_directory() -> None:
    # `python -m` looks for modules in the working directory first, and a project of a user's may
    # hold a numpy.py. The console script doesn't, nor does `python -P -m`.
    if not sys.flags.safe_path and Path(sys.path[0]).resolve() != _source_root():
        del sys.path[0]


def _source_root() -> Path:
    return Path(__file__).resolve().parent.parent


if __name__ == "__main__":
    _leave_working_directory()

    from streamer.cli import main

    sys.exit(main())
