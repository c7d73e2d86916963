"""Processes of ours that fork from one that has imported and compiled what they need.

From its start until it is ready, a process of ours takes some 3 s of processor time: imports,
kernels, and a made-up life to compile them in. Of that, a forked one takes the last alone. It is a
process of its own as any, to be stopped and killed.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.forked_from"])


class ForkedCommand:
    """``streamer`` with arguments, with the methods of ``subprocess.Popen`` that tests use.

    Parameters
    ----------
    environment
        All of it.
    log
        The file that gets what it prints.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        log.write_bytes(b"")
        given = (list(arguments), dict(environment), log)
        self._process = FORK.Process(target=_run, args=given, daemon=True)
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("streamer", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            assert self._process.pid is not None
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()


def _run(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    from streamer.cli import main

    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.argv = ["streamer", *arguments]
    sys.exit(main())
