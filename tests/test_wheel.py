"""The built wheel installs no import name that a user's project may have."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.imports import ROOT

OURS = {"streamer", "streamer_models", "streamer_producers"}
SCRIPT = """
import models, producers  # the project's own
from streamer import Publisher, Recommender, Subscriber
import streamer.commands.replay, streamer.learner.step, streamer.scorer.funnel, streamer_models
assert models.OWNER == producers.OWNER == "the project"
print(streamer_models.__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = folder.glob("streamer-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_installs_three_names(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == OURS


def test_a_project_with_modules_of_the_folders_names_can_use_it(
    installed: Path, tmp_path: Path
) -> None:
    for name in ("models", "producers"):
        (tmp_path / f"{name}.py").write_text('OWNER = "the project"\n')
    (tmp_path / "manage.py").write_text(SCRIPT)
    done = subprocess.run(
        # Without -S the editable install of this repository would still be behind the wheel;
        # PYTHONPATH stands before it, so what is printed says which of them was imported.
        [sys.executable, "manage.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed)
