"""``funnel.ranker``: the blend alone orders slates, live, in replay, made again and evaluated."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import Config, load_config
from streamer.config.specs import parse_specs
from streamer.errors import BadMessage, ConfigError
from streamer.events import Decision, Event, Item, Request, decode_decision
from streamer.model_set import build_models, recorded_config, store_layout
from streamer.ranking.columns import feature_names
from streamer.replay.experiment import Experiment
from streamer.replay.result import encoded, result_of
from streamer.replay.settings import Settings
from streamer.scorer.explanation import explain
from streamer.scorer.policy.policies import redraw
from streamer.simulation.live import LiveSystem
from streamer_models.bandits.bandit import Bandit
from streamer_models.counters.impressions import UserImpressions
from streamer_models.ranking.blend import BlendWeights, ListwiseBlend
from streamer_models.ranking.blend_kernels import N_CONTEXTS
from streamer_models.state.model import model_of
from tests.unit.replay_logs import random_log
from tests.unit.test_live_system import START_MS, play
from tests.verified_slates import verified_again

FLAGS = {
    "funnel.ranker": "blend",
    "recall.session.factors": 8,
    "recall.blend.window": 8,
    "store.log_entries_kept": 10_000,
}


def config(n_partitions: int = 1) -> Config:
    return load_config(env={}, flags={**FLAGS, "topics.partitions": n_partitions})


@cache
def played(n_partitions: int = 1) -> LiveSystem:
    live = LiveSystem(config(n_partitions), start_ms=START_MS)
    play(live, n_steps=60)
    return live


def decided(live: LiveSystem) -> list[Decision]:
    found = [decode_decision(each.value) for each in live.broker.records("decisions")]
    return [each for each in found if each.items]


def logits(decision: Decision) -> np.ndarray:
    assert decision.policy_state is not None
    return np.frombuffer(decision.policy_state, dtype="<f8")


def _learned_wrong(monkeypatch: pytest.MonkeyPatch, column: str) -> None:
    """Have the blend know one column alone, and that the wrong way round."""

    def wrong(blend: ListwiseBlend, statistics: object) -> BlendWeights:
        weights = np.zeros_like(blend.prior)
        weights[blend.columns.index(column), 0] = -1.0
        return BlendWeights(weights, np.repeat([[-9.0], [9.0]], N_CONTEXTS, axis=1))

    monkeypatch.setattr(ListwiseBlend, "merged_weights", wrong)


def test_nothing_is_gained_by_having_no_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few events may weigh what is popular the wrong way round; nobody practised with an item that
    nobody met."""
    live = LiveSystem(config(), start_ms=START_MS)
    live.publish(*(Item(item_id=name) for name in ("often", "seldom", "unmet")))
    times = {"often": 9, "seldom": 3}
    live.publish(
        *(
            Event(event_id=f"{name}{n}", type="click", user_id=f"u{n}", item_id=name, ts=START_MS)
            for name, n_times in times.items()
            for n in range(n_times)
        )
    )
    live.sync()

    _learned_wrong(monkeypatch, "popular_low")
    [answer] = live.ask(["a stranger"], k=3)
    seldom, often, unmet = (
        logits(answer.decision)[answer.decision.candidates.index(name)]
        for name in ("seldom", "often", "unmet")
    )
    assert seldom > often
    assert unmet == pytest.approx(often), "the last of those that were met"
    request = Request(request_id="r", user_id="a stranger", ts=START_MS, k=3, preview=True)
    version, catalogue = live.scorer.replica.current(), live.scorer.catalogue
    adds = {
        name: sum(
            each.adds for each in explain(live.config, request, name, version, catalogue).blend
        )
        for name in ("seldom", "often", "unmet")
    }
    assert adds["seldom"] > adds["often"] == pytest.approx(adds["unmet"])


def test_what_is_practised_with_of_items_met_is_not_taken_off_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That no item led to it is so of items met too: such weights hold for items nobody met."""
    live = LiveSystem(config(), start_ms=START_MS)
    live.publish(*(Item(item_id=name) for name in ("first", "next", "elsewhere", "unmet")))
    taken = [(f"u{n}", name) for n in range(9) for name in ("first", "next")]
    live.publish(
        *(
            Event(event_id=f"{n}", type="click", user_id=user, item_id=name, ts=START_MS + n)
            for n, (user, name) in enumerate([*taken, ("other", "elsewhere"), ("asks", "first")])
        )
    )
    live.sync()

    _learned_wrong(monkeypatch, "next_low")
    [answer] = live.ask(["asks"], k=3)
    following, elsewhere, unmet = (
        logits(answer.decision)[answer.decision.candidates.index(name)]
        for name in ("next", "elsewhere", "unmet")
    )
    assert unmet == pytest.approx(elsewhere)
    assert unmet > following + 0.5


def test_the_blend_alone_orders_the_slate_and_its_share_is_what_is_expected() -> None:
    live = played()
    found = decided(live)
    assert len(found) > 100
    orders = set()
    for decision in found:
        z = logits(decision)
        best = np.argsort(-z, kind="stable")[: len(decision.items)]
        assert decision.items == [decision.candidates[place] for place in best]
        shares = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        assert decision.expected == pytest.approx(shares[best])
        assert decision.propensities == [1.0] * len(best)
        assert not any(decision.explored or [])
        assert (decision.policy, decision.policy_parameters) == ("blend", {})
        # The standardized column that is logged has the same order.
        logged = decision.feature_matrix()[:, decision.feature_names.index("blend_z")]
        assert (np.diff(logged[best]) <= 0).all()
        orders.add(tuple(decision.items))
    assert len(orders) > 20


def test_it_goes_on_learning_what_it_ranks_by() -> None:
    live = played()
    blend = model_of(build_models(live.config), ListwiseBlend)
    assert blend is not None
    learned = live.scorer.replica.current().tables.read(blend.statistics).row(0)
    assert not np.array_equal(blend.merged_weights(learned).weights, blend.prior)


def test_no_table_of_a_bandit_is_made_or_learned() -> None:
    models = build_models(config())
    assert model_of(models, Bandit) is None
    assert model_of(models, UserImpressions) is None
    both = [model for model in build_models(Config()) if model_of([model], Bandit)]
    (bandit,) = both
    unknown = {spec.name for spec in bandit.tables()}
    entries = played().store.follow({0: 0}, timeout_s=0.0)
    changed = {name for entry in entries for name in entry.change.tables}
    assert "blend_statistics" in changed
    assert not changed & unknown
    assert not {name for name in feature_names(config()) if name.startswith(("ctr", "exposures"))}
    assert "passed_by" not in feature_names(config())


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_its_decisions_are_made_again_to_the_bit(n_partitions: int) -> None:
    live = played(n_partitions)
    found = [decode_decision(each.value) for each in live.broker.records("decisions")]
    verified = verified_again(live, found)
    assert (verified.problems, verified.n_same, verified.n_without_version) == ([], len(found), 0)
    for decision in decided(live):
        again = redraw(decision)
        assert [decision.candidates[place] for place in again.order] == decision.items
        assert again.propensities.tolist() == decision.propensities
        assert again.expected[again.order].tolist() == decision.expected
        assert again.state == decision.policy_state


@pytest.mark.parametrize("state", [None, b"", bytes(12), "not finite"])
def test_a_state_that_is_no_logit_of_each_candidate_is_refused(state: bytes | str | None) -> None:
    decision = decided(played())[-1]
    if state == "not finite":
        state = np.full(len(decision.candidates), np.nan).tobytes()
    with pytest.raises(BadMessage, match="can't be drawn again"):
        redraw(replace(decision, policy_state=state))


def test_a_store_says_what_ranks_and_is_read_back() -> None:
    for each in (config(), Config()):
        layout = store_layout(each, build_models(each))
        assert recorded_config(layout, 0).funnel.ranker == each.funnel.ranker


def replayed(ranker: str) -> dict[str, float]:
    model = f"funnel:recall.session.factors=8,funnel.ranker={ranker}"
    log = random_log(300, seed=5)
    outcome = Experiment(log, parse_specs([model]), Settings(), config=Config()).run()
    metrics: dict[str, float] = json.loads(encoded(result_of(outcome)))["metrics"][model]
    return {name: metrics[name] for name in ("recall@10", "ndcg@10", "mrr")}


def test_in_replay_it_ranks_as_the_prior_of_the_bandit_does() -> None:
    blend = replayed("blend")
    assert blend["recall@10"] > 0
    assert blend == pytest.approx(replayed("bandit"), abs=0.02)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"funnel.ranker": "river:linear_model.LinearRegression()"}, "streamer replay --model"),
        ({"funnel.ranker": "blend", "recall.blend.weight": 0}, r"recall\.blend\.weight and funnel"),
        (
            {
                "funnel.ranker": "blend",
                "recall.popular.candidates": 0,
                "recall.similar.candidates": 0,
                "recall.next.candidates": 0,
                "recall.time_of_day.candidates": 0,
                "recall.session.factors": 0,
                "recall.taste.on": False,
            },
            "no channel that the blend weighs is on; switch on one of similar, next, content",
        ),
    ],
)
def test_what_can_not_rank_is_refused_with_the_remedy(
    flags: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_config(env={}, flags=flags)
