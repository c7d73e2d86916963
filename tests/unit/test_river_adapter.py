"""River inside: any of its models as a ranker; and everything else without it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from river import base, linear_model, optim
from river import preprocessing as pre

from streamer_models.bandits.linear_statistics import REWARD_MAX
from streamer_models.bandits.policies.base import ContextColumns
from streamer_models.bandits.policies.plackett_luce import PlackettLuce, PlackettLuceSettings
from streamer_models.bandits.protocols import LearningBandit
from streamer_models.bandits.slates import draw_best
from streamer_models.river_adapter.expressions import parse_model
from streamer_models.river_adapter.ranker import RiverRanker
from tests.imports import ROOT, sources

NAMES = ("score", "age", "clicks")
SCALED_LOGISTIC = "preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.1))"
SCALED_LINEAR = "preprocessing.StandardScaler() | linear_model.LinearRegression(optim.SGD(0.05))"

LINEAR = "linear_model.LinearRegression(optim.Adam(0.01))"

Floats = NDArray[np.float64]


def ranker(expression: str = SCALED_LOGISTIC, *, uniform_share: float = 0.1) -> RiverRanker:
    return RiverRanker.from_expression(expression, feature_names=NAMES, uniform_share=uniform_share)


def clicks(n: int, *, seed: int = 0) -> tuple[Floats, Floats]:
    """Contexts, and clicks that the first feature makes likely and the second unlikely."""
    rng = np.random.default_rng(seed)
    contexts = rng.normal(0, 1, (n, 3))
    rates = 1 / (1 + np.exp(-2 * contexts[:, 0] + contexts[:, 1]))
    return contexts, (rng.random(n) < rates).astype(np.float64)


def arms(n: int) -> NDArray[np.uint64]:
    return np.arange(n, dtype=np.uint64)


def learned(policy: LearningBandit, n: int, *, seed: int = 0) -> None:
    contexts, rewards = clicks(n, seed=seed)
    policy.update(contexts, arms(n), rewards, np.arange(n))


def test_a_classifier_expects_the_probability_that_river_gives() -> None:
    policy = ranker()
    by_hand = pre.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.1))
    contexts, rewards = clicks(300)
    policy.update(contexts, arms(300), rewards, np.arange(300))
    for row, reward in zip(contexts.tolist(), rewards.tolist(), strict=True):
        by_hand.learn_one(dict(zip(NAMES, row, strict=True)), reward > 0)
    probe, _ = clicks(50, seed=1)
    probabilities = [
        by_hand.predict_proba_one(dict(zip(NAMES, row, strict=True)))[True]
        for row in probe.tolist()
    ]
    assert policy.expected(probe, arms(50)).tolist() == probabilities
    assert np.corrcoef(probabilities, 2 * probe[:, 0] - probe[:, 1])[0, 1] > 0.9


def test_a_regressor_expects_the_reward_itself() -> None:
    policy = ranker(SCALED_LINEAR)
    contexts, _ = clicks(3_000)
    rewards = 3.0 + 2.0 * contexts[:, 2]
    policy.update(contexts, arms(3_000), rewards, np.arange(3_000))
    assert policy.expected(contexts, arms(3_000)) == pytest.approx(rewards, abs=0.3)


@pytest.mark.parametrize(
    "expression",
    [
        SCALED_LOGISTIC,
        SCALED_LINEAR,
        "naive_bayes.GaussianNB()",
        "forest.ARFClassifier(n_models=3, seed=7)",
        "tree.HoeffdingTreeRegressor(grace_period=50)",
        f"(preprocessing.StandardScaler() + feature_extraction.PolynomialExtender()) | {LINEAR}",
        "neighbors.KNNClassifier(n_neighbors=5, engine=neighbors.LazySearch(window_size=50))",
        "facto.FMClassifier(n_factors=4, seed=3)",
        "dummy.PriorClassifier()",
    ],
)
def test_models_of_every_kind_rank_purely_and_the_same_in_every_run(expression: str) -> None:
    first, second = ranker(expression), ranker(expression)
    probe, _ = clicks(20, seed=9)
    assert np.isfinite(first.expected(probe, arms(20))).all()  # before any example, too
    learned(first, 150)
    for start in range(0, 150, 50):
        contexts, rewards = (column[start : start + 50] for column in clicks(150))
        second.update(contexts, arms(50), rewards, np.arange(50))
    expected = first.expected(probe, arms(20))
    for seed in range(3):
        chosen, again = (
            first.choose(probe, arms(20), 5, seed),
            second.choose(probe, arms(20), 5, seed),
        )
        assert chosen.order.tolist() == again.order.tolist()
    assert np.isfinite(expected).all()
    assert first.expected(probe, arms(20)).tolist() == expected.tolist()
    assert second.expected(probe, arms(20)).tolist() == expected.tolist()


def test_predicting_leaves_the_model_as_it_is_and_learning_its_inputs() -> None:
    policy = ranker()
    learned(policy, 100)
    before = pickle.dumps(policy.model)
    contexts, rewards = clicks(30, seed=2)
    kept = contexts.copy()
    policy.choose(contexts, arms(30), 10, 1)
    policy.expected(contexts, arms(30))
    assert pickle.dumps(policy.model) == before
    policy.update(contexts, arms(30), rewards, np.arange(30))
    assert pickle.dumps(policy.model) != before
    assert np.array_equal(contexts, kept)


def test_a_slate_is_drawn_from_what_is_expected() -> None:
    policy = RiverRanker.from_expression(
        SCALED_LOGISTIC, feature_names=NAMES, uniform_share=0.5, explore_slots=(1, 3)
    )
    learned(policy, 200)
    contexts, _ = clicks(40, seed=3)
    for seed in range(20):
        chosen = policy.choose(contexts, arms(40), 4, seed)
        drawn = draw_best(
            policy.expected(contexts, arms(40)), 4, seed, uniform_share=0.5, slots=(1, 3)
        )
        assert chosen.order.tolist() == drawn.order.tolist()
        assert chosen.propensities.tolist() == drawn.propensities.tolist()
        assert chosen.propensities[[0, 2]].tolist() == [1.0, 1.0]


def test_other_policies_explore_over_a_river_model() -> None:
    softmax = PlackettLuce(
        PlackettLuceSettings(temperature=0.1, uniform_share=0.0), ContextColumns.plain(len(NAMES))
    )
    policy = RiverRanker(parse_model(SCALED_LOGISTIC), feature_names=NAMES, policy=softmax)
    learned(policy, 300)
    contexts = np.array([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])
    firsts = [int(policy.choose(contexts, arms(2), 1, seed).order[0]) for seed in range(200)]
    assert sum(firsts) < 20


def test_amended_outcomes_are_learned_again_and_withdrawn_ones_are_counted() -> None:
    policy, by_hand = ranker(), ranker()
    contexts, _ = clicks(5)
    nan = np.nan
    before = np.array([nan, 0.0, 0.0, 1.0, nan])
    after = np.array([1.0, 1.0, 0.0, nan, nan])
    policy.amend(contexts, arms(5), before, after, np.zeros(5, np.int64))
    by_hand.update(contexts[:2], arms(2), np.ones(2), np.zeros(2, np.int64))
    assert (policy.n_amended, policy.n_not_unlearned) == (1, 1)
    assert (
        policy.expected(contexts, arms(5)).tolist() == by_hand.expected(contexts, arms(5)).tolist()
    )


def test_a_clone_has_learned_nothing_and_keeps_the_settings() -> None:
    policy = ranker(uniform_share=0.25)
    fresh = policy.clone()
    learned(policy, 100)
    probe, _ = clicks(10, seed=5)
    assert fresh.expected(probe, arms(10)).tolist() == [0.5] * 10
    assert policy.expected(probe, arms(10)).tolist() != [0.5] * 10
    assert (fresh.policy.parameters, fresh.feature_names) == (policy.policy.parameters, NAMES)


class Diverging(base.Regressor):
    """Predicts what a model that went wrong predicts."""

    def learn_one(self, x: Any, y: float) -> None: ...

    def predict_one(self, x: Any) -> Any:
        return {0.0: float("nan"), 1.0: float("inf"), 2.0: -1e300}.get(x["score"])


def test_predictions_that_are_no_numbers_are_bounded() -> None:
    policy = RiverRanker(Diverging(), feature_names=["score"])
    contexts = np.arange(4.0)[:, None]
    assert policy.expected(contexts, arms(4)).tolist() == [0.0, REWARD_MAX, -REWARD_MAX, 0.0]


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (pre.StandardScaler(), "StandardScaler ranks nothing"),
        (optim.SGD(0.1), "ranks nothing"),
        (parse_model("forest.ARFClassifier()"), "ARFClassifier would draw other numbers"),
        (
            parse_model(
                "ensemble.VotingClassifier([dummy.PriorClassifier(), linear_model"
                ".LogisticRegression(initializer=optim.initializers.Normal())])"
            ),
            "Normal would draw",
        ),
    ],
)
def test_what_cannot_rank_or_cannot_repeat_itself_is_refused(
    model: base.Base, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        RiverRanker(model, feature_names=NAMES)


@pytest.mark.parametrize(
    "options",
    [{"uniform_share": 1.5}, {"uniform_share": float("nan")}, {"feature_names": ["a", "a"]}],
)
def test_a_ranker_says_what_its_options_may_be(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        RiverRanker.from_expression(
            SCALED_LOGISTIC,
            **{"feature_names": NAMES} | options,  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(
    ("contexts", "rewards", "complaint"),
    [
        (np.zeros((2, 2)), np.zeros(2), r"expected \(n, 3\)"),
        (np.zeros(3), np.zeros(1), r"expected \(n, 3\)"),
        (np.zeros((2, 3)), np.zeros(3), "one each an example"),
        (np.array([[0, 0, 0], [0, np.inf, 0]]), np.ones(2), "a feature is not finite"),
        (np.zeros((2, 3)), np.array([1.0, -np.inf]), "a reward is infinite"),
    ],
)
def test_refused_examples_teach_nothing(contexts: Floats, rewards: Floats, complaint: str) -> None:
    policy = ranker()
    before = pickle.dumps(policy.model)
    with pytest.raises(ValueError, match=complaint):
        policy.update(contexts, arms(len(rewards)), rewards, np.zeros(len(rewards), np.int64))
    assert pickle.dumps(policy.model) == before


# --- river is optional ----------------------------------------------------------------------------


def test_all_but_the_adapter_is_imported_without_river_and_the_adapter_says_what_to_install() -> (
    None
):
    modules = [
        name
        for name in sources("streamer_models", "streamer")
        if not name.startswith("streamer_models.river_adapter") and not name.endswith("__main__")
    ]
    code = f"""
import importlib, sys
sys.modules["river"] = None  # as where it is not installed
for name in {modules!r}:
    importlib.import_module(name)
for name in ("streamer_models.river_adapter", "streamer_models.river_adapter.drift"):
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert all("pip install '.[river]'" in line for line in done.stdout.splitlines())
    assert {
        "streamer_models.evaluation.drift",
        "streamer_models.factorization.mf",
        "streamer.cli",
    } <= set(modules)
