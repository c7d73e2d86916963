"""``--model all``: every model that ranks, each once, the best first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.commands.screen import output
from streamer.config import Config
from streamer.config.specs import parse_specs
from streamer.errors import ConfigError
from streamer.events import encode
from streamer.ranking.recall.registry import measuring_on
from streamer.replay import league
from streamer.replay.funnel_model import funnel_config
from streamer.replay.league import models_of, not_installed
from streamer.replay.models import MODELS, Task, build_model
from streamer.replay.nightly.registry import NIGHTLY
from tests.unit.replay_logs import random_log


def names(text: str, *, config: Config | None = None, task: Task = "topk") -> list[str]:
    return [spec.text for spec in models_of(parse_specs([text]), config or Config(), task)]


@pytest.mark.parametrize("task", get_args(Task))
@pytest.mark.parametrize("installed", [True, False])
def test_every_model_that_can_do_the_task_is_in_it(
    task: Task, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(league, "INSTALLED", installed)
    found = names("all", task=task)
    assert len(set(found)) == len(found)
    families = {each.partition(":")[0] for each in found}
    for name in MODELS:
        try:
            build_model(parse_specs([name])[0], task=task, seed=0)
        except ConfigError:
            assert name not in families
        else:
            assert name in families
    assert ("funnel" in families) is (task == "topk")
    nightly = [each for each in NIGHTLY if each == "ease" or installed] if task == "topk" else []
    assert {f"nightly:{each}" for each in nightly} == {
        each for each in found if each.startswith("nightly:") and "," not in each
    }
    missing = not_installed(parse_specs(["all"]), task)
    assert missing == ([] if installed or task == "rating" else ["nightly:als", "nightly:bpr"])
    assert not_installed(parse_specs(["funnel"]), task) == []


def test_a_channel_that_is_on_is_in_it_and_one_that_is_off_is_not() -> None:
    config = Config()
    assert set(measuring_on(config)) == {
        "similar",
        "next",
        "popular",
        "time_of_day",
        "session",
        "taste",
    }
    assert {f"channel:{each}" for each in measuring_on(config)} < set(names("all"))
    less = funnel_config(config, {"recall.next.candidates": 0}, seed=0, n_partitions=1)
    assert "channel:next" not in names("all", config=less)
    assert "channel:similar" in names("all", config=less)


def test_all_stands_beside_others_and_none_is_there_twice() -> None:
    found = names("isgd,all,popularity:half_life=7d")
    assert found[0] == "isgd"
    assert found[-1] == "popularity:half_life=7d"
    assert found.count("isgd") == 1
    assert set(names("all")) < set(found)


@pytest.mark.parametrize(
    ("task", "words", "lead"),
    [("topk", ["--positives", "value>=4"], "recall@10"), ("rating", [], "rmse")],
)
def test_one_command_prints_the_league_the_best_first(
    task: Task, words: list[str], lead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(output, "width", 160)  # wherever it was made
    log = random_log(250, seed=1)
    (tmp_path / "log.jsonl").write_bytes(b"".join(encode(each) + b"\n" for each in log.events()))
    typed = ["replay", "log.jsonl", "--task", task, "--model", "all", *words, "--json", "out.json"]
    done = CliRunner().invoke(app, typed)
    assert done.exit_code == 0, done.output
    lines = [line.split("│")[1:-1] for line in done.output.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line] for line in lines]
    n_models = len(names("all", task=task))
    rows, beside = cells[:n_models], cells[n_models:]
    n_tables = 2 if task == "topk" else 0  # of scores, and of lists
    assert [row[0] for row in beside] == n_tables * [row[0] for row in rows]
    assert sorted(row[0] for row in rows) == sorted(names("all", task=task))
    leads = [float(row[1].split()[0]) for row in rows]
    assert leads == sorted(leads, reverse=task == "topk")
    assert leads[0] != leads[-1]
    metrics = json.loads((tmp_path / "out.json").read_text())["metrics"]
    for name, value, *_, took_us in rows:
        assert f"{metrics[name][lead]:.4f}" == value.split()[0]
        assert took_us == f"{1e6 / metrics[name]['events_per_s']:,.0f}"
