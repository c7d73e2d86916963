"""Several objectives: outcomes told apart, learned by themselves, weighed when a slate is made."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from streamer.cli import app
from streamer.config import Config, changed, load_config
from streamer.errors import ConfigError
from streamer.events import Decision, Event, Item, Request, decode_decision, decode_event
from streamer.learner.configured import reward_function
from streamer.learner.rewards import Rewards
from streamer.model_set import build_models, store_layout
from streamer.ope.bandit_log import BanditLog, Faults, Survey
from streamer.ope.decision_log import DecisionLog
from streamer.ope.logged_rewards import LoggedRewards
from streamer.ope.sweep import surveyed, swept_configs
from streamer.ranking.columns import feature_names
from streamer.scorer.explanation import explain
from streamer.scorer.funnel import Funnel
from streamer.simulation.live import LiveSystem
from streamer_models.bandits.linear_posterior import LinearPrior
from streamer_models.bandits.linear_statistics import LinearStatistics
from streamer_models.bandits.objectives import weighed
from tests.unit.ope_files import simulated_slates, write_decisions
from tests.verified_slates import verified_again
from tests.verified_store import verified_store

START_MS = 1_700_000_000_000
N_ITEMS, N_STEPS = 24, 150
OBJECTIVES = {
    "events.purchase.weight": 1.0,
    "objectives.click.events": ["click"],
    "objectives.click.weight": 1.0,
    "objectives.purchase.events": ["purchase"],
    "objectives.purchase.weight": 0.0,
}


def _config(**flags: object) -> Config:
    small = {
        "topics.partitions": 2,
        "bandit.policy": "greedy",
        "bandit.uniform_share": 0.2,
        "bandit.blend_strength": 20.0,
        "recall.session.factors": 4,
        "recall.random.candidates": N_ITEMS,
        "join.window_s": 3,
    }
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load_config(env={}, flags={**small, **OBJECTIVES, **given})


def _is_bait(item_id: str) -> bool:
    """Items of even numbers are clicked often and never bought."""
    return int(item_id.removeprefix("i")) % 2 == 0


def _play(live: LiveSystem) -> LiveSystem:
    rng = np.random.default_rng(5)
    now_ms = live.clock.now_ms()
    live.publish(*(Item(item_id=f"i{n}", created_ts=now_ms) for n in range(N_ITEMS)))
    for step in range(N_STEPS):
        now_ms = live.clock.now_ms()
        for answer in live.ask([f"u{step}"], k=6):
            kinds = ((each, _reported(each, rng)) for each in answer.item_ids)
            live.publish(
                *(
                    Event(
                        event_id=f"{answer.recommendation.request_id}-{item_id}-{kind}",
                        type=kind,
                        user_id=answer.recommendation.user_id,
                        item_id=item_id,
                        ts=now_ms + 10,
                        request_id=answer.recommendation.request_id,
                    )
                    for item_id, reported in kinds
                    for kind in reported
                )
            )
        live.advance(now_ms + 1_000)
    live.advance(live.clock.now_ms() + 10_000)
    return live


def _reported(item_id: str, rng: np.random.Generator) -> list[str]:
    """Return the types of events that come of an item shown."""
    bait = _is_bait(item_id)
    clicked = rng.random() < (0.5 if bait else 0.25)
    bought = clicked and not bait and rng.random() < 0.8
    return ["impression", *["click"] * clicked, *["purchase"] * bought]


@cache
def _played() -> LiveSystem:
    return _play(LiveSystem(_config(), start_ms=START_MS, sync_interval_ms=1_000))


def _decisions(live: LiveSystem) -> list[Decision]:
    found = [decode_decision(each.value) for each in live.broker.records("decisions")]
    return [each for each in found if each.items]


def _share_of_bait(config: Config) -> float:
    """Of the slates of all users, over what was learned, under other settings that only serve."""
    live, funnel = _played(), Funnel(config)
    version, catalogue = live.scorer.replica.current(), live.scorer.catalogue
    requests = (
        replace(_request(live), request_id=f"r{user}", user_id=f"new{user}") for user in range(40)
    )
    slates = [funnel.recommend(each, version, catalogue) for each in requests]
    shown = [item_id for slate in slates for item_id in slate.item_ids]
    return float(np.mean([_is_bait(each) for each in shown]))


def _request(live: LiveSystem) -> Request:
    return Request(request_id="r", user_id="u1", ts=live.clock.now_ms(), k=6, preview=True)


def test_other_weights_change_slates_and_need_no_other_store() -> None:
    sure = {"bandit.uniform_share": 0.0}
    of_clicks = changed(_config(), sure)
    of_purchases = changed(
        of_clicks, {"objectives.click.weight": 0.0, "objectives.purchase.weight": 1.0}
    )
    layouts = [store_layout(each, build_models(each)) for each in (of_clicks, of_purchases)]
    assert layouts[0].generations[0].models == layouts[1].generations[0].models
    assert layouts[0].generations[0].learner == layouts[1].generations[0].learner
    assert _share_of_bait(of_clicks) > 0.7
    assert _share_of_bait(of_purchases) < 0.3


def test_a_weight_below_0_avoids_what_it_weighs() -> None:
    avoiding = {"bandit.uniform_share": 0.0, "objectives.click.weight": -1.0}
    # Some bait was hardly ever shown, so nothing is known against it.
    assert _share_of_bait(changed(_config(), avoiding)) < 0.7


def test_decisions_say_what_was_weighed_and_are_made_again_to_the_bit() -> None:
    live = _played()
    decisions = _decisions(live)
    assert {tuple((each.objectives or {}).items()) for each in decisions} == {
        (("click", 1.0), ("purchase", 0.0))
    }
    found = verified_again(live, decisions)
    assert (found.n_same, found.n_different) == (len(decisions), 0), found.problems
    verified = verified_store(live)
    assert not verified.problems, verified.problems


def _reported_in(live: LiveSystem, kind: str) -> int:
    events = (
        decode_event(each.value, live.config.event_types) for each in live.broker.records("events")
    )
    return sum(each.type == kind for each in events)


def test_what_is_expected_is_compared_with_the_weighed_outcomes() -> None:
    counts = _played().counts.join
    n, observed = counts.n_foreseen.sum(), counts.observed_sums.sum()
    # Purchases weigh nothing in the score, though they are rewards.
    assert n == counts.n_outcomes
    assert observed == pytest.approx(_reported_in(_played(), "click"))
    assert counts.reward_sum == pytest.approx(observed + _reported_in(_played(), "purchase"))


def test_an_explanation_says_what_is_expected_of_each_objective() -> None:
    live = _played()
    config = changed(live.config, {"objectives.purchase.weight": 2.0})
    version, catalogue = live.scorer.replica.current(), live.scorer.catalogue
    by_item = {}
    for item_id in ("i0", "i1"):
        found = explain(config, _request(live), item_id, version, catalogue)
        assert found.expected == pytest.approx(
            found.objectives["click"] + 2.0 * found.objectives["purchase"], abs=1e-6
        )
        by_item[item_id] = found.objectives
    assert by_item["i0"]["click"] > by_item["i1"]["click"]
    assert by_item["i0"]["purchase"] < by_item["i1"]["purchase"]


def test_statistics_of_a_weighed_sum_are_those_of_that_reward() -> None:
    rng = np.random.default_rng(2)
    x, outcomes = rng.normal(size=(50, 4)), rng.normal(size=(50, 3))
    weights = np.array([1.0, -2.0, 0.5])
    z, score = np.hstack([x, outcomes]), outcomes @ weights
    joint = LinearStatistics(50.0, 0.0, np.zeros(7), z.T @ z)
    prior = LinearPrior(mean=np.zeros(4), strength=2.0, reward=0.3, arm_strength=1.0)
    found = prior.posterior(weighed(joint, weights))
    right = prior.posterior(LinearStatistics(50.0, float(score @ score), score @ x, x.T @ x))
    np.testing.assert_allclose(found.mean, right.mean, atol=1e-12)
    np.testing.assert_allclose(found.noise, right.noise, rtol=1e-12)


def test_an_event_brings_the_share_of_its_range_whatever_its_type_is_worth() -> None:
    config = load_config(
        env={},
        flags={
            "events.watch.weight": 0.0,
            "objectives.watched.events": ["watch"],
            "objectives.any.events": ["watch", "like"],
        },
    )
    rewards = Rewards(config.events, config.objectives)
    codes = [rewards.event_types.codes[name] for name in ("watch", "like", "click")]
    found = rewards.outcomes(np.array(codes, np.int8), np.array([0.25, np.nan, np.nan]))
    assert found.serves.tolist() == [0b11, 0b10, 0]
    assert found.shares.tolist() == [0.25, 1.0, 1.0]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"objectives.buy.weight": 2.0}, r"objectives\.buy\.events: an objective needs types"),
        ({"objectives.buy.events": ["sale"]}, r"'sale' is no type of event; add it to \[events\]"),
        (
            {"objectives.buy.events": ["purchase"], "objectives.buy.weight": 0},
            "all weights are 0",
        ),
        (
            {"objectives.buy.events": ["purchase"], "bandit.policy": "ucb1"},
            r"bandit\.policy: ucb1 knows rewards alone; set linear-thompson or linucb",
        ),
        (
            {"objectives.buy.events": ["purchase"], "bandit.form": "disjoint"},
            r"bandit\.form: disjoint: items have models of rewards alone; set shared",
        ),
        (
            {"objectives.buy.events": ["purchase"], "funnel.ranker": "blend"},
            r"funnel\.ranker: blend foresees no outcomes",
        ),
        (
            {f"objectives.o{n}.events": ["click"] for n in range(17)},
            "17 objectives are over 16; join some",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(flags: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(env={}, flags=flags)


def test_without_objectives_nothing_of_them_is_learned_or_ranked_by() -> None:
    plain = load_config(env={}, flags={})
    assert not any(type(each).__name__ == "Objectives" for each in build_models(plain))
    asked = load_config(env={}, flags={"objectives.buy.events": ["purchase"]})
    assert [each for each in feature_names(asked) if each not in feature_names(plain)] == [
        "buy_rate"
    ]


# --- off-policy evaluation ----------------------------------------------------------------------


def _ope(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """Value a policy over what was logged; the JSON of the command."""
    folder, out = tmp_path / "log", tmp_path / "out.json"
    folder.mkdir(exist_ok=True)
    for topic in ("decisions", "events"):
        records = sorted(_played().broker.records(topic), key=lambda each: each.publish_ms)
        (folder / f"{topic}.jsonl").write_bytes(b"\n".join(each.value or b"" for each in records))
    settings = tmp_path / "streamer.toml"
    settings.write_text(
        '[objectives]\nclick.events = ["click"]\npurchase.events = ["purchase"]\n'
        "purchase.weight = 0.0\n[bandit]\nblend_strength = 20.0\n"
        "[recall.session]\nfactors = 4\n[join]\nwindow_s = 3\n"
    )
    asked = ["ope", str(folder), "--format", "decisions", "--config", str(settings)]
    options = ["--estimators", "ips,snips", "--ci", "normal", "--json", str(out)]
    result = CliRunner().invoke(app, [*asked, *options, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_a_log_says_what_each_objective_brings(tmp_path: Path) -> None:
    found = _ope(tmp_path, "--policy", "uniform")
    clicks, purchases = (found["objectives"][name] for name in ("click", "purchase"))
    n = found["n"]
    assert clicks["logged"]["value"] == pytest.approx(_reported_in(_played(), "click") / n)
    assert purchases["logged"]["value"] == pytest.approx(_reported_in(_played(), "purchase") / n)
    # The weight of purchases is 0, so the score is what clicks bring.
    assert found["logged"]["value"] == clicks["logged"]["value"]
    assert found["metrics"]["snips"]["value"] == clicks["snips"]["value"]
    assert purchases["snips"]["value"] != clicks["snips"]["value"]


def test_a_sweep_says_what_other_weights_would_bring(tmp_path: Path) -> None:
    sweep = "objectives.purchase.weight=0,8"
    report = tmp_path / "out.html"
    found = _ope(tmp_path, "--policy", "greedy", "--sweep", sweep, "--report", str(report))
    assert (found["kind"], found["key"]) == ("ope_sweep", "objectives.purchase.weight")
    assert [each["value"] for each in found["runs"]] == ["0", "8"]
    of_clicks, of_purchases = (each["result"]["objectives"] for each in found["runs"])
    assert of_purchases["purchase"]["snips"]["value"] > of_clicks["purchase"]["snips"]["value"]
    assert of_purchases["purchase"]["logged"] == of_clicks["purchase"]["logged"]
    text = report.read_text()
    assert text.index("Objective click") < text.index("Weighed sum")
    for each in (of_clicks, of_purchases):
        low, high = each["purchase"]["snips"]["interval"]
        assert f"({low:.4g} to {high:.4g})" in text


def test_a_sweep_reads_once_and_says_what_separate_runs_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_joins = 0
    read = LoggedRewards.read

    def counted(rewards: LoggedRewards, faults: Faults) -> None:
        nonlocal n_joins
        n_joins += 1
        read(rewards, faults)

    monkeypatch.setattr(LoggedRewards, "read", counted)
    models = ("--policy", "greedy", "--estimators", "snips,dr", "--folds", "2")
    swept = _ope(tmp_path, *models, "--sweep", "objectives.purchase.weight=0,8")
    assert n_joins == 1
    first, second = (each["result"] for each in swept["runs"])
    monkeypatch.setenv("STREAMER_OBJECTIVES__PURCHASE__WEIGHT", "8")
    assert _ope(tmp_path, *models) == second
    assert second["logged"]["value"] > first["logged"]["value"]


def test_a_sweep_of_a_policy_over_rewards_has_what_was_surveyed(tmp_path: Path) -> None:
    write_decisions(tmp_path, *simulated_slates(20))
    configs = [changed(Config(), {"bandit.alpha": alpha}) for alpha in (0.1, 1.0)]

    def read(config: Config) -> tuple[BanditLog, Survey]:
        log = DecisionLog(tmp_path, rewards=reward_function(config), join=config.join)
        return log, log.survey()

    (log, survey), (again, same) = surveyed(configs, read)
    assert same is survey
    for one, other in zip(log.rows(features=True), again.rows(features=True), strict=True):
        assert (one.reward, one.chosen, one.slot) == (other.reward, other.chosen, other.slot)
        assert np.array_equal(one.features, other.features)


def test_a_sweep_of_what_events_bring_joins_them_anew() -> None:
    settings = [{"objectives.buy.events": events} for events in (["purchase"], ["click"])]
    logs: list[Config] = []

    def read(config: Config) -> Any:
        logs.append(config)
        return object.__new__(DecisionLog), object()

    configs = [load_config(env={}, flags=each) for each in settings]
    assert len(list(surveyed(configs, read))) == 2
    assert logs == configs


@pytest.mark.parametrize(
    ("sweep", "reason"),
    [
        ("learner.users_max=1,2", r"give a key of \[objectives\] or \[bandit\]"),
        ("bandit.alpha=0.1", "two values or more"),
        ("bandit.alpha=0.1,many", r'--sweep: bandit\.alpha = "many" is refused'),
    ],
)
def test_a_sweep_of_what_makes_no_policy_is_refused(sweep: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        swept_configs(sweep, Config())
