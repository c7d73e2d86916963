"""Processes of one machine: start them, watch them, stop them in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from streamer.errors import StreamerError

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Child:
    """One process and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path | None


class Supervisor:
    """Children that live as long as this object is entered.

    Each runs with ``python -P``: the working directory stays off its import path, so a
    ``numpy.py`` in a user's folder is never mistaken for the library. A child is a process group of
    its own: a Ctrl-C in the terminal reaches this process alone, which then stops them in order.
    When this process is killed they end by themselves, see
    :mod:`streamer.application.local.supervised`.

    Parameters
    ----------
    environment
        All variables of the children; by default those of this process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(os.environ if environment is None else environment)
        self.children: list[Child] = []

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        log_path: Path | None = None,
    ) -> Child:
        """Start ``streamer ARGUMENTS``; its output goes to ``log_path``, else to ours."""
        command = [sys.executable, "-P", "-m", "streamer.application.local.supervised", *arguments]
        output = None if log_path is None else log_path.open("ab")
        try:
            process = subprocess.Popen(
                command,
                env=self._environment | dict(environment or {}),
                stdin=subprocess.PIPE,  # its end says that this process is gone
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
            )
        finally:
            if output:
                output.close()
        child = Child(name, process, log_path)
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raise StreamerError when a child has ended, with the end of its log."""
        for child in self.children:
            status = child.process.poll()
            if status is not None:
                raise StreamerError(f"the {child.name} {_how(status)}{_tail(child.log_path)}")

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """SIGTERM the children, last started first, and wait; SIGKILL those still there then."""
        for child in reversed(self.children):
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        for child in self.children:
            try:
                child.process.wait(max(_POLL_S, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            if child.process.stdin:
                child.process.stdin.close()
        self.children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _how(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _tail(log_path: Path | None, n_lines: int = 15) -> str:
    if log_path is None or not log_path.exists():
        return "; see its messages above"
    lines = log_path.read_text(errors="replace").splitlines()[-n_lines:]
    return f"; the end of {log_path}:\n" + "\n".join(lines)
