"""What every bandit policy promises: one suite over all of them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import streamer_models.bandits
from streamer_models.bandits.arms import ArmRows
from streamer_models.bandits.beta_bernoulli import BetaBernoulli
from streamer_models.bandits.counting import MeanReward
from streamer_models.bandits.disjoint_linear import DisjointLinear
from streamer_models.bandits.epsilon_greedy import EpsilonGreedy
from streamer_models.bandits.hybrid_linear import HybridLinear
from streamer_models.bandits.linear_thompson import LinearThompson
from streamer_models.bandits.linucb import LinUCB
from streamer_models.bandits.logistic import LogisticRegression
from streamer_models.bandits.over_model import OverModel
from streamer_models.bandits.plackett_luce import PlackettLuce
from streamer_models.bandits.policy import Policy
from streamer_models.bandits.shared_linear import SharedLinear
from streamer_models.bandits.ucb1 import UCB1
from streamer_models.state.table import Keys
from tests.chi_square import assert_frequencies

D = 6
ARMS_MAX = 64
N_DRAWS = 8
NOW_MS = 1_700_000_000_000

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Factory = Callable[[float], Policy]  # of a half-life in seconds, 0: evidence does not fade

SHARE = 0.2

FACTORIES: dict[str, Factory] = {
    "greedy": lambda h: MeanReward(half_life_s=h, arms_max=ARMS_MAX, uniform_share=SHARE),
    "beta-thompson": lambda h: BetaBernoulli(
        half_life_s=h, arms_max=ARMS_MAX, n_draws=N_DRAWS, uniform_share=SHARE
    ),
    "ucb1": lambda h: UCB1(prior_strength=1, half_life_s=h, arms_max=ARMS_MAX, uniform_share=SHARE),
    "epsilon-greedy": lambda h: EpsilonGreedy(
        MeanReward(half_life_s=h, arms_max=ARMS_MAX), uniform_share=SHARE
    ),
    "plackett-luce": lambda h: PlackettLuce(
        MeanReward(half_life_s=h, arms_max=ARMS_MAX), temperature=0.3
    ),
    "plackett-luce-linear": lambda h: PlackettLuce(
        LinUCB(SharedLinear(D, half_life_s=h)), temperature=0.3, uniform_share=SHARE
    ),
    "linucb-shared": lambda h: LinUCB(SharedLinear(D, half_life_s=h), uniform_share=SHARE),
    "linucb-disjoint": lambda h: LinUCB(
        DisjointLinear(D, half_life_s=h, arms_max=ARMS_MAX), uniform_share=SHARE
    ),
    "linucb-shrunk": lambda h: LinUCB(
        DisjointLinear(D, half_life_s=h, arms_max=ARMS_MAX, shrink_to_shared=True),
        uniform_share=SHARE,
    ),
    "thompson-shared": lambda h: LinearThompson(
        SharedLinear(D, half_life_s=h), n_draws=N_DRAWS, uniform_share=SHARE
    ),
    "thompson-disjoint": lambda h: LinearThompson(
        DisjointLinear(D, half_life_s=h, arms_max=ARMS_MAX), n_draws=N_DRAWS, uniform_share=SHARE
    ),
    "linucb-hybrid": lambda h: LinUCB(
        HybridLinear(D, n_shared_features=2, arms_max=ARMS_MAX), uniform_share=SHARE
    ),
    "thompson-hybrid": lambda h: LinearThompson(
        HybridLinear(D, n_shared_features=2, arms_max=ARMS_MAX),
        n_draws=N_DRAWS,
        uniform_share=SHARE,
    ),
    "linucb-logistic": lambda h: LinUCB(LogisticRegression(D, half_life_s=h), uniform_share=SHARE),
    "thompson-logistic": lambda h: LinearThompson(
        LogisticRegression(D, half_life_s=h), n_draws=N_DRAWS, uniform_share=SHARE
    ),
    "thompson-logistic-disjoint": lambda h: LinearThompson(
        LogisticRegression(D, half_life_s=h, per_arm=True, arms_max=ARMS_MAX),
        n_draws=N_DRAWS,
        uniform_share=SHARE,
    ),
}
CLICKS = {"thompson-logistic", "linucb-logistic", "thompson-logistic-disjoint"}
"""Those that learn rewards within 0 and 1 alone."""
INEXACT = CLICKS
"""Those whose learning is not a sum: amended and merged nearly."""
LASTING = {"linucb-hybrid", "thompson-hybrid"}
"""Those whose evidence does not fade."""

BEHAVIOURS = [
    pytest.param(name, half_life_s, id=f"{name}-fading" if half_life_s else name)
    for name in FACTORIES
    for half_life_s in ([0.0] if name in LASTING else [0.0, 3_600.0])
]
every_policy = pytest.mark.parametrize("name", FACTORIES)
every_behaviour = pytest.mark.parametrize(("name", "half_life_s"), BEHAVIOURS)
every_exact_behaviour = pytest.mark.parametrize(
    ("name", "half_life_s"), [case for case in BEHAVIOURS if case.values[0] not in INEXACT]
)


def _keys(n: int) -> Keys:
    return (np.arange(n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)


def _log(
    name: str, n: int, seed: int, *, n_arms: int = 30
) -> tuple[NDArray[np.float32], Keys, Floats, Times]:
    """Examples of skewed arms in nearly rising time, with rewards of either sign or clicks."""
    rng = np.random.default_rng(seed)
    contexts = rng.normal(size=(n, D)).clip(-3, 3).astype(np.float32)
    contexts[:, 0] = 1
    arms = _keys(n_arms)[(n_arms * rng.random(n) ** 2).astype(int)]
    rewards = np.rint(contexts @ np.array([0.2, 0.5, -0.5, 0, 0.1, 0]) + rng.normal(size=n))
    ts_ms = NOW_MS + np.arange(n) * 10_000 + rng.integers(-100_000, 100_000, n)
    if name in CLICKS:
        rewards = rewards > 0
    return contexts, arms, rewards.astype(np.float64), ts_ms


def _learned(name: str, half_life_s: float, n: int, seed: int) -> Policy:
    policy = FACTORIES[name](half_life_s)
    policy.update(*_log(name, n, seed))
    return policy


def _parts(value: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Arrays and numbers that an object is made of, at whatever depth, with where they are."""
    if isinstance(value, np.ndarray):
        yield path, (value.shape, value.dtype, value.tobytes())
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _parts(part, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _parts(part, f"{path}[{i}]")
    elif hasattr(value, "__dict__"):
        yield from _parts(vars(value), path)
    else:
        yield path, value


def _refreshed(policy: Policy) -> Policy:
    """The same, with what is derived from statistics computed afresh where anything is."""
    inner = policy.model if isinstance(policy, OverModel) else policy
    if hasattr(inner, "refresh"):
        inner.refresh()
    return policy


def _beliefs(policy: Policy, *, n: int = 40) -> bytes:
    """Expected rewards and scores of actions, a few of unknown arms among them."""
    contexts = _log("", n, seed=99)[0]
    scores = policy.scores(contexts, _keys(n), n_draws=3, rng=np.random.default_rng(1))
    return policy.expected(contexts, _keys(n)).tobytes() + scores.tobytes()


def test_every_policy_and_model_of_the_package_is_among_them() -> None:
    policies, underlying = set(), set()
    for module_info in pkgutil.iter_modules(
        streamer_models.bandits.__path__, "streamer_models.bandits."
    ):
        module = importlib.import_module(module_info.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and not getattr(kind, "_is_protocol", False):
                if hasattr(kind, "choose"):
                    policies.add(kind)
                elif hasattr(kind, "learn") and hasattr(kind, "means"):
                    underlying.add(kind)
    made = [make(0.0) for make in FACTORIES.values()]
    assert {type(policy) for policy in made} == policies
    assert underlying <= {type(getattr(policy, "model", None)) for policy in made}
    assert len(underlying) > 3


@every_behaviour
def test_seeded_runs_are_bit_identical(name: str, half_life_s: float) -> None:
    contexts, arms, rewards, ts_ms = _log(name, 60 * 12, seed=1)
    runs = []
    for _ in range(2):
        policy = FACTORIES[name](half_life_s)
        run = [policy.name.encode()]
        for i in range(0, len(arms), 12):
            drawn = policy.choose(contexts[i : i + 12], _keys(12), 4, seed=i)
            assert len(drawn.order) == 4
            run += [drawn.order.tobytes(), drawn.propensities.tobytes()]
            shown = i + drawn.order
            policy.update(contexts[shown], arms[shown], rewards[shown], ts_ms[shown])
        runs.append([*run, _beliefs(policy)])
    assert runs[0] == runs[1]
    assert len(set(runs[0][1::2])) > 5


@every_behaviour
def test_prediction_is_pure_and_adds_no_arms(name: str, half_life_s: float) -> None:
    policy = _learned(name, half_life_s, 500, seed=2)
    before = dict(_parts(policy))
    assert any(isinstance(part, tuple) for part in before.values())
    contexts = _log(name, 45, seed=3)[0]
    arms = np.concatenate([_keys(30), _keys(45)[30:]])  # 15 of them unknown
    for seed in range(20):
        assert np.isfinite(policy.expected(contexts, arms)).all()
        rng = np.random.default_rng(seed)
        assert np.isfinite(policy.scores(contexts, arms, n_draws=2, rng=rng)).all()
        policy.choose(contexts, arms, 5, seed)
    assert dict(_parts(policy)) == before


@every_behaviour
def test_inputs_are_not_written_to(name: str, half_life_s: float) -> None:
    columns, again = _log(name, 300, seed=4), _log(name, 300, seed=4)
    policy = FACTORIES[name](half_life_s)
    contexts, arms, rewards, ts_ms = columns
    policy.update(contexts, arms, rewards, ts_ms)
    policy.amend(contexts, arms, rewards, rewards, ts_ms)
    policy.choose(contexts, arms, 5, seed=1)
    for column, untouched in zip(columns, again, strict=True):
        np.testing.assert_array_equal(column, untouched)


@every_behaviour
def test_batches_may_end_anywhere(name: str, half_life_s: float) -> None:
    """One by one, in some pieces and at once, to the bit, with more arms than there is room for."""
    contexts, arms, rewards, ts_ms = _log(name, 600, seed=5, n_arms=3 * ARMS_MAX)
    beliefs = []
    for size in (1, 37, 600):
        policy = FACTORIES[name](half_life_s)
        for start in range(0, 600, size):
            at = slice(start, start + size)
            policy.update(contexts[at], arms[at], rewards[at], ts_ms[at])
        beliefs.append(_beliefs(policy))
    assert beliefs[0] == beliefs[1] == beliefs[2]


@every_policy
def test_nan_teaches_nothing(name: str) -> None:
    policy, same = (_learned(name, 0.0, 200, seed=6) for _ in range(2))
    contexts, arms, _, ts_ms = _log(name, 50, seed=7, n_arms=90)
    nothing = np.full(50, np.nan)
    policy.update(contexts, arms, nothing, ts_ms)
    policy.amend(contexts, arms, nothing, nothing, ts_ms)
    assert _beliefs(policy, n=90) == _beliefs(same, n=90)


@every_exact_behaviour
def test_outcomes_taken_back_leave_no_trace(name: str, half_life_s: float) -> None:
    """NaN → r → r' → NaN, for every third example of a log, against the others alone."""
    columns = _log(name, 300, seed=8)
    contexts, arms, rewards, ts_ms = columns
    taken_back = np.arange(300) % 3 == 0
    taken_back[ts_ms.argmax()] = False  # where evidence fades, now is the newest time ever seen
    policy, direct = FACTORIES[name](half_life_s), FACTORIES[name](half_life_s)
    policy.update(*columns)
    late, none = rewards[::-1].copy(), np.full(300, np.nan)
    for before, after in ((rewards, late), (late, none)):
        policy.amend(
            contexts[taken_back],
            arms[taken_back],
            before[taken_back],
            after[taken_back],
            ts_ms[taken_back],
        )
    others = ~taken_back
    direct.update(contexts[others], arms[others], rewards[others], ts_ms[others])
    assert _beliefs(_refreshed(policy)) == _beliefs(_refreshed(direct))


@every_exact_behaviour
def test_amended_outcomes_are_as_if_they_had_always_been_so(name: str, half_life_s: float) -> None:
    contexts, arms, rewards, ts_ms = _log(name, 300, seed=9)
    policy, direct = FACTORIES[name](half_life_s), FACTORIES[name](half_life_s)
    policy.update(contexts, arms, np.zeros(300), ts_ms)
    policy.amend(contexts, arms, np.zeros(300), rewards, ts_ms)
    direct.update(contexts, arms, rewards, ts_ms)
    assert _beliefs(_refreshed(policy)) == _beliefs(_refreshed(direct))


@every_exact_behaviour
def test_three_learners_add_up_to_one_to_the_bit(name: str, half_life_s: float) -> None:
    columns = _log(name, 600, seed=10)
    whole = FACTORIES[name](half_life_s)
    whole.update(*columns)
    expected = _beliefs(_refreshed(whole))
    for order in ((0, 1, 2), (1, 2, 0), (2, 1, 0)):
        merged: Any = FACTORIES[name](half_life_s)
        for p in order:
            part: Any = FACTORIES[name](half_life_s)
            part.update(*(column[p::3] for column in columns))
            if isinstance(merged, OverModel):
                merged.model.merge(part.model)
            else:
                merged.merge(part)
        assert _beliefs(_refreshed(merged)) == expected


@every_behaviour
def test_many_updates_leave_everything_finite_and_bounded(name: str, half_life_s: float) -> None:
    """10^5 examples, rewards negative among them, and arms that come and go: memory stops
    growing."""
    policy = FACTORIES[name](half_life_s)
    sizes = []
    for seed in range(10):
        policy.update(*_log(name, 9_700, seed=seed, n_arms=ARMS_MAX // 2))
        policy.update(*_log(name, 300, seed=seed, n_arms=5_000))
        sizes.append(sum(len(part[2]) for _, part in _parts(policy) if isinstance(part, tuple)))
    assert sizes[-1] == sizes[len(sizes) // 2]
    for table in _arm_tables(policy):
        assert len(table) <= table.n_rows <= ARMS_MAX
        assert table.n_expired > 1_000
    contexts = _log(name, 100, seed=21)[0]
    rng = np.random.default_rng(22)
    assert np.isfinite(policy.expected(contexts, _keys(100))).all()
    assert np.isfinite(policy.scores(contexts, _keys(100), n_draws=4, rng=rng)).all()
    assert len(policy.choose(contexts, _keys(100), 10, seed=23).order) == 10


def _arm_tables(value: object) -> Iterator[ArmRows]:
    if isinstance(value, ArmRows):
        yield value
    elif hasattr(value, "__dict__"):
        for part in vars(value).values():
            yield from _arm_tables(part)


@every_policy
@pytest.mark.parametrize("reward", [np.inf, -np.inf, 1e9])
def test_impossible_rewards_teach_nothing(name: str, reward: float) -> None:
    policy = _learned(name, 0.0, 100, seed=11)
    before = _beliefs(policy)
    contexts, arms, rewards, ts_ms = _log(name, 10, seed=12)
    rewards[7] = reward
    with pytest.raises(ValueError, match="reward"):
        policy.update(contexts, arms, rewards, ts_ms)
    assert _beliefs(policy) == before


@every_policy
def test_propensities_are_frequencies(name: str) -> None:
    """Where a policy scores alike in every decision, slot by slot; and for all of them, also those
    that draw parameters anew: an action's indicator over its propensity has a mean of 1, also
    for the second slot, given the first."""
    policy = _learned(name, 0.0, 400, seed=13)
    contexts = _log(name, 5, seed=14)[0]
    n = 20_000
    orders, propensities = np.empty((n, 2), dtype=np.intp), np.empty((n, 2))
    for seed in range(n):
        drawn = policy.choose(contexts, _keys(5), 2, seed)
        orders[seed], propensities[seed] = drawn.order, drawn.propensities
    assert ((propensities > 0) & (propensities <= 1)).all()
    for first in range(5):
        weights = (orders[:, 0] == first) / propensities[:, 0]
        assert abs(weights.mean() - 1) < 4.5 * weights.std() / n**0.5
        for second in set(range(5)) - {first}:
            pair = weights * (orders[:, 1] == second) / propensities[:, 1]
            assert abs(pair.mean() - 1) < 4.5 * pair.std() / n**0.5
    if policy.scores(contexts, _keys(5), n_draws=3, rng=np.random.default_rng(0)).shape[0] == 1:
        assert_frequencies(orders, propensities)


@every_policy
def test_an_empty_request_gets_an_empty_slate(name: str) -> None:
    policy = _learned(name, 0.0, 50, seed=15)
    contexts, arms, rewards, ts_ms = _log(name, 0, seed=16)
    assert policy.choose(contexts, arms, 5, seed=1).order.shape == (0,)
    before = _beliefs(policy)
    policy.update(contexts, arms, rewards, ts_ms)
    assert _beliefs(policy) == before
