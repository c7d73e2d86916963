"""Live policies: their estimates, their choices, and slates redrawn from decisions alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import BanditConfig, SlateConfig
from streamer.config.rules import RuleConfig
from streamer.errors import BadMessage, ConfigError
from streamer.events import Decision, decode_decision, encode, pack_features
from streamer.ranking.columns import feature_names, prior_mean
from streamer.ranking.features import Features
from streamer.scorer.funnel import Funnel, Slate
from streamer.scorer.policy.boosts import packed_boosts
from streamer.scorer.policy.knowledge import Knowledge, LiveLinear
from streamer.scorer.policy.policies import BanditPolicy, redraw
from streamer_models.bandits.arm_estimates import arm_estimates
from streamer_models.bandits.linear_posterior import LinearPosterior
from streamer_models.bandits.linear_statistics import statistics
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.state.ids.id_table import keys_of
from tests.scoring import CONFIG, START_MS, Click, Shop, Shown, crowd, two_tastes

POLICIES = [
    BanditConfig(policy="linear-thompson"),
    BanditConfig(policy="linear-thompson", form="disjoint", n_draws=16),
    BanditConfig(policy="linear-thompson", half_life_s=3_600.0, noise_scale=3.0),
    BanditConfig(policy="linucb", uniform_share=0.2),
    BanditConfig(policy="linucb", form="disjoint", half_life_s=3_600.0, explore_slots=(1, 3)),
    BanditConfig(policy="epsilon-greedy", uniform_share=0.3),
    BanditConfig(policy="plackett-luce"),
    BanditConfig(policy="beta-thompson", prior_strength=2.0),
    BanditConfig(policy="beta-thompson", half_life_s=3_600.0),
    BanditConfig(policy="ucb1", uniform_share=0.1),
    BanditConfig(policy="greedy"),
]
NAMES = [f"{each.policy} {each.form} {each.half_life_s:g}" for each in POLICIES]


def experienced(bandit: BanditConfig, slate: SlateConfig | None = None) -> Shop:
    """Users with tastes, and outcomes of slates with random features."""
    shop = Shop(bandit=bandit, slate=slate or SlateConfig())
    two_tastes(shop)
    rng = np.random.default_rng(0)
    n_features = len(feature_names(shop.config))
    shop.show(
        *(
            Shown(
                f"i{item}",
                float(rng.random() < (0.6 if item < 3 else 0.1)),
                features=(1.0, *rng.normal(size=n_features - 1).clip(-3, 3).tolist()),
                ts_ms=START_MS + int(rng.integers(3_600_000)),
            )
            for item in rng.integers(16, size=300)
        )
    )
    return shop


def logged(slate: Slate, **changed: object) -> Decision:
    """The decision as it is read from the topic."""
    decision = Decision(
        request_id="r1",
        user_id="u",
        ts=START_MS,
        items=slate.item_ids,
        positions=list(range(len(slate.item_ids))),
        propensities=slate.propensities,
        policy=slate.policy,
        policy_parameters=slate.policy_parameters,
        seed=slate.seed,
        model_version="p0:1",
        candidates=slate.candidates,
        feature_names=list(slate.features.names),
        features=pack_features(slate.features.values),
        expected=slate.expected,
        explored=slate.explored,
        policy_state=slate.policy_state,
        boosts=packed_boosts(slate.boosts),
        composition=slate.composition,
        pinned=list(slate.pinned) or None,
    )
    return decode_decision(encode(replace(decision, **changed)))


@pytest.mark.parametrize("bandit", POLICIES, ids=NAMES)
def test_a_decision_alone_gives_the_slate_again_to_the_bit(bandit: BanditConfig) -> None:
    shop = experienced(bandit)
    slates = set()
    for n in range(30):
        slate = shop.ask(f"u{n % 7}", request_id=f"r{n}", k=6)
        assert np.isfinite(slate.expected).all()
        again = redraw(logged(slate))
        assert [slate.candidates[place] for place in again.order] == slate.item_ids
        assert again.propensities.tolist() == slate.propensities
        assert again.explored.tolist() == slate.explored
        assert again.expected[again.order].tolist() == slate.expected
        assert again.state == slate.policy_state
        slates.add(tuple(slate.item_ids))
    assert len(slates) > 2  # they are not all alike


@pytest.mark.parametrize("bandit", POLICIES, ids=NAMES)
def test_boosts_move_items_and_are_drawn_again_from_the_decision(bandit: BanditConfig) -> None:
    shop, slates = experienced(bandit), {}
    shop.publish("i9", tags=["own"])
    for amount in (0.0, 50.0, -50.0):
        rules = {"own": RuleConfig(boost=amount, when="'own' in item.tags")} if amount else {}
        shop.funnel = Funnel(replace(shop.config, rules=rules))
        for n in range(10):
            slate = slates[amount, n] = shop.ask(f"u{n % 7}", request_id=f"r{n}", k=4)
            decision = logged(slate)
            again = redraw(decision)
            assert [slate.candidates[place] for place in again.order] == slate.item_ids
            assert again.propensities.tolist() == slate.propensities
            assert again.explored.tolist() == slate.explored
            assert again.expected[again.order].tolist() == slate.expected
            assert again.state == slate.policy_state
            moved = amount != 0 and "i9" in slate.candidates
            assert (decision.boosts is not None) == moved
            if moved and not any(slate.explored):
                assert (slate.item_ids[0] == "i9") == (amount > 0)
    with pytest.raises(BadMessage, match="a float64 for each"):
        redraw(logged(slates[50.0, 0], boosts=bytes(8)))
    assert any(slates[50.0, n].item_ids != slates[-50.0, n].item_ids for n in range(10))


@pytest.mark.parametrize("bandit", POLICIES, ids=NAMES)
def test_there_may_be_nothing_to_choose_from(bandit: BanditConfig) -> None:
    shop = Shop(bandit=bandit)
    slate = shop.ask("ann")
    assert (slate.item_ids, slate.expected, slate.propensities) == ([], [], [])
    assert len(redraw(logged(slate)).order) == 0


@pytest.mark.parametrize("bandit", POLICIES, ids=NAMES)
def test_only_the_given_slots_explore(bandit: BanditConfig) -> None:
    shop = experienced(replace(bandit, explore_slots=(1, 3), uniform_share=0.5))
    explored = [shop.ask("u3", request_id=f"r{n}", k=5).explored for n in range(40)]
    by_slot = np.sum(explored, axis=0).tolist()
    assert by_slot[0] == by_slot[2] == by_slot[4] == 0
    assert (by_slot[1] > 0) == (by_slot[3] > 0) == (bandit.policy != "greedy")


@pytest.mark.parametrize(
    "changed",
    [
        {"policy": "popular"},
        {"policy_state": None},
        {"policy_state": bytes(8)},
        {"policy_parameters": {}},
    ],
)
def test_what_another_policy_drew_is_refused(changed: dict[str, object]) -> None:
    slate = experienced(BanditConfig()).ask("u3")
    with pytest.raises(BadMessage, match="can't be drawn again"):
        redraw(logged(slate, **changed))


# --- before and after learning -------------------------------------------------------------------


def blend(slate: Slate) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    mf_z, trending_z = (slate.features.column(name) for name in ("mf_z", "trending_z"))
    blended = mf_z.astype(np.float64) + 0.3 * trending_z
    return np.asarray(blended)


def test_before_anything_is_learned_greedy_ranks_as_the_blend() -> None:
    shop = Shop()
    two_tastes(shop)
    for n in range(30):
        slate = shop.ask(f"u{n}", k=5)
        best = np.argsort(-blend(slate), kind="stable")[:5]
        assert slate.item_ids == [slate.candidates[place] for place in best]
        assert slate.propensities == [1.0] * 5


def test_before_anything_is_learned_thompson_strays_little_from_the_blend() -> None:
    shop = Shop(bandit=BanditConfig())
    shop.click(*(click for n in range(300) for click in crowd(f"i{n}", 1 + n % 50)))
    two_tastes(shop)
    slate = shop.ask("u3")
    posterior = LinearPosterior.unpacked(slate.policy_state, len(slate.features.names))
    rng = np.random.default_rng(0)
    samples = posterior.sample(slate.features.values, 2_000, scale=0.5, rng=rng)
    samples -= samples.mean(axis=1, keepdims=True)  # what all share changes no order
    deviation = float(np.sqrt(samples.var(axis=0).mean()))
    assert deviation < 0.25 * 0.05 * blend(slate).std()
    assert np.mean(slate.explored) < 0.9
    best = np.argsort(-blend(slate), kind="stable")[: 2 * len(slate.item_ids)]
    n_kept = len({slate.candidates[place] for place in best} & {*slate.item_ids})
    assert n_kept >= 0.7 * len(slate.item_ids)


def test_what_was_learned_moves_the_ranking() -> None:
    shop = Shop()
    shop.click(*crowd("hit", 9), *crowd("dud", 1))
    assert shop.ask("new").item_ids == ["hit", "dud"]
    for _ in range(3):
        for item_id, reward in (("hit", 0.0), ("dud", 1.0)):
            slate = shop.ask("new", request_id=item_id)
            row = slate.features.values[slate.candidates.index(item_id)]
            shop.show(*[Shown(item_id, reward, features=tuple(row.tolist()))] * 100)
    slate = shop.ask("new")
    assert slate.item_ids == ["dud", "hit"]
    assert slate.expected == pytest.approx([1.0, 0.0], abs=0.25)


def knowledge_of(shop: Shop, items: list[str], at_ms: int = START_MS) -> Knowledge:
    return Knowledge(shop.version().bandit, keys_of(items), at_ms)


def linear_policy(shop: Shop) -> LinearPolicy[Any]:
    policy = BanditPolicy(shop.config).policy
    assert isinstance(policy, LinearPolicy)
    return policy


def live_posterior(shop: Shop) -> LinearPosterior:
    """Posterior of the shared model, of the newest version."""
    live = LiveLinear(shop.config).of(knowledge_of(shop, []))
    return live.posterior(linear_policy(shop).prior)


def test_the_shared_model_is_the_posterior_of_what_all_partitions_learned() -> None:
    shop = experienced(BanditConfig(blend_strength=10.0))
    bandit = shop.version().bandit
    assert bandit.statistics is not None
    posterior = live_posterior(shop)
    seen = statistics(bandit.statistics, len(feature_names(shop.config)))
    expected = LinearPosterior.of(
        seen, prior_mean=prior_mean(shop.config), prior_strength=10.0, standardize=True
    )
    assert posterior.mean.tolist() == expected.mean.tolist()
    assert posterior.factor.tolist() == expected.factor.tolist()
    # 300 outcomes of some spread, and ten made-up ones of 0.05.
    squares = expected.noise**2 * 301 - 1 + 10 * 0.05**2
    assert posterior.noise == pytest.approx(np.sqrt(squares / 310))


def test_it_is_solved_once_for_all_versions_that_share_it() -> None:
    shop = experienced(BanditConfig())
    live, policy = LiveLinear(shop.config), linear_policy(shop)
    first = live.of(knowledge_of(shop, [])).posterior(policy.prior)
    shop.click(Click("ann", "i1"))
    assert live.of(knowledge_of(shop, [])).posterior(policy.prior) is first
    shop.show(Shown("i1", 1.0))
    assert live.of(knowledge_of(shop, [])).posterior(policy.prior) is not first


def test_old_evidence_decays() -> None:
    day_ms = 86_400_000
    means = []
    for half_life_s in (0.0, 86_400.0):
        shop = Shop(bandit=BanditConfig(half_life_s=half_life_s, blend_strength=1.0))
        shop.show(*[Shown("a", 1.0)] * 200)
        shop.show(*[Shown("a", 0.0, ts_ms=START_MS + 6 * day_ms)] * 200)
        means.append(live_posterior(shop).mean[0])
    assert means == pytest.approx([0.5, 2**-6], abs=0.01)


def test_an_items_own_model_is_its_posterior_around_the_shared_one() -> None:
    shop = experienced(BanditConfig(form="disjoint", prior_strength=10.0, blend_strength=10.0))
    bandit = shop.version().bandit
    rng = np.random.default_rng(1)
    d = len(feature_names(shop.config))
    x = rng.normal(size=(20, d)).astype(np.float32)
    keys = keys_of([f"i{n}" for n in range(20)])  # 16 of them were shown
    known, rows = bandit.arms.statistics(keys)
    assert known.tolist() == list(range(16))
    m0 = rng.normal(size=d)
    means, widths = arm_estimates(
        x, known, rows, prior_mean=m0, prior_precisions=np.full(d, 10.0), half_life_ms=0, at_ms=0
    )
    for n in range(20):
        seen = statistics(rows[n] if n < 16 else np.zeros_like(rows[0]), d)
        alone = LinearPosterior.of(seen, prior_mean=m0, prior_strength=10.0)
        assert means[n] == pytest.approx(alone.expected(x[n : n + 1])[0], rel=1e-9)
        assert widths[n] == pytest.approx(alone.deviations(x[n : n + 1])[0], rel=1e-9)


def bias_only(shop: Shop, n: int) -> Features:
    names = feature_names(shop.config)
    values = np.zeros((n, len(names)), dtype=np.float32)
    values[:, 0] = 1.0
    return Features(names, values)


@pytest.mark.parametrize("form", ["shared", "disjoint"])
def test_an_items_own_model_knows_what_the_shared_one_cannot(form: str) -> None:
    bandit = BanditConfig(policy="greedy", prior_strength=5.0, blend_strength=5.0)
    shop = Shop(bandit=replace(bandit, form=form))
    shop.show(*[Shown("good", 1.0)] * 50, *[Shown("bad", 0.0)] * 50)
    features = bias_only(shop, 3)
    knowledge = knowledge_of(shop, ["new", "bad", "good"])
    choice = BanditPolicy(shop.config).choose(features, knowledge, 3, seed=1)
    shared = 50 / 105
    if form == "shared":
        assert choice.expected == pytest.approx([shared] * 3)
    else:
        own = [shared, 5 * shared / 55, (50 + 5 * shared) / 55]
        assert choice.expected == pytest.approx(own)
        assert choice.order.tolist() == [2, 0, 1]


# --- policies over outcomes ----------------------------------------------------------------------


def test_beta_thompson_expects_the_share_of_positive_outcomes_around_that_of_all() -> None:
    shop = Shop(bandit=BanditConfig(policy="beta-thompson", prior_strength=10.0))
    shop.show(*[Shown("a", 3.0)] * 30, *[Shown("a", -1.0)] * 10, *[Shown("b", 0.0)] * 60)
    knowledge = knowledge_of(shop, ["a", "b", "new"])
    policy = BanditPolicy(shop.config)
    features = bias_only(shop, 3)
    share = (30 + 1) / (100 + 20)
    choice = policy.choose(features, knowledge, 3, seed=1)
    expected = [(30 + 10 * share) / 50, 10 * share / 70, share]
    assert choice.expected == pytest.approx(expected)
    firsts = [int(policy.choose(features, knowledge, 1, seed=n).order[0]) for n in range(200)]
    assert np.bincount(firsts, minlength=3)[0] > 180
    assert np.bincount(firsts, minlength=3)[2] > 0


def test_decayed_outcomes_count_less() -> None:
    bandit = BanditConfig(policy="beta-thompson", half_life_s=3_600.0, prior_strength=10.0)
    shop = Shop(bandit=bandit)
    hour_ms = 3_600_000
    shop.show(*[Shown("a", 1.0)] * 80, *[Shown("b", 1.0, ts_ms=START_MS + 3 * hour_ms)] * 80)
    knowledge = knowledge_of(shop, ["a", "b"], START_MS + 3 * hour_ms)
    choice = BanditPolicy(shop.config).choose(bias_only(shop, 2), knowledge, 2, seed=1)
    positive, _ = np.frombuffer(choice.state).reshape(2, 2)
    share = (90 + 1) / (90 + 20)
    assert positive == pytest.approx([10 + 10 * share, 80 + 10 * share], rel=1e-3)


def test_counts_that_are_not_kept_are_refused() -> None:
    bandit = BanditConfig(policy="ucb1", half_life_s=7_200.0)
    with pytest.raises(ConfigError, match=r"7200: ucb1 .*\[3600\.0, 86400\.0\]; choose one"):
        BanditPolicy(replace(CONFIG, bandit=bandit))


def test_ucb1_goes_by_mean_rewards_and_tries_what_it_knows_least() -> None:
    order, widths = [], []
    for alpha in (0.0, 2.0):
        shop = Shop(bandit=BanditConfig(policy="ucb1", alpha=alpha, uniform_share=0.0))
        shop.show(*[Shown("a", 0.5)] * 400, *[Shown("b", 0.25)] * 400)
        knowledge = knowledge_of(shop, ["b", "new", "a"])
        choice = BanditPolicy(shop.config).choose(bias_only(shop, 3), knowledge, 3, seed=1)
        order.append(choice.order.tolist())
        widths.append(np.frombuffer(choice.state)[3:6])
    assert choice.expected == pytest.approx([0.25, 0.367, 0.5], abs=0.01)
    assert order == [[2, 1, 0], [1, 2, 0]]
    assert widths[0] == pytest.approx(np.sqrt(2 * np.log(820) / np.array([401, 1, 401])))


def test_linucb_tries_what_it_knows_least() -> None:
    names = feature_names(CONFIG)
    values = np.zeros((2, len(names)), dtype=np.float32)
    values[:, 0] = 1.0
    values[1, 5] = 2.0
    first = []
    for alpha in (0.0, 1.0):
        shop = Shop(bandit=BanditConfig(policy="linucb", alpha=alpha, uniform_share=0.0))
        shop.show(*[Shown("a", 0.5)] * 400)
        policy = BanditPolicy(shop.config)
        choice = policy.choose(Features(names, values), knowledge_of(shop, ["a", "b"]), 2, seed=1)
        first.append(int(choice.order[0]))
    assert first == [0, 1]


def test_the_softmax_follows_expected_rewards() -> None:
    shop = experienced(BanditConfig(policy="plackett-luce", uniform_share=0.0))
    slate = shop.ask("u3", k=1)
    choice = redraw(logged(slate))
    weights = np.exp(choice.expected / 0.05)
    expected = weights[choice.order[0]] / weights.sum()
    assert slate.propensities == pytest.approx([expected])


def test_a_wider_posterior_explores_more() -> None:
    shares = []
    for scale in (0.0, 0.5, 5.0):
        shop = experienced(BanditConfig(noise_scale=scale, uniform_share=0.0, blend_strength=100.0))
        asked = [shop.ask("u3", request_id=f"r{n}", k=5).explored for n in range(40)]
        shares.append(float(np.mean(asked)))
    assert shares[0] == 0.0
    assert all(less < more for less, more in pairwise(shares))
