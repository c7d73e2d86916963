"""A recall channel alone, as one of an experiment's models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import Config
from streamer.config.specs import parse_specs
from streamer.errors import ConfigError
from streamer.events import Request
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext, request_context
from streamer.ranking.recall.measuring import MeasuringChannel
from streamer.ranking.recall.registry import channels_on, measuring_on, registered
from streamer.ranking.recall.union import union
from streamer.replay.channel_alone import ChannelAlone, channel_config
from streamer.replay.funnel_model import funnel_config
from streamer.replay.interactions import UNKNOWN, Interaction
from streamer.replay.models import build_model
from streamer.simulation.live import LiveSystem
from tests.unit.replay_logs import DAY_MS, random_log

SMALL = {
    "recall.popular.candidates": "6",
    "recall.similar.candidates": "6",
    "recall.next.candidates": "6",
    "recall.time_of_day.candidates": "6",
    "recall.session.factors": "8",
    "mf.history": "12",
}
NAMES = ("similar", "next", "popular", "time_of_day", "session")


def test_off_switches_a_channel_off() -> None:
    for channel in registered():
        changed = funnel_config(Config(), channel.off(), seed=0, n_partitions=1)
        assert not channel.is_on(changed), channel.name


def recalled(context: RequestContext, channels: list[MeasuringChannel[Any]]) -> Candidates:
    allowed = context.items.live.copy()
    allowed[context.item_rows(context.excluded())] = False
    found = [each.recall(context, allowed, each.settings.candidates) for each in channels]
    return union(context, found)


@pytest.mark.parametrize("name", NAMES)
def test_a_channel_alone_ranks_what_it_recalls_live_by_its_measures(name: str) -> None:
    """Its candidates and scores are those that the channel has over a replica of a live system."""
    events = [
        replace(each, type="click", value=None)
        for each in random_log(240, seed=2, n_items=60).events()
    ]
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    model = ChannelAlone(channel_config(Config(), name, SMALL, seed=3), name)
    for number, each in enumerate(events):
        user_row = users.setdefault(each.user_id, len(users))
        item_row = items.setdefault(each.item_id, len(items))
        model.learn(
            Interaction(number=number, event=each, user_row=user_row, item_row=item_row, reward=1.0)
        )
    live_config = funnel_config(Config(), SMALL, seed=3, n_partitions=1)
    live = LiveSystem(live_config, start_ms=events[0].ts, sync_interval_ms=0)
    for each in events:
        live.clock.set(each.ts)
        live.publish(each)
    live.sync()
    measuring = [each for each in channels_on(live_config) if isinstance(each, MeasuringChannel)]
    (channel,) = (each for each in measuring if each.name == name)
    version = live.scorer.replica.current()
    at_ms = events[-1].ts + DAY_MS
    for user_id, user_row in [*users.items(), ("stranger", UNKNOWN)]:
        request = Request(request_id="r", user_id=user_id, ts=at_ms)
        context = request_context(request, version, live.scorer.catalogue)
        candidates = recalled(context, measuring if name == "session" else [channel])
        found = channel.measure(context, candidates)
        expected = np.full(len(items), -np.inf)
        at = [items[each] for each in candidates.ids(context.items)]
        expected[at] = (np.log1p(found.shares).sum(axis=0) + found.raw.sum(axis=0)) / 8
        scores = model.score(user_row, at_ms, len(items)).copy()
        np.testing.assert_allclose(scores, expected, rtol=1e-12)
        assert (expected > -np.inf).any() or user_row == UNKNOWN
        assert model.score(user_row, at_ms, 5).tolist() == scores[:5].tolist()


def test_other_channels_are_not_learned() -> None:
    config = channel_config(Config(), "next", {}, seed=0)
    assert measuring_on(config) == ["next"]
    assert [each.name for each in channels_on(config)] == ["next"]
    assert set(measuring_on(channel_config(Config(), "session", {}, seed=0))) == {
        *NAMES,
        "taste",
        "time_of_day",
    }


def test_before_anything_is_learned_nothing_is_recalled() -> None:
    for name in NAMES:
        model = ChannelAlone(channel_config(Config(), name, SMALL, seed=0), name)
        assert model.score(UNKNOWN, 0, 0).tolist() == []


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("channel:nearest", r"'nearest' is unknown.* similar, next, popular, time_of_day"),
        ("channel:mf", "has no measures"),
        ("channel:similar,recall.similar.candidates=0", "off"),
        ("channel:similar,window=3", "no parameter of similar"),
    ],
)
def test_what_no_channel_can_be_is_refused(spec: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build_model(parse_specs([spec])[0], task="topk", seed=0)
