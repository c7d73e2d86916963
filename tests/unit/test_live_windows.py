"""Windowed features in the live system under a manual clock: as the log alone says, as logged."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from streamer.config import Config, FeatureConfig, FeatureDefinition, load_config
from streamer.config.keys import FEATURES, NAMED
from streamer.errors import ConfigError
from streamer.events import (
    Decision,
    Event,
    decode_decision,
    decode_item,
    pack_features,
)
from streamer.kafka.partitioner import partition_of
from streamer.ranking.columns import followed_definitions
from streamer.simulation.live import LiveSystem
from streamer.windows.engine import FeatureEngine, FeatureResult
from streamer.windows.entities import WHOLE, contributions
from streamer_producers.simulator import Simulator, SimulatorConfig
from tests.default_types import TYPES, decode_event
from tests.scoring import TWO_CHANNELS
from tests.unit.windowed_logs import columns
from tests.verified_slates import verified_again

START_MS = 1_700_000_000_000
STEP_MS, SYNC_MS = 500, 1_000


def rate(entity: str) -> FeatureConfig:
    return FeatureConfig(
        entity=entity,  # type: ignore[arg-type]
        numerator="click",
        denominator="impression",
        window="6s",
        hop="2s",
        smoothing=3.0,
    )


def config(n_partitions: int, *, trending_feature: str = "") -> Config:
    flags = {
        **TWO_CHANNELS,
        "recall.trending_feature.feature": trending_feature,
        "topics.partitions": n_partitions,
        "windows.default_features": False,
        "learner.sync_interval_ms": SYNC_MS,
        "windows.lateness_s": 0.5,
        "recall.mf.candidates": 20,
        "recall.trending.candidates": 10,
        "recall.trending_feature.candidates": 10,
        "mf.factors": 4,
    }
    features = {
        "fading": FeatureConfig(numerator="click", half_life="10s"),
        "item_rate": rate("item"),
        "item_clicks": FeatureConfig(numerator="click", window="4s", stale_after="2s"),
        "category_rate": rate("category"),
        "session": FeatureConfig(entity="user", numerator="click", session_gap="2s"),
        "clicks": FeatureConfig(entity="global", numerator="click", window="4s", hop="1s"),
    }
    return load_config(env={}, flags=flags | NAMED[FEATURES].shown(features))


def play(live: LiveSystem, *, n_steps: int) -> None:
    """Some users ask every step and react at once."""
    world = SimulatorConfig(n_users=30, n_items=40, seed=1, start_ms=START_MS, base_logit=-3.0)
    simulator, rng = Simulator(world), np.random.default_rng(3)
    live.publish(*simulator.items())
    for _ in range(n_steps):
        now_ms = live.clock.now_ms()
        live.publish(*simulator.organic_events(np.full(4, now_ms, np.int64)))
        users = [simulator.user_ids[row] for row in rng.choice(30, 4, replace=False)]
        for answer in live.ask(users, k=5):
            asked = answer.recommendation
            events = simulator.react(asked.user_id, answer.item_ids, now_ms, asked.request_id)
            live.publish(*events)
        live.advance(now_ms + STEP_MS)


class Recomputed:
    """What a decision should have been made from, of the topics' records alone."""

    def __init__(self, live: LiveSystem) -> None:
        self.definitions = {each.name: each for each in followed_definitions(live.config)}
        self._n_partitions = live.config.topics.partitions
        self._events = [
            (each.publish_ms, decode_event(each.value)) for each in live.broker.records("events")
        ]
        items = [decode_item(each.value or b"") for each in live.broker.records("items")]
        self.categories = {each.item_id: each.categories or [] for each in items}
        self._by_sync: dict[int, dict[tuple[str, str], FeatureResult]] = {}

    def value(self, name: str, entity_id: str, at_ms: int) -> float:
        """Known at a time; NaN where missing."""
        synced_ms = START_MS + (at_ms - START_MS) // SYNC_MS * SYNC_MS
        if synced_ms not in self._by_sync:
            # What is published at the moment of a sync comes after it.
            events = [event for publish_ms, event in self._events if publish_ms < synced_ms]
            self._by_sync[synced_ms] = self._known(events)
        found = self._by_sync[synced_ms].get((name, entity_id))
        if found is None or found.value is None:
            return math.nan
        stale = at_ms - found.window_end_ms > self.definitions[name].stale_after_ms
        return math.nan if stale else found.value

    def _known(self, events: Sequence[Event]) -> dict[tuple[str, str], FeatureResult]:
        """The last result of every entity, all windows closed at once."""
        latest_ms = dict.fromkeys(range(self._n_partitions), -1)
        for event in events:
            partition = partition_of(event.user_id.encode(), self._n_partitions)
            latest_ms[partition] = max(latest_ms[partition], event.ts)
        engine = FeatureEngine(list(self.definitions.values()), TYPES, cells_max=100_000)
        for batch in columns(events, max(1, len(events))):
            for each in contributions(
                batch, engine.entities, lambda item_id: self.categories.get(item_id, [])
            ):
                engine.add(each)
        results = engine.close(min(latest_ms.values())).results
        return {(each.name, each.id): each for each in results}


def column(definition: FeatureDefinition, value: float) -> float:
    if math.isnan(value):
        return 0.0
    return math.log((1 + 100 * value) / 6) if definition.denominator else math.log(1 + value) / 4


def expected(found: Recomputed, decision: Decision) -> Iterator[tuple[str, list[float]]]:
    """Columns of a decision that come from the features topic."""
    at_ms, definitions = decision.ts, found.definitions
    matrix = decision.feature_matrix()
    for name in ("item_rate", "item_clicks"):
        values = [found.value(name, item_id, at_ms) for item_id in decision.candidates]
        yield name, [column(definitions[name], value) for value in values]
        yield f"{name}_missing", [float(math.isnan(value)) for value in values]
    values = []
    for item_id in decision.candidates:
        (category,) = found.categories[item_id]
        values.append(found.value("category_rate", category, at_ms))
    yield "category_rate", [column(definitions["category_rate"], value) for value in values]
    for name, entity_id in (("session", decision.user_id), ("clicks", WHOLE)):
        value = column(definitions[name], found.value(name, entity_id, at_ms))
        z = matrix[:, decision.feature_names.index("trending_z")]
        yield f"{name}*trending_z", (value * z.astype(np.float64)).tolist()


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_decisions_hold_what_the_log_says_at_their_time(n_partitions: int) -> None:
    live = LiveSystem(config(n_partitions), start_ms=START_MS)
    play(live, n_steps=50)
    found = Recomputed(live)
    n_known: dict[str, int] = {}
    for record in live.broker.records("decisions"):
        decision = decode_decision(record.value)
        matrix = decision.feature_matrix()
        for name, wanted in expected(found, decision):
            logged = matrix[:, decision.feature_names.index(name)]
            assert logged == pytest.approx(wanted, rel=1e-6, abs=1e-7), (name, decision.ts)
            n_known[name] = n_known.get(name, 0) + int(np.any(logged))
    assert min(n_known.values()) > 20, n_known
    assert len(n_known) == 7


@pytest.mark.parametrize("n_partitions", [1, 3])
@pytest.mark.parametrize("trending_feature", ["", "item_clicks", "fading"])
def test_every_decision_is_made_again_with_what_the_topic_said(
    n_partitions: int, trending_feature: str
) -> None:
    settings = config(n_partitions, trending_feature=trending_feature)
    live = LiveSystem(settings, start_ms=START_MS)
    play(live, n_steps=40)
    if trending_feature:
        ranks = [
            logged(decode_decision(each.value), "trending_feature_rank")
            for each in live.broker.records("decisions")
        ]
        assert sum(map(np.any, ranks)) > 30
    decisions = [decode_decision(each.value) for each in live.broker.records("decisions")]
    verified = verified_again(live, decisions)
    assert (verified.problems, verified.n_same) == ([], len(decisions))
    assert len(decisions) == 40 * 4
    of_topic, of_version = (
        [with_other(each, feature) for each in decisions] for feature in ("item_rate", "log_count")
    )
    # A slate follows from what was logged of the topic; what was not so is told.
    assert verified_again(live, of_topic).n_different > len(decisions) / 4
    assert verified_again(live, of_version).n_different == sum(
        len(d.candidates) > 0 for d in decisions
    )


def logged(decision: Decision, feature: str) -> NDArray[np.float32]:
    column: NDArray[np.float32]
    column = decision.feature_matrix()[:, decision.feature_names.index(feature)]
    return column


def with_other(decision: Decision, feature: str) -> Decision:
    """A decision that was logged with other numbers in one column."""
    matrix = decision.feature_matrix().copy()
    column = matrix[:, decision.feature_names.index(feature)]
    column[:] = np.linspace(-1, 1, len(column))
    return replace(decision, features=pack_features(matrix))


def test_without_definitions_nothing_is_computed_and_nothing_published() -> None:
    live = LiveSystem(replace(config(1), features={}), start_ms=START_MS)
    play(live, n_steps=20)
    assert live.broker.records("features") == []
    names = decode_decision(live.broker.records("decisions")[0].value).feature_names
    assert not [name for name in names if "missing" in name]


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    users = FeatureConfig(numerator="click", measure="users", window="1h")
    monkeypatch.delitem(sys.modules, "streamer_models.windows.distinct", raising=False)
    monkeypatch.setitem(sys.modules, "datasketches", None)  # as where it is not installed
    with pytest.raises(ConfigError, match=r"pip install '\.\[features\]' .*, or leave them out"):
        LiveSystem(replace(config(1), features={"users": users}), start_ms=START_MS)
    aside = {"users": replace(users, ranks=False)}
    LiveSystem(replace(config(1), features=aside), start_ms=START_MS)
