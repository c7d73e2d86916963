"""Policies to evaluate: what they would have chosen, and how they are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from streamer.config import BanditConfig, Config, JoinConfig
from streamer.errors import ConfigError, LogRefused
from streamer.events import Decision, Event, encode, pack_features
from streamer.learner.configured import join_settings, reward_function
from streamer.learner.join.answers import DecidedBatch, decode_decisions
from streamer.learner.join.join import Join
from streamer.learner.join.shown import Shown
from streamer.ope.bandit_log import Survey
from streamer.ope.beta_priors import BetaPrior, read_beta_prior
from streamer.ope.decision_log import DecisionLog
from streamer.ope.evaluation_policies import EvaluationPolicy
from streamer.ope.learning_policies import LearningPolicy
from streamer.ope.obd_log import OpenBanditLog
from streamer.ope.policy_specs import best_fixed, open_policy
from streamer.protocols import MessageBatch
from streamer.ranking.columns import feature_names, prior_mean
from streamer.ranking.policy import configured_policy
from streamer_models.bandits.in_memory import InMemoryBandit
from streamer_models.bandits.linear_memory import LinearMemory
from streamer_models.bandits.policies.registry import POLICIES
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.inputs import Examples
from tests.joins import Answer, answers_at
from tests.unit.ope_files import (
    START_MS,
    decision,
    event,
    obd_line,
    write_decisions,
    write_obd,
)

PRIOR = """\
# A prior of two campaigns.
all:
  alpha:
    - 2.0
    - 5.5
    - 1
  beta:
    - 20.0
    - 30.0
    - 3
men:
  alpha:
    - 1
  beta:
    - 1
"""
LINES = [
    obd_line(0, 1, 0, 0.5),
    obd_line(1, 1, 1, 0.25),
    obd_line(1, 2, 0, 0.25),
    obd_line(2, 2, 1, 0.125),
]


@pytest.fixture
def log(tmp_path: Path) -> OpenBanditLog:
    return OpenBanditLog(write_obd(tmp_path / "all", LINES))


def chosen(log: OpenBanditLog, survey: Survey, policy: EvaluationPolicy) -> list[list[float]]:
    return [policy.probabilities(row).tolist() for row in log.rows(features=True)]


def test_policies_that_read_nothing(log: OpenBanditLog) -> None:
    survey = log.survey()
    uniform = open_policy("uniform", log, survey)()
    assert chosen(log, survey, uniform) == [[1 / 3] * 3] * 4
    fixed = open_policy("fixed:1", log, survey)()
    assert chosen(log, survey, fixed) == [[0, 1, 0]] * 4
    best = open_policy("best-fixed", log, survey)()
    assert chosen(log, survey, best) == [[0, 0, 1]] * 4


def test_the_best_fixed_action_has_the_highest_weighed_rate() -> None:
    survey = Survey(
        actions=("a", "b", "never shown"),
        positions=(0,),
        requests=np.arange(5),
        slots=np.zeros(5, dtype=np.intp),
        chosen=np.array([0, 0, 1, 1, 1]),
        rewards=np.array([1.0, 0.0, 1.0, 0.0, 1.0]),
        propensities=np.array([0.1, 0.5, 0.9, 0.1, 0.9]),
        uniform=False,
        n_malformed=0,
        malformed=(),
    )
    # By counts b is better (2 of 3), weighed a is: 10 / 12 against (2 / .9) / (2 / .9 + 10).
    assert best_fixed(survey) == 0


# --- a Beta prior -------------------------------------------------------------------------------


def test_integration_agrees_with_drawing() -> None:
    prior = BetaPrior(np.array([0.5, 40.0, 3.0, 7.0, 900.0]), np.array([2.0, 300, 9, 90, 9_000]))
    exact = prior.slot_probabilities(3)
    n_draws = 100_000
    drawn = prior.drawn_slot_probabilities(3, n_draws=n_draws, seed=1)
    assert exact.sum(axis=1) == pytest.approx(1.0)
    # 15 frequencies: 4 standard errors, and a little for those that never occur.
    assert (abs(exact - drawn) <= 4 * np.sqrt(exact * (1 - exact) / n_draws) + 1e-5).all()


def test_integration_knows_a_closed_form() -> None:
    # P(X > Y) for X ~ Beta(2, 1), Y ~ Beta(1, 1) is E X = 2/3; the loser is second.
    found = BetaPrior(np.array([2.0, 1.0]), np.array([1.0, 1.0])).slot_probabilities(2)
    assert found == pytest.approx(np.array([[2 / 3, 1 / 3], [1 / 3, 2 / 3]]), abs=1e-3)


def test_rates_known_too_exactly_are_drawn_instead() -> None:
    prior = BetaPrior(np.array([1e14, 1.0]), np.array([1e14, 1.0]))
    with pytest.raises(ConfigError, match="draws=100000"):
        prior.slot_probabilities(1)
    assert prior.drawn_slot_probabilities(1, n_draws=1_000, seed=0).sum() == pytest.approx(1.0)


def test_a_prior_is_read_for_the_campaign_of_the_log(tmp_path: Path, log: OpenBanditLog) -> None:
    path = tmp_path / "prior.yaml"
    path.write_text(PRIOR)
    prior = read_beta_prior(path, "all")
    assert prior.alpha.tolist() == [2.0, 5.5, 1.0]
    assert prior.beta.tolist() == [20.0, 30.0, 3.0]
    survey = log.survey()
    exact = prior.slot_probabilities(2)
    found = chosen(log, survey, open_policy(f"bts:{path}", log, survey)())
    assert found == [exact[slot].tolist() for slot in survey.slots]
    drawn = open_policy(f"bts:{path},draws=1000", log, survey, seed=3)()
    expected = prior.drawn_slot_probabilities(2, n_draws=1_000, seed=3)
    assert chosen(log, survey, drawn)[0] == expected[0].tolist()
    with pytest.raises(ConfigError, match="1 items for a log of 3"):
        open_policy(f"bts:{path},campaign=men", log, survey)
    with pytest.raises(ConfigError, match="draws=0 must be at least 1"):
        open_policy(f"bts:{path},draws=0", log, survey)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("all:\n  alpha:\n    - 1\n", "1 alphas and 0 betas"),
        ("all:\n  alpha:\n    - 1\n  beta:\n    - 0\n", "above 0"),
        ("all:\n  alpha:\n    - x\n", r":3: 'x' is not a number"),
        ("- 1\n", r":1: .*neither a key nor"),
        ("all: {alpha: [1]}\n", r":1: .*neither a key nor"),
        ("men:\n  alpha:\n    - 1\n", "has the campaigns men, not 'all'"),
    ],
)
def test_another_file_is_no_prior(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "prior.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        read_beta_prior(path, "all")
    with pytest.raises(ConfigError, match="can't be read"):
        read_beta_prior(tmp_path / "none.yaml", "all")


# --- names and bandits --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("magic", "there are uniform, best-fixed"),
        ("fixed:9", "no such item; it has 0, 1, 2"),
        ("uniform:alpha=1", "no parameter of uniform"),
        ("uniform,best-fixed", "one at a time"),
        ("logged:decisions.jsonl", "needs a log of decisions"),
        ("linucb:form=wide", "form='wide' must be shared or disjoint"),
        ("linucb:alpha=-1", "alpha=-1.0 must be at least 0"),
        ("linucb:alpha=much", "alpha='much' is wrong"),
        ("linucb:temperature=1", "no parameter of linucb"),
    ],
)
def test_a_policy_that_is_none_says_why(log: OpenBanditLog, spec: str, complaint: str) -> None:
    survey = log.survey()
    with pytest.raises(ConfigError, match=complaint):
        open_policy(spec, log, survey)()


@pytest.mark.parametrize("name", POLICIES)
def test_bandits_learn_which_item_pays(tmp_path: Path, name: str) -> None:
    lines = [obd_line(item, 1, int(item == 1), 1 / 3) for item in (0, 1, 2)] * 40
    log = OpenBanditLog(write_obd(tmp_path / "all", lines))
    survey = log.survey()
    make = open_policy(f"{name}:alpha=0.1" if name in ("linucb", "ucb1") else name, log, survey)
    policy = make()
    rows = list(log.rows(features=True))
    for row in rows:
        policy.learn(row)
    picks = np.sum([policy.probabilities(row) for row in rows], axis=0)
    assert picks.sum() == len(rows)
    assert picks.argmax() == 1
    assert picks[1] > 0.8 * len(rows)
    # Another one has learned nothing of it, and draws the same numbers again.
    fresh, again = make(), make()
    assert [fresh.probabilities(row).tolist() for row in rows] == [
        again.probabilities(row).tolist() for row in rows
    ]


def test_a_bandit_refuses_what_it_cannot_learn(tmp_path: Path) -> None:
    log = OpenBanditLog(write_obd(tmp_path / "all", [obd_line(click=1e12)]))
    survey = log.survey()
    policy = open_policy("linucb", log, survey)()
    (row,) = log.rows(features=True)
    with pytest.raises(LogRefused, match="can't learn"):
        policy.learn(row)


def decisions_and_events(
    config: Config, n: int, *, n_slots: int = 1
) -> tuple[list[Decision], list[Event]]:
    """Decisions with the columns of a configuration, clicks on what the blend likes least."""
    rng = np.random.default_rng(4)
    names = feature_names(config)
    decisions, events = [], []
    for number in range(n):
        x = rng.normal(size=(3, len(names))).astype(np.float32)
        x[:, 0] = 1.0
        shown = rng.permutation(3)[:n_slots].tolist()
        request, items = f"r{number}", ["abc"[at] for at in shown]
        changed = {"feature_names": list(names), "features": pack_features(x)}
        if n_slots > 1:
            changed["propensities"] = rng.uniform(0.01, 1.0, n_slots).tolist()
        decisions.append(decision(request, items, **changed))
        events += [
            event(request, item)
            for at, item in zip(shown, items, strict=True)
            if prior_mean(config) @ x[at] < 0
        ]
    return decisions, events


def logged_decisions(folder: Path, config: Config, n: int = 200, **given: int) -> DecisionLog:
    """A log of :func:`decisions_and_events`."""
    log = write_decisions(folder, *decisions_and_events(config, n, **given))
    return DecisionLog(log, rewards=reward_function(config), join=config.join)


@pytest.mark.parametrize("name", POLICIES)
def test_on_own_decisions_a_policy_is_the_live_one(tmp_path: Path, name: str) -> None:
    """Settings of ``[bandit]``, over the blend: what a scorer would choose from nothing."""
    bandit = BanditConfig(
        policy=name, prior_strength=7.0, blend_strength=7.0, alpha=0.4, uniform_share=0.0
    )
    config = Config(bandit=bandit)
    log = logged_decisions(tmp_path, config)
    survey = log.survey()
    made = open_policy(name, log, survey, config=config)()
    bandit_in_memory = InMemoryBandit(configured_policy(config))
    arms = keys_of(survey.actions)
    seeds = np.random.default_rng(0)
    picks = []
    for row in log.rows(features=True):
        seed = int(seeds.integers(1 << 62))
        (live,) = bandit_in_memory.choose(row.features, arms[row.candidates], 1, seed).order
        assert made.probabilities(row)[live] == 1.0
        picks.append(int(live))
        if len(picks) == 1 and name in ("greedy", "epsilon-greedy"):
            assert live == np.argmax(row.features @ prior_mean(config))  # the blend
        made.learn(row)
        bandit_in_memory.update(
            row.learned[None],
            arms[row.candidates[row.chosen : row.chosen + 1]],
            np.array([row.reward]),
            np.array([row.ts_ms]),
        )
    assert len(set(picks)) > 1, "it picks by what it is given"


def learned_live(
    config: Config, decisions: Sequence[Decision], events: Sequence[Event]
) -> Examples:
    """What the learner's join makes of decisions and of the events that answer them."""
    batch = MessageBatch(
        "decisions",
        0,
        [encode(each) for each in decisions],
        np.arange(len(decisions)),
        np.full(len(decisions), START_MS),
    )
    join = Join(join_settings(config))
    decided, rejected = decode_decisions(batch, feature_names(config))
    assert not rejected
    given = [Answer(each.ts, each.request_id, each.user_id, each.item_id or "") for each in events]
    end = Shown(
        "",
        "",
        len(decisions),
        START_MS + 10**9,
        [],
        np.empty((0, 0), dtype=np.float32),
        expected=None,
    )
    found = [
        join.take(decided, None),
        join.take(None, answers_at(given, 0, len(given))),
        join.take(DecidedBatch([end], len(decisions) + 1), None),
    ]
    return Examples.concat([each.examples for each in found])


@pytest.mark.parametrize("most", [1.0, 20.0])
@pytest.mark.parametrize("form", ["shared", "disjoint"])
def test_on_own_decisions_a_policy_learns_what_the_learner_does(
    tmp_path: Path, form: str, most: float
) -> None:
    """The same statistics to the bit: by weights of propensities, and with positions."""
    bandit = BanditConfig(form=form, propensity_weight_max=most, arms_max=3)
    config = Config(bandit=bandit, join=JoinConfig(unanswered="counts"))
    decisions, events = decisions_and_events(config, 60, n_slots=2)
    log = logged_decisions(tmp_path, config, 60, n_slots=2)
    policy = open_policy("linear-thompson", log, log.survey(), config=config)()
    assert isinstance(policy, LearningPolicy)
    for row in log.rows(features=True):
        policy.learn(row)
    examples = learned_live(config, decisions, events)
    live = InMemoryBandit(configured_policy(config), arms_max=config.bandit.arms_max)
    live.amend(
        examples.features,
        keys_of(examples.arm_ids),
        examples.before,
        examples.after,
        examples.ts_ms,
        examples.weights,
    )
    ours, theirs = policy.bandit.learned, live.learned
    assert isinstance(ours, LinearMemory)
    assert isinstance(theirs, LinearMemory)
    np.testing.assert_array_equal(ours.shared.values, theirs.shared.values)
    assert ours.shared.statistics(0).n == pytest.approx(
        float(np.minimum(1 / log.survey().propensities, most).sum())
    )
    if form == "disjoint":
        keys = keys_of("abc")
        assert ours.own is not None
        assert theirs.own is not None
        np.testing.assert_array_equal(
            ours.own.values[ours.arms.find(keys)], theirs.own.values[theirs.arms.find(keys)]
        )


def test_statistics_of_a_policy_are_bounded_as_they_are_live(tmp_path: Path) -> None:
    config = Config(bandit=BanditConfig(arms_max=2, half_life_s=3_600.0))
    log = logged_decisions(tmp_path, config, n=20)
    survey = log.survey()
    of_bandit = {"half_life_s": 3_600.0, "arms_max": 2, "propensity_weight_max": 1.0}
    made = open_policy("linucb", log, survey, config=config)()
    assert {name: made.parameters[name] for name in of_bandit} == of_bandit
    spec = "linucb:arms_max=7,propensity_weight_max=5"
    given = open_policy(spec, log, survey, config=config)()
    assert (given.parameters["arms_max"], given.parameters["propensity_weight_max"]) == (7, 5.0)
    with pytest.raises(ConfigError, match=r"propensity_weight_max=0\.5 must be from 1 to 1000"):
        open_policy("linucb:propensity_weight_max=0.5", log, survey, config=config)()


def test_what_a_policy_drew_itself_counts_by_its_own_propensity(tmp_path: Path) -> None:
    """Replay matching shows it what it chose: by the propensities of the log all would be alike."""
    config = Config(bandit=BanditConfig(uniform_share=0.3, propensity_weight_max=20.0))
    log = logged_decisions(tmp_path, config)
    survey = log.survey()
    policy = open_policy("epsilon-greedy", log, survey, config=config)()
    assert isinstance(policy, LearningPolicy)
    assert isinstance(policy.bandit.learned, LinearMemory)
    weights = set()
    for row in log.rows(features=True):
        before = policy.bandit.learned.shared.statistics(0).n
        policy.probabilities(row)
        policy.learn(row, drawn=True)
        n = policy.bandit.learned.shared.statistics(0).n
        weights.add(round(n - before, 3))
    assert weights == {1.25, 10.0}  # 1 / (1 - 0.3 + 0.3 / 3), 1 / (0.3 / 3)


def test_a_parameter_changes_a_setting_of_the_configuration(tmp_path: Path) -> None:
    config = Config()
    log = logged_decisions(tmp_path, config, n=20)
    survey = log.survey()
    with pytest.raises(ConfigError, match=r"temperature=-1\.0 must be above 0"):
        open_policy("plackett-luce:temperature=-1", log, survey, config=config)()
    for share, n_drawn in ((0, 1), (1, 3)):
        spec = f"epsilon-greedy:uniform_share={share}"
        policy = open_policy(spec, log, survey, config=config)()
        (row, *_) = log.rows(features=True)
        drawn = {int(policy.probabilities(row).argmax()) for _ in range(50)}
        assert len(drawn) == n_drawn


def test_the_blend_by_itself_takes_what_it_places_first(tmp_path: Path) -> None:
    config = Config()
    log = logged_decisions(tmp_path, config)
    policy = open_policy("blend", log, log.survey(), config=config)()
    column = feature_names(config).index("blend_z")
    picks = []
    for row in log.rows(features=True):
        probabilities = policy.probabilities(row)
        assert probabilities.sum() == 1.0
        picks.append(int(probabilities.argmax()))
        assert picks[-1] == row.features[:, column].argmax()
    assert len(set(picks)) > 1, "it picks by what it is given"
    other = OpenBanditLog(write_obd(tmp_path / "all", [obd_line()]))
    with pytest.raises(ConfigError, match="needs the column blend_z"):
        open_policy("blend", other, other.survey())
