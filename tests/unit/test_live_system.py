"""The live system under a manual clock: the same every time, whatever crashes, and exact."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import Config, load_config
from streamer.errors import BadMessage
from streamer.events import Event, Item, Request, decode_dead_letter, decode_decision
from streamer.learner.configured import learner_settings
from streamer.model_set import build_models
from streamer.simulation.live import LiveSystem
from streamer.verify.parameters import Contents, compare_contents, image_contents
from streamer_models.bandits.bandit import OUTCOMES, STATISTICS
from streamer_models.bandits.linear_statistics import STATISTICS_BITS, statistics_width
from streamer_producers.simulator import Simulator, SimulatorConfig
from tests.default_types import decode_event
from tests.learned_rows import learned_row

START_MS = 1_700_000_000_000
STEP_MS = 500
CONFIG = load_config(
    env={},
    flags={
        "topics.partitions": "1",
        "learner.sync_interval_ms": "1000",
        "learner.checkpoint_interval_s": "7",
        "join.window_s": "3",
        "join.match_without_request": "never",  # its brute force knows answers by their ids
        "recall.mf.candidates": "20",
        "recall.trending.candidates": "10",
        "mf.factors": "4",
    },
)


def world(seed: int = 1) -> Simulator:
    return Simulator(SimulatorConfig(n_users=30, n_items=60, seed=seed, start_ms=START_MS))


def play(live: LiveSystem, *, n_steps: int, crash_every: int = 0, k: int = 5) -> None:
    """Two users ask every step, and react a step later; at times a learner is lost."""
    simulator, rng = world(), np.random.default_rng(3)
    live.publish(*simulator.items())
    reactions: list[Event] = []
    for step in range(n_steps):
        if crash_every and step % crash_every == crash_every - 1:
            live.crash()
        live.publish(*reactions)
        users = [simulator.user_ids[row] for row in rng.choice(30, 2, replace=False)]
        reactions = []
        for answer in live.ask(users, k=k):
            asked = answer.recommendation
            now_ms = live.clock.now_ms()
            reactions += simulator.react(asked.user_id, answer.item_ids, now_ms, asked.request_id)
        reactions += simulator.organic_events(np.array([live.clock.now_ms()], np.int64))
        live.advance(live.clock.now_ms() + STEP_MS)
    live.publish(*reactions)
    live.advance(live.clock.now_ms() + 10_000)
    # Event time goes on in every partition, so that no window stays open.
    now_ms = live.clock.now_ms()
    for user_id in simulator.user_ids:
        event_id = f"last-{user_id}"
        live.publish(
            Event(event_id=event_id, type="click", user_id=user_id, item_id="i00000", ts=now_ms)
        )
    live.advance(now_ms + 1_000)


def played(config: Config = CONFIG, *, n_steps: int = 60, crash_every: int = 0) -> LiveSystem:
    live = LiveSystem(config, start_ms=START_MS)
    play(live, n_steps=n_steps, crash_every=crash_every)
    return live


def decisions(live: LiveSystem) -> list[bytes]:
    return [record.value or b"" for record in live.broker.records("decisions")]


def stored(live: LiveSystem) -> list[Contents]:
    models, settings = build_models(live.config), learner_settings(live.config)
    partitions = range(live.config.topics.partitions)
    return [image_contents(live.store.load(p), models, settings) for p in partitions]


def differences(left: LiveSystem, right: LiveSystem) -> list[str]:
    pairs = zip(stored(left), stored(right), strict=True)
    return [found for pair in pairs for found in compare_contents(*pair)]


def with_partitions(n: int) -> Config:
    return replace(CONFIG, topics=replace(CONFIG.topics, partitions=n))


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_two_runs_decide_and_store_the_same_bytes(n_partitions: int) -> None:
    first, second = (played(with_partitions(n_partitions)) for _ in range(2))
    assert decisions(first) == decisions(second)
    assert len(decisions(first)) == 120
    assert differences(first, second) == []
    assert first.store.versions().keys() == set(range(n_partitions))


def test_another_seed_decides_otherwise() -> None:
    other = replace(CONFIG, learner=replace(CONFIG.learner, seed=5))
    assert decisions(played(n_steps=20)) != decisions(played(other, n_steps=20))


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_losing_learners_changes_nothing(n_partitions: int) -> None:
    config = with_partitions(n_partitions)
    undisturbed, crashed = played(config), played(config, crash_every=7)
    assert decisions(crashed) == decisions(undisturbed)
    assert differences(crashed, undisturbed) == []


def test_a_crash_takes_a_learner_back_to_what_it_committed() -> None:
    live = played(n_steps=10)
    assert live.counts.n_learned > 0
    live.crash()
    assert live.counts.n_learned == 0
    live.sync()
    assert live.counts.n_learned == 0, "nothing that is committed is learned again"


def test_messages_that_no_learner_needs_may_go() -> None:
    config = replace(CONFIG, join=replace(CONFIG.join, horizon_s=5.0, lateness_s=1.0))
    config = replace(config, learner=replace(config.learner, dedup_window=100))
    keeps = LiveSystem(config, start_ms=START_MS)
    forgets = LiveSystem(config, start_ms=START_MS, keeps_messages=False)
    play(keeps, n_steps=60)
    play(forgets, n_steps=60, crash_every=7)
    assert differences(keeps, forgets) == []
    assert len(decisions(forgets)) < len(decisions(keeps)) / 2
    assert not forgets.broker.records("requests")


def brute_force(live: LiveSystem) -> tuple[np.ndarray, dict[str, tuple[int, int]]]:
    """Statistics and outcomes by item, from what lies in the topics alone.

    Every decision's window has closed, no reaction was late, and each came with impressions.
    """
    events = [decode_event(record.value) for record in live.broker.records("events")]
    worth = {"click": 1.0, "watch": 1.0}
    rewards: dict[tuple[str, str], float] = {}
    for event in events:
        if event.request_id is not None and event.type in worth:
            value = 1.0 if event.value is None else event.value
            key = event.request_id, event.item_id
            rewards[key] = rewards.get(key, 0.0) + float(np.float32(worth[event.type] * value))
    unit = 2**STATISTICS_BITS
    found: np.ndarray | None = None
    outcomes: dict[str, tuple[int, int]] = {}
    for message in decisions(live):
        decision = decode_decision(message)
        for item_id in decision.items:
            row = learned_row(decision, item_id)
            reward = rewards.get((decision.request_id, item_id), 0.0)
            upper = np.outer(row, row)[np.triu_indices(len(row))]
            numbers = np.concatenate([[1.0, reward * reward], reward * row, upper])
            added = np.rint(unit * numbers).astype(np.int64)
            found = added if found is None else found + added
            n, n_positive = outcomes.get(item_id, (0, 0))
            outcomes[item_id] = n + 1, n_positive + (reward > 0)
    assert found is not None
    return found, outcomes


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_what_was_served_is_what_was_learned(n_partitions: int) -> None:
    live = played(with_partitions(n_partitions), crash_every=11)
    expected, outcomes = brute_force(live)
    contents = stored(live)
    width = statistics_width(len(decode_decision(decisions(live)[0]).feature_names))
    learned = sum(c.tables[STATISTICS][1].sum(axis=0) for c in contents)
    assert learned.shape == (width,)
    assert learned.tolist() == expected.tolist()
    assert expected[0] > 500 * 2**STATISTICS_BITS, "items shown"
    shown = sum(int(c.tables[OUTCOMES][1][:, 0].sum()) for c in contents)
    positive = sum(int(c.tables[OUTCOMES][1][:, 1].sum()) for c in contents)
    assert (shown, positive) == tuple(map(sum, zip(*outcomes.values(), strict=True)))
    assert positive > 10


def test_the_scorer_sees_what_is_learned_one_sync_later() -> None:
    live = LiveSystem(CONFIG, start_ms=START_MS)
    live.publish(*world().items())
    live.advance(START_MS + 1_000)
    click = Event(event_id="e1", type="click", user_id="u", item_id="i00003", ts=START_MS + 1_000)
    live.publish(click)
    assert live.request("v").recommendation.items[0].reason == "new"
    live.advance(START_MS + 1_999)
    assert live.scorer.replica.current().items.n_rows == 0
    live.advance(START_MS + 2_000)
    assert live.request("v", k=1).item_ids == ["i00003"]


def test_a_sync_interval_of_zero_syncs_whenever_time_is_told() -> None:
    live = LiveSystem(CONFIG, start_ms=START_MS, sync_interval_ms=0)
    live.publish(Event(event_id="e1", type="click", user_id="u", item_id="a", ts=START_MS))
    live.advance(START_MS)
    assert live.request("v", k=1).item_ids == ["a"]


def test_a_request_that_is_refused_says_why() -> None:
    live = LiveSystem(CONFIG, start_ms=START_MS)
    with pytest.raises(BadMessage, match="after its publish time"):
        live.answer([Request(request_id="r", user_id="u", ts=START_MS + 10**9)])


def test_letters_of_other_topics_refuse_no_request() -> None:
    config = replace(CONFIG, catalogue=replace(CONFIG.catalogue, embedding=3))
    live = LiveSystem(config, start_ms=START_MS)
    live.publish(
        Item(item_id="good"),
        Item(item_id="bad", embedding=[1.0, 2.0]),
        Event(event_id="e1", type="click", user_id="v", item_id="good", ts=START_MS),
    )
    live.advance(START_MS + 1_000)
    live.publish(Item(item_id="worse", embedding=[1.0]))
    assert live.request("u", k=1).item_ids == ["good"]
    live.advance(START_MS + 2_000)
    assert live.request("u", k=1).item_ids == ["good"]
    letters = [
        decode_dead_letter(each.value or b"") for each in live.broker.records("dead-letters")
    ]
    assert [letter.topic for letter in letters] == ["items", "items"]
    with pytest.raises(BadMessage, match=r"requests\[0\]: .*after its publish time"):
        live.answer([Request(request_id="r", user_id="u", ts=START_MS + 10**9)])
