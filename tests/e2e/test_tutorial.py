"""The tutorial: its commands, run in their order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from deploy.kafka.node import free_port
from tests.e2e.test_up import TIMEOUT_S, Up, running_up
from tests.imports import ROOT

PAGE = ROOT / "docs" / "tutorial.md"
PORT = "8080"


def run(block: str, folder: Path, environment: dict[str, str]) -> str:
    """What a block of commands prints; the first that fails ends it."""
    here = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=environment | {"PATH": f"{here}:{os.environ['PATH']}", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT_S,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    return done.stdout


def publish(block: str, up: Up) -> None:
    """Publish the shop as the page says, and wait until it can be recommended."""
    assert "4,000 events and 120 items published" in run(block, up.folder, up.environment())
    assert len(up.recommended("c132", n=5)) >= 5, up.printed()


def slates(shown: str) -> dict[str, int]:
    """Variant → its slates, of a table of an experiment."""
    rows = re.findall(r"(control|varied) +│ +0\.5 │ +(\d+) │ +\d+ │ +(\d+) │", shown)
    assert all(users == n_slates for _, users, n_slates in rows), shown
    return {variant: int(n_slates) for variant, _, n_slates in rows}


def test_the_commands_of_the_tutorial_do_what_it_says(tmp_path: Path) -> None:
    port = str(free_port())
    page = PAGE.read_text(encoding="utf-8").replace(PORT, port)
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    before, after, last = blocks[:3], blocks[3:7], blocks[7:]
    printed = [run(block, tmp_path, dict(os.environ)) for block in before]
    settings = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0]
    assert settings.strip() in printed[1]
    assert settings.strip() in (tmp_path / "streamer.toml").read_text()
    recall = dict(re.findall(r"(popularity|item-cosine|funnel) +│ (\S+)", printed[2]))
    assert float(recall["funnel"]) > float(recall["item-cosine"]) > float(recall["popularity"])
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert f"streamer up --http-port {port}" in page
    with running_up(tmp_path, "--http-port", port) as up:
        publish(after[0], up)
        asked, *sent = [run(block, tmp_path, up.environment()) for block in after[1:]]
    assert "p20 for c132" in asked
    assert "Tea 1" in asked  # what goes with p0, and why
    assert " 0 failed" in asked
    assert json.loads(sent[-1])["accepted"] == 1
    run(last[0], tmp_path, dict(os.environ))
    with running_up(tmp_path, "--http-port", port) as up:
        publish(last[1], up)
        run(last[2], tmp_path, up.environment())
        deadline = time.monotonic() + TIMEOUT_S
        while sum(slates(shown := run(last[3], tmp_path, up.environment())).values()) < 40:
            assert time.monotonic() < deadline, shown
    assert slates(shown) == slates(page)
