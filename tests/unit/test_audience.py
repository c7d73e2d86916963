"""The demo's users: all policies face the same ones, and each site learns from its own slates."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamer.client import Publisher, Recommender
from streamer.config.settings import TopicsConfig
from streamer.demo.audience import (
    GREEDY,
    POPULARITY,
    RANDOM,
    STREAMER,
    K,
    LogAudience,
    SimulatedAudience,
    Site,
)
from streamer.events import Event
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.reader import KafkaReader
from streamer.kafka.topics import create_topics
from streamer_producers.datasets import open_log
from tests.default_types import decode_event
from tests.echo_scorer import EchoScorer

N_ROUNDS = 3


def open_site(policy: str, stack: ExitStack, item_ids: Sequence[str] = ()) -> tuple[Site, str]:
    """A site whose scorer always shows the same, and the address of its broker."""
    broker = stack.enter_context(EmbeddedBroker()).bootstrap_servers
    create_topics(broker, TopicsConfig())
    stack.enter_context(EchoScorer(broker, TopicsConfig(), item_ids=item_ids))
    publisher = stack.enter_context(Publisher(broker))
    return Site(policy, publisher, stack.enter_context(Recommender(broker))), broker


def events_on(broker: str) -> list[Event]:
    reader = KafkaReader(broker)
    reader.start(dict.fromkeys(reader.partitions("events"), EARLIEST))
    n_messages = sum(reader.end_offsets().values())
    events: list[Event] = []
    while len(events) < n_messages:
        for batch in reader.poll(n_max=1_000, timeout_s=5.0):
            events += [decode_event(value, publish_ms=-1) for value in batch.values if value]
    reader.close()
    return events


def test_each_site_learns_from_its_own_slates_of_the_same_users() -> None:
    audience = SimulatedAudience(seed=3, browsing_per_s=100.0)
    ids = audience.simulator.item_ids
    shown = {STREAMER: ids[:K], GREEDY: ids[K : 2 * K]}
    with ExitStack() as stack:
        opened = [open_site(policy, stack, item_ids) for policy, item_ids in shown.items()]
        sites = [site for site, _ in opened]
        audience.publish_items(sites)
        assert all(audience.round(sites) for _ in range(N_ROUNDS))
        for site in sites:
            site.publisher.flush()
        events = {site.policy: events_on(broker) for site, broker in opened}
    organic, named = {}, {}
    for site in sites:
        assert len(events[site.policy]) == site.n_events
        organic[site.policy] = {e.event_id for e in events[site.policy] if e.request_id is None}
        named[site.policy] = [e for e in events[site.policy] if e.request_id is not None]
    assert organic[STREAMER] == organic[GREEDY] != set()
    for policy, reactions in named.items():
        score = audience.scores[policy]
        assert {event.item_id for event in reactions} == set(shown[policy])
        assert sum(event.type == "impression" for event in reactions) == score.n_shown
        assert sum(event.type == "click" for event in reactions) == score.n_taken
    askers = [{(e.user_id, e.ts) for e in reactions} for reactions in named.values()]
    assert askers[0] == askers[1], "the same users at the same instants"
    requests = [{e.request_id for e in reactions} for reactions in named.values()]
    assert requests[0].isdisjoint(requests[1])


def test_nobody_browses_while_the_system_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = [1_700_000_000_000]
    monkeypatch.setattr("streamer.demo.audience._now_ms", lambda: now_ms[0])
    audience = SimulatedAudience(seed=3, browsing_per_s=100.0)
    with ExitStack() as stack:
        site, broker = open_site(STREAMER, stack, audience.simulator.item_ids[:K])
        for waited_ms in (600_000, 2_000):
            now_ms[0] += waited_ms
            audience.round([site])
        site.publisher.flush()
        browsed_ms = [event.ts for event in events_on(broker) if event.request_id is None]
    assert now_ms[0] - 2_000 == min(browsed_ms) < max(browsed_ms) < now_ms[0]


def test_all_policies_are_held_to_the_same_best_slates() -> None:
    audience = SimulatedAudience(seed=3, browsing_per_s=10.0)
    with ExitStack() as stack:
        ids = audience.simulator.item_ids
        sites = [open_site(policy, stack, ids[:K])[0] for policy in (STREAMER, GREEDY)]
        for _ in range(N_ROUNDS):
            audience.round(sites)
    scores = audience.scores
    assert set(scores) == {STREAMER, GREEDY, POPULARITY, RANDOM}
    n_slates, best = scores[RANDOM].n_slates, scores[RANDOM].expected + scores[RANDOM].regret
    assert n_slates > 10
    for score in scores.values():
        assert (score.n_slates, score.n_shown) == (n_slates, n_slates * K)
        assert score.expected + score.regret == pytest.approx(best)
        assert score.regret > 0
        assert 0 < score.a_slate(score.expected) < K
    # The same slates to the same users at the same instants: the same coins fall.
    assert scores[STREAMER] == scores[GREEDY]


def test_a_log_is_compared_by_what_its_users_took_up_next(tmp_path: Path) -> None:
    # The scorer shows each user the items "USER-0" to "USER-9": every second event is a hit.
    lines = [
        f'{{"event_id":"e{i}","type":"click","user_id":"u{i}","item_id":"u{i}-{3 + 9 * (i % 2)}",'
        f'"ts":{1_600_000_000_000 + i}}}'
        for i in range(40)
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines) + "\n")
    audience = LogAudience(open_log(str(path)), seed=0, chunk=10)
    with ExitStack() as stack:
        site, broker = open_site(STREAMER, stack)
        while audience.round([site]):
            pass
        site.publisher.flush()
        assert [e.event_id for e in sorted(events_on(broker), key=lambda e: e.ts)] == [
            f"e{i}" for i in range(40)
        ]
    assert site.n_events == 40
    assert audience.scores[STREAMER].rate == 0.5
    assert audience.scores[RANDOM].n_slates == 40
    assert set(audience.scores) == {STREAMER, POPULARITY, RANDOM}
