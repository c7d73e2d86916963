"""A user's own models.py or producers.py in the working directory is never taken for ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = str(Path(sys.executable).parent / "streamer")


@pytest.mark.parametrize(
    "command",
    [
        [SCRIPT],
        [sys.executable, "-m", "streamer"],
        [sys.executable, "-P", "-m", "streamer"],
    ],
    ids=["script", "module", "safe module"],
)
def test_modules_of_the_users_project_are_left_alone(command: list[str], tmp_path: Path) -> None:
    for name in ("models", "producers"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was run')\n")
    arguments = [*command, "config", "--help"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Usage:" in done.stdout
