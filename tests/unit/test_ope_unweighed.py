"""What a log doesn't say is not made up; what the learner doesn't count is left out and said."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.config import Config, JoinConfig
from streamer.errors import ConfigError, StreamerError
from streamer.events import Event
from streamer.learner.configured import reward_function
from streamer.learner.join.shown import Matching
from streamer.ope.decision_log import DecisionLog
from streamer.ope.obd_log import OpenBanditLog
from tests.unit.ope_files import START_MS, decision, event, obd_line, write_decisions, write_obd

HORIZON_MS = round(JoinConfig().horizon_s * 1_000)
FEW = ["--ci", "normal", "--estimators", "ips,snips"]


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["ope", *words], env={"COLUMNS": "200"})
    if isinstance(result.exception, StreamerError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_feedback_of_another_user_counts_for_nothing_and_what_is_left_out_is_said(
    tmp_path: Path,
) -> None:
    slates = [decision("r", ["a", "b"]), decision("s", ["a", "b"])]
    events = [
        event("r", "a"),
        event("r", "b", user_id="another"),
        event("s", "a", user_id="another"),
        event("s", "c"),
        event(None, "b"),
        event("unknown", "b"),
        event("s", "b", ts=START_MS + HORIZON_MS + 1),
        event("s", "b", "impression"),
    ]
    path = write_decisions(tmp_path, slates, events)
    config = Config()
    log = DecisionLog(path, rewards=reward_function(config), join=config.join)
    assert log.survey().rewards.tolist() == [1.0, 0.0, 0.0]  # only b of s was seen
    said = (
        "6 of 8 events that could be answers found no decision and count for nothing: 2 of another"
        " user than the decision's, 1 of an item that was not shown, 1 without a request_id, of"
        " an item in several slates, 1 of a request that has no decision, 1 later than"
        " join.horizon_s"
    )
    log.survey()
    assert list(log.remarks()) == [said]
    assert said in run(str(path), "--format", "decisions", "--policy", "uniform", *FEW)


@pytest.mark.parametrize(
    ("matches", "reward"), [("always", 1.0), ("reported", 0.0), ("never", 0.0)]
)
def test_an_event_without_a_request_counts_where_the_learner_would_match_it(
    tmp_path: Path, matches: Matching, reward: float
) -> None:
    slates = [decision("r", ["a", "b"]), decision("s", ["c"])]
    late = START_MS + round(1_000 * JoinConfig().window_s) + 1
    events = [event(None, "b"), event(None, "b"), event(None, "a", ts=late), event("s", "c")]
    path = write_decisions(tmp_path, slates, events)
    join = JoinConfig(match_without_request=matches)
    log = DecisionLog(path, rewards=reward_function(Config()), join=join)
    assert log.survey().rewards.tolist() == [0.0, reward, 1.0]
    (said,) = log.remarks()
    assert f"{3 if matches == 'never' else 1} without a request_id" in said
    seen = [event("r", "a", "impression"), event("r", "b", "impression")]
    path = write_decisions(tmp_path / "seen", slates, [*seen, *events])
    log = DecisionLog(path, rewards=reward_function(Config()), join=join)
    assert log.survey().rewards.tolist() == [0.0, float(matches != "never"), 1.0]


def test_the_same_events_of_another_user_are_worth_nothing(tmp_path: Path) -> None:
    slates = [decision(f"r{at}", ["a", "b"]) for at in range(20)]
    clicks: list[Event] = [event(f"r{at}", "a") for at in range(20)]
    config = Config()
    values = []
    for name, user in (("own", "user"), ("other", "another")):
        changed = [event(click.request_id, "a", user_id=user) for click in clicks]
        path = write_decisions(tmp_path / name, slates, changed)
        log = DecisionLog(path, rewards=reward_function(config), join=config.join)
        values.append(log.survey().rewards.sum())
    assert values == [20.0, 0.0]


@pytest.mark.parametrize("ids", [list(range(1, 11)), [1001, 2005, 30010, *range(7, 14)]])
def test_no_item_is_made_up_where_the_log_does_not_say_how_many_there_are(
    tmp_path: Path, ids: list[int]
) -> None:
    rng = random.Random(0)
    path = tmp_path / "log.csv"
    rows = [
        f"{at},2019-11-24 00:00:00+00:00,{rng.choice(ids)},1,{int(rng.random() < 0.2)},0.1"
        for at in range(2_000)
    ]
    path.write_text("\n".join([",timestamp,item_id,position,click,propensity_score", *rows]))
    log = OpenBanditLog(path)
    survey = log.survey()
    assert survey.actions == tuple(map(str, sorted(ids)))
    assert survey.uniform
    assert {
        int(survey.actions[row.candidates[row.chosen]]) for row in log.rows(features=False)
    } == {*ids}
    words = [str(path), "--format", "obd", "--policy", "uniform", *FEW, "--json"]
    output = run(*words, str(tmp_path / "out.json"))
    assert "the log has no affinities, which would say what could be shown: its 10 items" in output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["metrics"]["ips"]["value"] == pytest.approx(found["logged"]["value"])


def test_a_log_with_affinities_has_nothing_to_say_of_its_items(tmp_path: Path) -> None:
    log = OpenBanditLog(write_obd(tmp_path / "all", [obd_line()]))
    assert log.survey().actions == ("0", "1", "2")
    assert list(log.remarks()) == []


@pytest.mark.parametrize(
    ("n_rows", "remedy"), [(3, r"--folds 3, or --reward-model none"), (1, "--reward-model none")]
)
def test_a_small_log_says_how_it_can_be_evaluated(tmp_path: Path, n_rows: int, remedy: str) -> None:
    path = write_obd(tmp_path / "all", [obd_line(propensity=1 / 3)] * n_rows)
    words = [str(path), "--format", "obd", "--policy", "uniform", "--ci", "normal"]
    with pytest.raises(ConfigError, match=rf"from 2 to the log's {n_rows} requests; take {remedy}"):
        run(*words)
    assert "ips" in run(*words, "--reward-model", "none")
    if n_rows > 1:
        assert "dm" in run(*words, "--folds", str(n_rows))
