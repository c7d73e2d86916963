"""The scorer over a broker in memory: answers, dead letters, offsets, an orderly end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from streamer.clock import SystemClock
from streamer.config import BanditConfig, Config, PopularityConfig, ScorerConfig, TopicsConfig
from streamer.config.features import DEFAULT_FEATURES
from streamer.config.rules import RuleConfig
from streamer.errors import DeliveryFailed, LayoutMismatch, StoreUnavailable, TopicMismatch
from streamer.events import (
    DeadLetter,
    Decision,
    FeatureValue,
    Item,
    Recommendation,
    Request,
    decode_dead_letter,
    decode_decision,
    decode_recommendation,
    encode,
    feature_value_key,
)
from streamer.kafka.log_ends import COMMITTED
from streamer.kafka.partitioner import partition_of
from streamer.protocols import Clock, Entry
from streamer.ranking.features import Features
from streamer.scorer.awaited_features import LOOK_EVERY_S, AwaitedFeatures
from streamer.scorer.metrics import KnownFeatureMetrics, ScorerMetrics
from streamer.scorer.policy.choice import Choice, SlatePolicy
from streamer.scorer.policy.knowledge import Knowledge
from streamer.scorer.policy.policies import BanditPolicy, redraw
from streamer.scorer.scorer import Scorer
from streamer.scorer.service import ScorerService
from streamer.scorer.unread import SETTLED_MS
from streamer.simulation.broker import (
    ManualClock,
    MemoryBroker,
    MemoryReader,
    MemorySink,
    MemorySource,
)
from streamer.store.memory import MemoryStore
from streamer.windows.latest import FeaturesReader
from streamer_models.state.partition import Bounds
from tests.scoring import START_MS, Click, Partitions, recalling

CONFIG = Config(
    topics=TopicsConfig(partitions=2, prefix="t."),
    popularity=PopularityConfig(half_lives_s=(3_600.0, 86_400.0)),
    recall=recalling(random={"candidates": 20}),
    bandit=BanditConfig(policy="greedy"),
    scorer=ScorerConfig(poll_ms=5),  # a round with nothing to do takes as long on the test's clock
    features={"item_ctr_1h": DEFAULT_FEATURES["item_ctr_1h"]},
)
N_PARTITIONS = {
    "t.requests": 2,
    "t.recommendations": 2,
    "t.decisions": 2,
    "t.items": 1,
    "t.features": 2,
    "t.dead-letters": 1,
}


class Scoring:
    """A scorer service on a broker and a store in memory, and those who ask it."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        broker: MemoryBroker | None = None,
        learned: Partitions | None = None,
        store: MemoryStore | None = None,
        sink: type[MemorySink] = MemorySink,
        config: Config = CONFIG,
        policy: SlatePolicy | None = None,
        features: Callable[[FeaturesReader], FeaturesReader | None] = lambda reader: reader,
    ) -> None:
        self.clock = clock or ManualClock(START_MS)
        self.broker = broker or MemoryBroker(N_PARTITIONS)
        self.learned = learned or Partitions(2)
        self.sink = MemorySink(self.broker, clock=self.clock)
        self.registry = CollectorRegistry()
        self.source = MemorySource(
            self.broker,
            "scorers",
            ["t.requests"],
            on_assign=lambda partitions: {("t.requests", p): COMMITTED for p in partitions},
            on_revoke=lambda partitions: None,
            clock=self.clock,
        )
        self.scorer = Scorer(
            config,
            models=self.learned.models,
            store=store or self.learned.store,
            items=MemoryReader(self.broker, ["t.items"], clock=self.clock),
            sink=sink(self.broker, clock=self.clock),
            clock=self.clock,
            metrics=ScorerMetrics(self.registry),
            policy=policy,
            features=features(MemoryReader(self.broker, ["t.features"], clock=self.clock)),
            feature_metrics=KnownFeatureMetrics(self.registry),
        )
        self.service = ScorerService(self.scorer, source=self.source)

    def begin(self) -> None:
        """What ``run`` does before its first round; then the source has joined."""
        self.scorer.replica.load()
        self.scorer.load_catalogue()
        self.scorer.follow_features()
        self.service.round()

    def tell(self, item_id: str, ratio: float, *, end_ms: int = START_MS) -> None:
        """Publish a feature of an item."""
        name = "item_ctr_1h"
        value = FeatureValue(
            entity="item",
            id=item_id,
            name=name,
            value=ratio,
            window_start=end_ms - 3_600_000,
            window_end=end_ms,
            computed_ts=end_ms,
        )
        self.sink.send("t.features", key=feature_value_key(name, item_id), value=encode(value))

    def ask(
        self, user: str, request_id: str = "r1", *, ts_ms: int = START_MS, **given: Any
    ) -> None:
        request = Request(request_id=request_id, user_id=user, ts=ts_ms, **given)
        self.sink.send("t.requests", key=user.encode(), value=encode(request))

    def recommendations(self) -> list[Recommendation]:
        return [decode_recommendation(r.value) for r in self.broker.records("t.recommendations")]

    def decisions(self) -> list[Decision]:
        return [decode_decision(record.value) for record in self.broker.records("t.decisions")]

    def dead_letters(self) -> list[DeadLetter]:
        return [
            decode_dead_letter(record.value) for record in self.broker.records("t.dead-letters")
        ]

    def counted(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"streamer_scorer_{name}", labels)


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing came in time"
        time.sleep(0.005)


def test_a_request_gets_a_recommendation_and_a_decision_that_agree() -> None:
    scoring = Scoring()
    scoring.learned.commit(0, [Click("bob", "a"), Click("bob", "b"), Click("eve", "b")])
    scoring.begin()
    scoring.ask("ann", k=2, surface="home")
    assert scoring.service.round() == 1
    (recommendation,), (decision,) = scoring.recommendations(), scoring.decisions()
    assert (recommendation.request_id, recommendation.user_id) == ("r1", "ann")
    assert [(item.item_id, item.rank, item.reason) for item in recommendation.items] == [
        ("b", 0, "trending"),
        ("a", 1, "trending"),
    ]
    assert recommendation.model_version == decision.model_version == "p0:1,p1:0"
    assert decision.items == ["b", "a"]
    assert decision.positions == [0, 1]
    assert decision.propensities == [1.0, 1.0]
    assert decision.feature_matrix().shape == (2, len(decision.feature_names))
    count = decision.feature_matrix()[:, decision.feature_names.index("log_count")]
    by_id = dict(zip(decision.candidates, count.tolist(), strict=True))
    assert by_id == pytest.approx({"a": np.log(2) / 4, "b": np.log(3) / 4})
    assert decision.expected == [item.score for item in recommendation.items]
    assert decision.explored == [False, False]
    assert decision.surface == "home"
    keys = {record.key for record in scoring.broker.records("t.decisions")}
    assert keys == {b"ann"}
    assert scoring.counted("requests_total") == 1
    assert scoring.counted("request_seconds_count") == 1
    assert scoring.counted("decisions_total", policy="greedy") == 1
    assert scoring.counted("slots_total") == 2
    assert scoring.counted("explored_total") == 0


def test_a_preview_is_answered_and_decides_nothing() -> None:
    scoring = Scoring()
    scoring.learned.commit(0, [Click("bob", "a"), Click("bob", "b"), Click("eve", "b")])
    scoring.begin()
    scoring.ask("ann", "r1", preview=True)
    scoring.ask("ann", "r2")
    assert scoring.service.round() == 2
    looked, decided = scoring.recommendations()
    assert [item.item_id for item in looked.items] == ["b", "a"]
    assert (looked.preview, decided.preview) == (True, False)
    assert [decision.request_id for decision in scoring.decisions()] == ["r2"]
    assert scoring.counted("requests_total") == 2
    assert scoring.counted("decisions_total", policy="greedy") == 1
    assert scoring.counted("slots_total") == 2


def test_whoever_reads_a_decision_can_draw_its_slate_again() -> None:
    bandit = BanditConfig(policy="linear-thompson", noise_scale=5.0, uniform_share=0.3)
    scoring = Scoring(config=replace(CONFIG, bandit=bandit))
    scoring.learned.commit(0, [Click("bob", f"i{n}") for n in range(30) for _ in range(n)])
    scoring.begin()
    for n in range(20):
        scoring.ask("ann", request_id=f"r{n}", context={"device": "phone"})
    scoring.service.round()
    slates = set()
    for decision in scoring.decisions():
        again = redraw(decision)
        assert [decision.candidates[place] for place in again.order] == decision.items
        assert again.propensities.tolist() == decision.propensities
        assert again.explored.tolist() == decision.explored
        assert again.expected[again.order].tolist() == decision.expected
        assert decision.context == {"device": "phone"}
        slates.add(tuple(decision.items))
    assert len(slates) > 10
    n_explored = sum(sum(decision.explored or []) for decision in scoring.decisions())
    assert scoring.counted("explored_total") == n_explored > 0
    assert scoring.counted("slots_total") == 200


def test_answers_go_to_the_partition_of_the_user() -> None:
    scoring = Scoring()
    scoring.begin()
    users = [f"u{n}" for n in range(8)]
    for user in users:
        scoring.ask(user, request_id=user)
    assert scoring.service.round() == 8
    for partition in range(2):
        records = scoring.broker.read(("t.recommendations", partition), 0, 100)
        answered = [decode_recommendation(record.value).user_id for record in records]
        assert answered == [u for u in users if partition_of(u.encode(), 2) == partition]


def test_a_users_click_changes_the_next_answer() -> None:
    scoring = Scoring()
    scoring.learned.commit(0, [Click("bob", item) for item in "abc"])
    scoring.begin()
    scoring.ask("ann", request_id="before")
    scoring.service.round()
    scoring.learned.commit(1, [Click("ann", "b")])
    scoring.scorer.replica.follow(timeout_s=0)
    scoring.ask("ann", request_id="after")
    scoring.service.round()
    before, after = scoring.recommendations()
    assert sorted(item.item_id for item in before.items) == ["a", "b", "c"]
    assert sorted(item.item_id for item in after.items) == ["a", "c"]


def test_bad_requests_become_dead_letters_and_the_others_are_answered() -> None:
    scoring = Scoring()
    scoring.begin()
    scoring.ask("ann", request_id="good one")
    scoring.sink.send("t.requests", key=b"ann", value=b'{"request_id": "r", "k": 0}')
    scoring.sink.send("t.requests", key=b"ann", value=None)
    scoring.ask("ann", request_id="good two")
    assert scoring.service.round() == 4
    assert [each.request_id for each in scoring.recommendations()] == ["good one", "good two"]
    bad, tombstone = scoring.dead_letters()
    where = partition_of(b"ann", 2)
    assert (bad.topic, bad.partition, bad.offset) == ("t.requests", where, 1)
    assert bad.raw == b'{"request_id": "r", "k": 0}'
    assert "user_id" in bad.reason or "'k'" in bad.reason
    assert tombstone.raw is None
    keys = [record.key for record in scoring.broker.records("t.dead-letters")]
    assert keys == [f"t.requests:{where}:{offset}".encode() for offset in (1, 2)]
    assert scoring.counted("dead_letters_total") == 2


@pytest.mark.parametrize("ts_ms", [0, START_MS // 1_000, START_MS + 22 * 3_600_000])
def test_a_request_is_answered_as_of_now_whatever_time_it_has(ts_ms: int) -> None:
    scoring = Scoring()
    scoring.learned.commit(0, [Click("bob", "a")])
    scoring.begin()
    scoring.ask("ann", ts_ms=ts_ms)
    scoring.service.round()
    (answer,) = scoring.recommendations()
    assert START_MS <= answer.ts < START_MS + 60_000
    assert [item.item_id for item in answer.items] == ["a"]
    assert not scoring.dead_letters()


def test_requests_nobody_waits_for_any_more_become_dead_letters() -> None:
    scoring = Scoring()
    scoring.begin()
    scoring.ask("ann", request_id="old")
    scoring.clock.sleep(45)
    scoring.ask("ann", request_id="younger")
    scoring.clock.sleep(30)
    scoring.service.round()
    assert [each.request_id for each in scoring.recommendations()] == ["younger"]
    (letter,) = scoring.dead_letters()
    assert "75000 ms ago" in letter.reason
    assert scoring.counted("stale_total") == 1


def test_a_request_says_how_long_its_asker_waits() -> None:
    scoring = Scoring()
    scoring.begin()
    scoring.ask("ann", request_id="patient", timeout_ms=90_000)
    scoring.ask("ann", request_id="left", timeout_ms=5_000)
    scoring.clock.sleep(5)
    scoring.ask("ann", request_id="waits", timeout_ms=5_000)
    scoring.clock.sleep(0.5)
    scoring.service.round()
    assert [each.request_id for each in scoring.recommendations()] == ["patient", "waits"]
    assert [each.request_id for each in scoring.decisions()] == ["patient", "waits"]
    (letter,) = scoring.dead_letters()
    assert "5500 ms ago, and its answer was waited for 5000 ms" in letter.reason
    assert scoring.counted("stale_total") == 1


def test_a_clock_that_is_wrong_is_told_from_a_wait(caplog: pytest.LogCaptureFixture) -> None:
    scoring = Scoring()
    scoring.begin()
    asked = ManualClock(scoring.clock.now_ms() - 30_000)  # the scorer's is 30 s ahead of it
    sink = MemorySink(scoring.broker, clock=asked)
    for n in range(3):
        request = Request(request_id=f"{n}", user_id="ann", ts=asked.now_ms(), timeout_ms=5_000)
        sink.send("t.requests", key=b"ann", value=encode(request))
        scoring.service.round()
    reasons = {letter.reason for letter in scoring.dead_letters()}
    assert len(scoring.dead_letters()) == 3
    assert all("this scorer's clock is ahead, or that of its" in each for each in reasons)
    assert not [r for r in reasons if "start more scorers" in r]
    scoring.ask("ann", request_id="waits", ts_ms=scoring.clock.now_ms(), timeout_ms=5_000)
    scoring.clock.sleep(6)
    scoring.service.round()
    assert "start more scorers, or set the clock" in scoring.dead_letters()[-1].reason
    said = [each.message for each in caplog.records if each.message.startswith("requests_too_old")]
    assert said == ["requests_too_old_when_they_come", "requests_too_old"]


class SlowPolicy(BanditPolicy):
    """A policy that takes ten milliseconds of the test's clock."""

    clock = ManualClock()

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        self.clock.sleep(0.01)
        return super().choose(features, knowledge, k, seed)


def test_under_overload_the_newest_are_answered_and_the_others_say_that_they_were_late() -> None:
    clock = SlowPolicy.clock = ManualClock(START_MS)
    learned = Partitions(2)
    learned.commit(0, [Click("bob", f"i{item}") for item in range(20)])
    scoring = Scoring(clock=clock, learned=learned, policy=SlowPolicy(CONFIG))
    scoring.begin()
    for n in range(300):
        scoring.ask(f"user{n}", request_id=f"{n}", timeout_ms=1_000)
        clock.sleep(0.001)
    assert scoring.service.round() == 256
    decided = [int(each.request_id) for each in scoring.decisions()]
    letters = scoring.dead_letters()
    assert len(decided) + len(letters) == 256
    assert 60 < len(decided) < 110  # a second's worth
    assert min(decided) > 150
    assert scoring.counted("stale_total") == len(letters)
    # Where all can be answered, the order is that of the topic.
    for name in ("a", "b"):
        scoring.ask("ann", request_id=name, ts_ms=clock.now_ms())
        clock.sleep(0.001)
    scoring.service.round()
    last = [each.request_id for each in scoring.decisions() if each.user_id == "ann"]
    assert last == ["a", "b"]


class NeedsTwo(BanditPolicy):
    """A policy that a colleague got wrong."""

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        if len(features) == 1:
            raise ZeroDivisionError("one candidate")
        return super().choose(features, knowledge, k, seed)


def test_a_request_that_cannot_be_scored_does_not_end_the_service() -> None:
    scoring = Scoring(policy=NeedsTwo(CONFIG))
    scoring.learned.commit(0, [Click("bob", "a"), Click("bob", "b")])
    scoring.begin()
    scoring.ask("eve", request_id="r1", candidates=["a"])
    scoring.ask("eve", request_id="r2")
    scoring.service.round()
    assert [each.request_id for each in scoring.recommendations()] == ["r2"]
    (letter,) = scoring.dead_letters()
    assert letter.reason == "scoring failed (ZeroDivisionError): one candidate"


def test_unavailable_items_are_known_before_the_first_answer() -> None:
    scoring = Scoring()
    scoring.learned.commit(0, [Click("bob", "a"), Click("bob", "b"), Click("bob", "c")])
    for n in range(3_000):  # more than one poll takes
        item = Item(item_id=f"filler {n}")
        scoring.sink.send("t.items", key=item.item_id.encode(), value=encode(item))
    scoring.sink.send("t.items", key=b"a", value=encode(Item(item_id="a", available=False)))
    scoring.begin()
    scoring.sink.send("t.items", key=b"b", value=None)
    scoring.sink.send("t.items", key=b"bad", value=b"[]")
    scoring.ask("ann", k=1)
    scoring.service.round()
    (recommendation,) = scoring.recommendations()
    assert [item.item_id for item in recommendation.items] == ["c"]
    (letter,) = scoring.dead_letters()
    assert (letter.topic, letter.offset) == ("t.items", 3_002)
    assert scoring.counted("catalogue_items") == 3_001


RULED: dict[str, RuleConfig] = {
    "adult": RuleConfig(exclude="item.attributes.adlt || request.context.kids")
}


def unread(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.__dict__["field"] for each in caplog.records if each.message == "setting_unread"]


def test_a_rule_on_what_nothing_has_is_said_at_the_start_and_as_requests_come(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.scorer.unread.REQUESTS_MIN", 3)
    scoring = Running(clock=SystemClock(), config=replace(CONFIG, rules=RULED))
    scoring.learned.commit(0, [Click("bob", "a")])
    scoring.sink.send("t.items", key=b"a", value=encode(Item(item_id="a", title="A")))
    with scoring:
        wait_for(lambda: "scorers" in scoring.broker.committed and scoring.source.lag() != {})
        assert unread(caplog) == ["item.attributes.adlt"]
        for n in range(4):
            scoring.ask("ann", request_id=f"r{n}")
        wait_for(lambda: len(scoring.decisions()) == 4)
    assert unread(caplog) == ["item.attributes.adlt", "request.context.kids"]


def test_a_catalogue_that_is_filled_after_the_start_is_looked_at_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock(START_MS)
    scoring = Scoring(clock=clock, config=replace(CONFIG, rules=RULED))
    scoring.learned.commit(0, [Click("bob", "a")])
    scoring.begin()
    scoring.sink.send("t.items", key=b"a", value=encode(Item(item_id="a")))
    for _ in range(2):
        assert unread(caplog) == []
        clock.set(clock.now_ms() + SETTLED_MS)
        scoring.service.round()
    assert unread(caplog) == ["item.attributes.adlt"]


def logged(decision: Decision, feature: str) -> dict[str, float]:
    """A column of a decision, by candidate."""
    column = decision.feature_matrix()[:, decision.feature_names.index(feature)]
    return dict(zip(decision.candidates, column.tolist(), strict=True))


def test_decisions_are_made_from_and_logged_with_what_the_features_topic_says() -> None:
    scoring = Scoring()
    scoring.learned.commit(0, [Click("bob", "a"), Click("bob", "b")])
    scoring.tell("a", 0.02)
    scoring.tell("a", 0.11)
    scoring.begin()
    scoring.ask("ann", request_id="r1")
    scoring.tell("b", 0.05)
    scoring.ask("ann", request_id="r2")
    scoring.service.round()
    scoring.scorer.follow_features()
    scoring.clock.sleep(3_600.001)
    scoring.ask("ann", request_id="r3", ts_ms=START_MS + 3_600_001)
    scoring.ask("ann", request_id="r4")
    scoring.service.round()
    missing = [logged(each, "item_ctr_1h_missing") for each in scoring.decisions()]
    before, after = {"a": 0.0, "b": 1.0}, {"a": 0.0, "b": 0.0}
    assert missing == [before, before, {"a": 1.0, "b": 1.0}, after]
    rates = logged(scoring.decisions()[-1], "item_ctr_1h")
    assert rates == pytest.approx({"a": np.log(12 / 6), "b": 0.0})


def test_without_a_features_topic_all_is_missing() -> None:
    scoring = Scoring(features=lambda reader: None)
    scoring.learned.commit(0, [Click("bob", "a")])
    scoring.tell("a", 0.02)
    scoring.begin()
    scoring.ask("ann")
    scoring.service.round()
    (decision,) = scoring.decisions()
    assert logged(decision, "item_ctr_1h_missing") == {"a": 1.0}


class Interrupted(BanditPolicy):
    """Somebody tries to change what is known, in the middle of a request."""

    scoring: Scoring
    waits: bool | None = None

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        other = threading.Thread(target=self.scoring.scorer.follow_features)
        other.start()
        other.join(0.05)
        self.waits = other.is_alive()
        return super().choose(features, knowledge, k, seed)


def test_what_is_known_does_not_change_within_a_request() -> None:
    policy = Interrupted(CONFIG)
    scoring = policy.scoring = Scoring(policy=policy)
    scoring.learned.commit(0, [Click("bob", "a")])
    scoring.begin()
    scoring.tell("a", 0.02)
    scoring.ask("ann")
    scoring.service.round()
    assert policy.waits
    wait_for(lambda: len(scoring.scorer.known) == 1)


def test_what_is_known_of_features_is_told() -> None:
    clock = ManualClock(START_MS)
    scoring = Scoring(clock=clock)
    scoring.tell("a", 0.02, end_ms=START_MS - 60_000)
    scoring.tell("b", 0.02, end_ms=START_MS - 30_000)
    scoring.sink.send("t.features", key=b"x", value=b"rubbish")
    scoring.begin()
    assert scoring.counted("features_known") == 2
    age_s = scoring.counted("features_staleness_seconds", feature="item_ctr_1h")
    assert age_s == pytest.approx(30, abs=0.1)
    assert scoring.counted("features_rejected_total") == 1
    clock.set(START_MS + 5_000)
    scoring.service.round()
    age_s = scoring.counted("features_staleness_seconds", feature="item_ctr_1h")
    assert age_s == pytest.approx(35, abs=0.1)
    assert scoring.counted("features_rejected_total") == 1


def test_a_restart_goes_on_where_the_group_was_and_a_new_group_at_the_end() -> None:
    broker = MemoryBroker(N_PARTITIONS)
    first = Scoring(broker=broker)
    first.ask("ann", request_id="before anyone listened")
    first.begin()
    first.ask("ann", request_id="one")
    first.service.round()
    first.ask("ann", request_id="two")
    second = Scoring(broker=broker)
    second.begin()
    second.service.round()
    assert [each.request_id for each in second.recommendations()] == ["one", "two"]


@pytest.mark.parametrize("role", ["recommendations", "decisions"])
def test_an_answer_that_its_topic_refuses_makes_a_dead_letter_and_the_scorer_goes_on(
    role: str,
) -> None:
    clock, learned = ManualClock(START_MS), Partitions(2)
    learned.commit(0, [Click("bob", f"i{item}") for item in range(20)])
    scoring = Scoring(clock=clock, learned=learned)
    scoring.begin()
    scoring.ask("ann", request_id="zero")
    scoring.service.round()
    (taken,) = scoring.broker.records(f"t.{role}")
    sink = scoring.scorer._sink
    assert isinstance(sink, MemorySink)
    assert taken.value is not None
    sink.bytes_max[f"t.{role}"] = len(taken.value) - 100
    for name in ("one", "two", "six"):
        scoring.ask("ann", request_id=name)
    scoring.ask("ann", request_id="few", k=1, candidates=["i0"])
    assert scoring.service.round() == 4
    letters = scoring.dead_letters()
    assert [letter.offset for letter in letters] == [1, 2, 3]
    for letter in letters:
        assert f"more than topic t.{role} takes; raise max.message.bytes" in letter.reason
    # Once a size is known to be refused, neither of the two messages is sent.
    answered = [
        [each.request_id for each in scoring.decisions()],
        [each.request_id for each in scoring.recommendations()],
    ]
    assert all(ids[-1] == "few" for ids in answered)
    assert min(map(len, answered)) == 2
    assert max(map(len, answered)) < 2 + 3
    # The topic's bound may be raised: the size is tried again.
    sink.bytes_max.clear()
    scoring.ask("ann", request_id="soon")
    scoring.service.round()
    assert len(scoring.dead_letters()) == 4
    clock.sleep(61)
    scoring.ask("ann", request_id="later", ts_ms=clock.now_ms())
    scoring.service.round()
    assert scoring.decisions()[-1].request_id == "later"


class NotAcknowledged(MemorySink):
    def flush(self, timeout_s: float) -> None:
        raise DeliveryFailed("2 messages are not acknowledged")


def test_offsets_are_told_only_after_the_answers_are_acknowledged() -> None:
    scoring = Scoring(sink=NotAcknowledged)
    scoring.begin()
    scoring.ask("ann")
    with pytest.raises(DeliveryFailed):
        scoring.service.round()
    assert len(scoring.recommendations()) == 1
    assert scoring.broker.committed["scorers"] == {}


# --- the whole service, in threads ---------------------------------------------------------------


class Running(Scoring):
    """A service that runs in a thread, by the machine's clock."""

    def __enter__(self) -> Running:
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self.service.run()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def __exit__(self, *exc: object) -> None:
        self.service.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()


def test_running_it_knows_the_features_before_it_answers_and_follows_them() -> None:
    scoring = Running(clock=SystemClock())
    scoring.learned.commit(0, [Click("bob", "a")])
    for n in range(12_000):  # more than is taken at once
        scoring.tell(f"i{n}", 0.5)
    scoring.tell("a", 0.05)
    with scoring:
        wait_for(lambda: "scorers" in scoring.broker.committed and scoring.source.lag() != {})
        scoring.ask("ann", request_id="first")
        wait_for(lambda: len(scoring.decisions()) == 1)
        scoring.tell("a", 0.11, end_ms=START_MS + 1)
        wait_for(lambda: scoring.scorer.known.newest_end_ms() == {"item_ctr_1h": START_MS + 1})
        scoring.ask("ann", request_id="then", ts_ms=START_MS + 1)
        wait_for(lambda: len(scoring.decisions()) == 2)
    assert scoring.error is None
    found = [logged(each, "item_ctr_1h")["a"] for each in scoring.decisions()]
    assert found == pytest.approx([0.0, np.log(2)])


class LateTopic:
    """Of features, which somebody makes while the scorer runs; and time, which they let pass."""

    def __init__(self) -> None:
        self.made = False
        self.now_s = 0.0

    def awaited(self, reader: FeaturesReader) -> AwaitedFeatures:
        def opened() -> FeaturesReader:
            if not self.made:
                raise TopicMismatch("there is no topic t.features")
            return reader

        return AwaitedFeatures(opened, now_s=lambda: self.now_s)


def test_running_it_follows_a_features_topic_that_is_made_later() -> None:
    late = LateTopic()
    scoring = Running(clock=SystemClock(), features=late.awaited)
    scoring.learned.commit(0, [Click("bob", "a")])
    with scoring:
        wait_for(lambda: "scorers" in scoring.broker.committed and scoring.source.lag() != {})
        scoring.ask("ann", request_id="before")
        wait_for(lambda: len(scoring.decisions()) == 1)
        scoring.tell("a", 0.05)
        late.made = True
        late.now_s += LOOK_EVERY_S
        wait_for(lambda: len(scoring.scorer.known) == 1)
        scoring.ask("ann", request_id="after")
        wait_for(lambda: len(scoring.decisions()) == 2)
    assert scoring.error is None
    missing = [logged(each, "item_ctr_1h_missing")["a"] for each in scoring.decisions()]
    assert missing == [1.0, 0.0]


def test_running_it_answers_follows_and_stops_with_nothing_left_half_done() -> None:
    learned = Partitions(2, bounds=Bounds(users_max=50, items_max=500))
    began_ms = SystemClock().now_ms()
    scoring = Running(clock=SystemClock(), learned=learned)
    assert scoring.counted("ready") == 0
    with scoring:
        wait_for(lambda: "scorers" in scoring.broker.committed and scoring.source.lag() != {})
        assert scoring.counted("ready") == 1
        for n in range(40):
            now_ms = scoring.clock.now_ms()
            learned.commit(n % 2, [Click(f"u{n % 2}", f"i{n}", now_ms)], published_ms=now_ms)
            scoring.ask("ann", request_id=f"r{n}", k=50)
            time.sleep(0.005)
        wait_for(lambda: scoring.scorer.replica.current().model_version == "p0:20,p1:20")
        scoring.ask("ann", request_id="last", k=50)
        wait_for(lambda: len(scoring.recommendations()) == 41)
    assert scoring.error is None
    assert scoring.counted("ready") == 0
    told = scoring.recommendations()
    assert len(told[-1].items) == 40
    assert [each.request_id for each in told[:-1]] == [f"r{n}" for n in range(40)]
    assert {each.model_version for each in told} >= {"p0:20,p1:20"}
    where = ("t.requests", partition_of(b"ann", 2))
    assert scoring.broker.committed["scorers"][where] == 41
    fresh = scoring.scorer.replica.freshness.summary()
    assert fresh.n_samples > 0
    assert 0 <= fresh.p50_ms <= fresh.p99_ms <= SystemClock().now_ms() - began_ms + 1
    by_metric = scoring.registry.get_sample_value(
        "streamer_scorer_freshness_ms", {"quantile": "0.5"}
    )
    assert by_metric == fresh.p50_ms


class FlakyStore(MemoryStore):
    """Does not answer every second time."""

    n_refused = 0

    def follow(self, after: Any, *, timeout_s: float, **known: Any) -> list[Entry]:
        self._turn = not getattr(self, "_turn", False)
        if self._turn:
            self.n_refused += 1
            raise StoreUnavailable("no answer within 5 s; retrying")
        return super().follow(after, timeout_s=timeout_s, **known)


def test_while_the_store_is_away_it_goes_on_with_what_it_has() -> None:
    learned = Partitions(2)
    flaky = FlakyStore()
    layout = learned.store.layout()
    assert layout is not None
    flaky.ensure_layout(layout)
    for partition in range(2):
        flaky.acquire(partition, "tests")
    learned.store = flaky
    with Running(clock=SystemClock(), learned=learned) as scoring:
        wait_for(lambda: flaky.n_refused > 0 and scoring.source.lag() != {})
        learned.commit(0, [Click("bob", "a")])
        scoring.ask("ann")
        wait_for(lambda: len(scoring.recommendations()) == 1)
        wait_for(lambda: scoring.scorer.replica.current().model_version == "p0:1,p1:0")
    assert scoring.error is None


class OtherLayout(MemoryStore):
    def load(self, partition: int) -> Any:
        raise LayoutMismatch("the store holds an entry of schema version 2")


def test_an_error_that_waiting_does_not_mend_ends_the_service() -> None:
    with Running(clock=SystemClock(), store=OtherLayout()) as scoring:
        wait_for(lambda: scoring.error is not None)
    assert isinstance(scoring.error, LayoutMismatch)
