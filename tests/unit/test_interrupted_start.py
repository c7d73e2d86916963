"""A command that is interrupted while it loads its modules ends without a word."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
SCRIPT = PROJECT["project"]["scripts"]["streamer"]
INTERRUPTED = """
import os, pkgutil, runpy, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "streamer.errors":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupts())
sys.argv = ["streamer", "--version"]
"""


@pytest.mark.parametrize(
    "start",
    [f"pkgutil.resolve_name({SCRIPT!r})()", "runpy.run_module('streamer', run_name='__main__')"],
    ids=["script", "module"],
)
def test_a_command_that_is_interrupted_while_it_loads_ends_silently(start: str) -> None:
    code = f"{INTERRUPTED}{start}"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert done.returncode == -signal.SIGINT
