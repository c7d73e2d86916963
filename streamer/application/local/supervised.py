"""The command line in a process that ends with its supervisor: ``python -m`` this module.

A supervisor that is killed cannot stop its children. So each of them holds the reading end of a
pipe as its standard input, nothing is ever written there, and the kernel closes it when the
supervisor is gone, however that came about.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Final

GRACE_S: Final = 3.0
"""Time to finish what is in hand before a second SIGTERM, which ends the process at once."""


def _end_with_supervisor() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGTERM)
    # Where a handler is still in the way: the broker may have gone with the supervisor.
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()

    from streamer.cli import main

    sys.exit(main())
