"""The page on adding things works as it is written: its files, its lines, its tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extended import PAGE, Extended, documented, extended
from tests.imports import ROOT

CONFIGURATION = str(ROOT / "pyproject.toml")

TESTED = """
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-c", {configuration!r}, *{tests!r}]))
"""

READ = """
from collections.abc import Sequence

from streamer.ranking.columns.family import Block, Column, Family
from streamer.ranking.columns.registry import registered_for_now
from streamer.ranking.scored import ScoredCandidates
from streamer_models.counters.likes import Likes
from tests.scoring import Partitions, Shop, bandit_of, crowd, small_models

class LikesColumn(Family):
    def describe(self) -> Sequence[Column]:
        return [Column("likes", "likes of the item")]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        context, candidates = scored.context, scored.candidates
        assert {model} is not None
        out[0] = {read}

with registered_for_now(LikesColumn):
    models = [*small_models(bandit=bandit_of(Shop(features={{}}).config)), Likes()]
    shop = Shop(features={{}}, learned=Partitions(1, models=models))
    shop.click(*crowd("a", 3), *crowd("b", 2))
    shop.publish("new")
    slate = shop.ask("ann")
    likes = dict(zip(slate.candidates, slate.features.column("likes").tolist(), strict=True))
    assert likes == {{"a": 3, "b": 2, "new": 0}}, likes

    shop = Shop()
    assert shop.version().model(Likes) is None
    try:
        shop.version().tables.read(Likes().likes)
    except KeyError:
        pass
    else:
        raise AssertionError("a table that no model keeps was read")
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Extended:
    return extended(tmp_path_factory.mktemp("extended"))


def test_the_tests_of_the_page_pass(page: Extended) -> None:
    assert len(page.tests) == 4
    page.run(TESTED.format(configuration=CONFIGURATION, tests=[str(each) for each in page.tests]))


def test_its_code_passes_the_checks(tmp_path: Path) -> None:
    files = []
    for path, source in documented().items():
        files.append(tmp_path / path)
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_text(source, encoding="utf-8")
    for check in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *check, "--no-cache", "--config", CONFIGURATION]
        done = subprocess.run([*command, *files], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_it_adds_makes_no_command_wait_for_a_compiler(page: Extended) -> None:
    page.run("import streamer.cli, streamer.config; sys.exit('numba' in sys.modules)")


def test_a_model_is_read_as_the_page_says(page: Extended) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (read,) = re.findall(r"`(context\.tables\.read\(.*?)`", text)
    (model,) = re.findall(r"`(context\.version\.model\(\w+\))`", text)
    page.run(READ.format(read=read, model=model))
