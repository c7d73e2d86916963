"""What every bandit policy promises: one suite over all of them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import streamer_models.bandits.policies
from streamer.config import BanditConfig
from streamer.ranking.columns import feature_names
from streamer.ranking.features import Features
from streamer.ranking.policy import configured_policy
from streamer.scorer.policy.knowledge import Knowledge
from streamer.scorer.policy.policies import BanditPolicy
from streamer_models.bandits.arms import ArmRows
from streamer_models.bandits.in_memory import InMemoryBandit, published_bandit
from streamer_models.bandits.policies.base import ContextColumns, Policy
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.registry import POLICIES
from streamer_models.bandits.policies.settings import (
    LinearSettings,
    PolicySettings,
    setting,
    settings_from,
    union,
)
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.table import Keys
from tests.chi_square import assert_frequencies
from tests.scoring import START_MS, Shop, Shown

D = 6
ARMS_MAX = 64
N_DRAWS = 8
NOW_MS = 1_700_000_000_000

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Factory = Callable[[float], InMemoryBandit]
"""Of a half-life in seconds, 0: evidence does not decay."""

SHARE = 0.2
FORMS: dict[str, dict[str, Any]] = {
    "": {"form": "shared"},
    " disjoint": {"form": "disjoint"},
    " pooled": {"form": "disjoint", "pooled": True},
}
"""Of linear policies."""


def _factory(policy: str, **settings: Any) -> Factory:
    known = POLICIES[policy].settings_type.described()
    wanted = {"uniform_share": SHARE, "n_draws": N_DRAWS, "temperature": 0.3, **settings}
    given = {name: value for name, value in wanted.items() if name in known}
    return lambda half_life_s: published_bandit(
        policy, D, half_life_s=half_life_s, arms_max=ARMS_MAX, **given
    )


FACTORIES: dict[str, Factory] = {
    f"{name}{form}": _factory(name, **settings)
    for name, policy in POLICIES.items()
    for form, settings in (
        FORMS if issubclass(policy, LinearPolicy) else {"": {}, " pooled": {"pooled": True}}
    ).items()
}

BEHAVIOURS = [
    pytest.param(name, half_life_s, id=f"{name} decaying" if half_life_s else name)
    for name in FACTORIES
    for half_life_s in (0.0, 3_600.0)
]
every_policy = pytest.mark.parametrize("name", FACTORIES)
every_behaviour = pytest.mark.parametrize(("name", "half_life_s"), BEHAVIOURS)


@dataclass(frozen=True, kw_only=True)
class _OtherSettings(PolicySettings):
    form: str = setting("wide", "something else")


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
    return contexts, arms, rewards.astype(np.float64), ts_ms


def _learned(name: str, half_life_s: float, n: int, seed: int) -> InMemoryBandit:
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
    elif hasattr(value, "__dict__") and not isinstance(value, Policy):
        yield from _parts(vars(value), path)
    else:
        yield path, value


def _refreshed(policy: InMemoryBandit) -> InMemoryBandit:
    """The same, with what is derived from statistics computed afresh."""
    policy.refresh()
    return policy


def _beliefs(policy: InMemoryBandit, *, n: int = 40) -> bytes:
    """Estimates of actions, a few of unknown arms among them: means, widths, draws."""
    estimate = policy.estimate(_log("", n, seed=99)[0], _keys(n))
    draws = estimate.sample(3, scale=1.0, rng=np.random.default_rng(1))
    parts = (estimate.expected, estimate.deviations(), draws)
    return b"".join(part.tobytes() for part in parts) + estimate.packed()


def test_every_policy_of_the_package_is_registered() -> None:
    policies = set()
    package = streamer_models.bandits.policies
    for module_info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(module_info.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if (
                kind.__module__ == module.__name__
                and issubclass(kind, Policy)
                and "name" in vars(kind)
            ):
                policies.add(kind)
    assert {*POLICIES.values()} == policies
    assert len(POLICIES) > 5
    assert all(POLICIES[each.name] is each and each.takes for each in policies)


@pytest.mark.parametrize("name", POLICIES)
def test_settings_are_those_of_the_configuration_and_come_back_from_a_log(name: str) -> None:
    kind = POLICIES[name].settings_type
    assert settings_from(kind, BanditConfig()) == kind()
    again = kind.logged(kind().parameters())
    assert again.parameters() == kind().parameters()
    for key, each in kind.described().items():
        assert getattr(BanditConfig(), key) == each.default
        for bad in ("nonsense", -1.0, float("nan")):
            if each.problem(bad) is not None:
                with pytest.raises(ValueError, match=f"{key}=.* must be"):
                    kind(**{key: bad})


def test_two_policies_cannot_mean_different_things_by_one_setting() -> None:
    with pytest.raises(ValueError, match="form of other differs from that of greedy"):
        union({"greedy": LinearSettings, "other": _OtherSettings})


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
        estimate = policy.estimate(contexts, arms)
        assert np.isfinite(estimate.expected).all()
        rng = np.random.default_rng(seed)
        assert np.isfinite(estimate.sample(2, scale=1.0, rng=rng)).all()
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


@every_behaviour
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


@every_behaviour
def test_amended_outcomes_are_as_if_they_had_always_been_so(name: str, half_life_s: float) -> None:
    contexts, arms, rewards, ts_ms = _log(name, 300, seed=9)
    policy, direct = FACTORIES[name](half_life_s), FACTORIES[name](half_life_s)
    policy.update(contexts, arms, np.zeros(300), ts_ms)
    policy.amend(contexts, arms, np.zeros(300), rewards, ts_ms)
    direct.update(contexts, arms, rewards, ts_ms)
    assert _beliefs(_refreshed(policy)) == _beliefs(_refreshed(direct))


@every_behaviour
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
        assert table.n_expired > 1_000 or getattr(policy.policy.settings, "form", "") == "shared"
    contexts = _log(name, 100, seed=21)[0]
    rng = np.random.default_rng(22)
    estimate = policy.estimate(contexts, _keys(100))
    assert np.isfinite(estimate.expected).all()
    assert np.isfinite(estimate.sample(4, scale=1.0, rng=rng)).all()
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
    if not hasattr(policy.policy.settings, "uniform_share"):
        assert (propensities == 1).all()
        assert len(np.unique(orders, axis=0)) == 1
        return
    for first in range(5):
        weights = (orders[:, 0] == first) / propensities[:, 0]
        assert abs(weights.mean() - 1) < 4.5 * weights.std() / n**0.5
        for second in set(range(5)) - {first}:
            pair = weights * (orders[:, 1] == second) / propensities[:, 1]
            assert abs(pair.mean() - 1) < 4.5 * pair.std() / n**0.5
    if not hasattr(policy.policy.settings, "n_draws"):
        assert_frequencies(orders, propensities)


@every_policy
def test_an_empty_request_gets_an_empty_slate(name: str) -> None:
    policy = _learned(name, 0.0, 50, seed=15)
    contexts, arms, rewards, ts_ms = _log(name, 0, seed=16)
    assert policy.choose(contexts, arms, 5, seed=1).order.shape == (0,)
    before = _beliefs(policy)
    policy.update(contexts, arms, rewards, ts_ms)
    assert _beliefs(policy) == before


# --- one policy, two drivers ---------------------------------------------------------------------

COUNTED: list[dict[str, Any]] = [
    {"pooled": True},
    {"pooled": False},
    {"half_life_s": 3_600.0},
    {"propensity_weight_max": 20.0},
]
LINEAR: list[dict[str, Any]] = [
    *FORMS.values(),
    {"half_life_s": 3_600.0},
    {"form": "disjoint", "half_life_s": 3_600.0},
    {"propensity_weight_max": 20.0},
    {"form": "disjoint", "propensity_weight_max": 20.0, "half_life_s": 3_600.0},
]
LIVE: list[dict[str, Any]] = [
    {"policy": name, **settings}
    for name, policy in POLICIES.items()
    for settings in (LINEAR if issubclass(policy, LinearPolicy) else COUNTED)
]


@pytest.mark.parametrize("settings", LIVE, ids=[" ".join(map(str, s.values())) for s in LIVE])
def test_both_drivers_draw_the_same_slates(settings: dict[str, Any]) -> None:
    """Live from the replica's tables, and in memory as evaluations do, from the same outcomes."""
    shop = Shop(
        bandit=BanditConfig(
            prior_strength=10.0, blend_strength=10.0, uniform_share=SHARE, **settings
        )
    )
    half_life_s = shop.config.bandit.half_life_s
    names = feature_names(shop.config)
    memory = InMemoryBandit(configured_policy(shop.config), half_life_s=half_life_s)
    rng = np.random.default_rng(5)

    def contexts(n: int) -> NDArray[np.float32]:
        x = rng.normal(size=(n, len(names))).clip(-3, 3).astype(np.float32)
        x[:, 0] = 1.0
        return x

    x, items = contexts(200), [f"i{item}" for item in rng.integers(12, size=200)]
    rewards = rng.choice([0.0, 1.0] if half_life_s else [0.0, 1.0, 0.25, -0.5], 200)
    ts_ms = START_MS + rng.integers(3_600_000, size=200)
    ts_ms[0] = START_MS + 3_600_000
    weights = np.minimum(1 / rng.random(200), shop.config.bandit.propensity_weight_max)
    before = np.full(200, np.nan)
    for after in (rewards, np.where(np.arange(200) % 7, rewards, 1.0)):
        columns = items, after, before, map(tuple, x.tolist()), ts_ms.tolist(), weights.tolist()
        shop.show(*(Shown(*each) for each in zip(*columns, strict=True)))
        memory.amend(x, keys_of(items), before, after, ts_ms, weights)
        before = after
    memory.refresh()
    asked, keys = contexts(16), keys_of([f"i{item}" for item in range(16)])  # 4 are unknown
    live = BanditPolicy(shop.config)
    knowledge = Knowledge(shop.version().bandit, keys, int(ts_ms[0]))
    drawn = set()
    # The replica has decayed counts as float32; all else is the same to the bit.
    exact = not half_life_s or isinstance(memory.policy, LinearPolicy)
    for seed in range(40):
        choice = live.choose(Features(names, asked), knowledge, 5, seed)
        draw = memory.choose(asked, keys, 5, seed)
        assert draw.order.tolist() == choice.order.tolist()
        assert draw.propensities.tolist() == choice.propensities.tolist()
        assert draw.explored.tolist() == choice.explored.tolist()
        estimate = memory.estimate(asked, keys)
        if exact:
            assert estimate.expected.tolist() == choice.expected.tolist()
            assert estimate.packed() == choice.state
        else:
            assert estimate.expected == pytest.approx(choice.expected, rel=1e-4)
        drawn.add(tuple(draw.order.tolist()))
    assert (len(drawn) > 1) == (live.name != "greedy")


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_holds_no_statistics(name: str) -> None:
    """One object serves two drivers: what one learned, the other does not know."""
    kind = POLICIES[name]
    policy = kind(kind.settings_type(), ContextColumns.plain(D))
    one, other = InMemoryBandit(policy), InMemoryBandit(policy)
    before = _beliefs(other)
    one.update(*_log(name, 300, seed=31))
    assert _beliefs(other) == before
    assert _beliefs(one) != before
