"""Figures of the page: from metrics between two looks, and from what came of the last slates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from streamer.config import load_config
from streamer.events import (
    Decision,
    Event,
    Message,
    Pin,
    encode,
)
from streamer.events.messages import ANYBODY, FUTURE_MS_MAX
from streamer.kafka.log_ends import Ends
from streamer.page.figures import SHOWN_S, Figures, FigureSeries, OwnMetrics
from streamer.page.outcomes import EVENTS_MAX, Rate, RecentSlates
from streamer.protocols import MessageBatch
from streamer.scorer.metrics import ScorerMetrics

CONFIG = load_config(env={})
NOW_MS = 1_700_000_000_000
WINDOW_MS = round(1_000 * CONFIG.join.window_s)


def batch(
    messages: Sequence[Message],
    publish_ms: Sequence[int],
    *,
    partition: int = 0,
    offset: int = 0,
) -> MessageBatch:
    return MessageBatch(
        "any",
        partition,
        [encode(each) for each in messages],
        np.arange(offset, offset + len(messages)),
        np.array(publish_ms, dtype=np.int64),
    )


def test_rates_are_of_the_time_between_two_looks() -> None:
    registry = CollectorRegistry()
    metrics = ScorerMetrics(registry)
    own = OwnMetrics(CONFIG, registry)
    metrics.replica.position.labels("events", "0").set(100)
    first = own.figures(10.0, {})
    assert np.isnan([first.learned_per_s, first.to_learn, first.answer_p50_ms]).all()
    metrics.replica.position.labels("events", "0").set(150)
    metrics.replica.position.labels("events", "1").set(30)
    for _ in range(20):
        metrics.requests.inc()
        metrics.request_seconds.observe(0.0019)
    ends = {("events", 0): Ends(0, 155), ("events", 1): Ends(40, 42), ("decisions", 0): Ends(0, 7)}
    second = own.figures(12.0, ends)
    assert (second.learned_per_s, second.answers_per_s) == (40.0, 10.0)
    assert second.to_learn == 5 + 2 + 7  # what is deleted waits no more
    assert second.answer_p50_ms == pytest.approx(1.5)  # the middle of the bucket from 1 to 2 ms


def test_new_items_are_a_share_of_the_slots_of_late() -> None:
    registry = CollectorRegistry()
    metrics = ScorerMetrics(registry)
    own = OwnMetrics(CONFIG, registry)
    metrics.slots.inc(1_000)
    metrics.exposure_gini.set(0.25)
    assert np.isnan(own.figures(10.0, {}).new_share)
    metrics.slots.inc(30)
    metrics.new.inc(6)
    found = own.figures(11.0, {})
    assert (found.new_share, found.gini) == (0.2, 0.25)


def test_a_late_look_stands_for_the_seconds_before_it_and_a_pause_is_empty() -> None:
    series = FigureSeries()
    for now_s, value in ((100.0, 1.0), (100.95, 2.0), (102.4, 3.0), (105.1, 4.0), (165.1, 5.0)):
        series.note(Figures(learned_per_s=value), now_s)
    found = series.of("learned_per_s")
    assert len(found) == SHOWN_S
    assert found[-67:] == [None, 1.0, 3.0, 3.0, 4.0, 4.0, 4.0, *[None] * 59, 5.0]


def decision(request_id: str, ts: int, items: Sequence[str], **more: object) -> Decision:
    return Decision(
        request_id=request_id,
        user_id="ann",
        ts=ts,
        items=list(items),
        positions=list(range(len(items))),
        propensities=[1.0] * len(items),
        policy="greedy",
        policy_parameters={},
        seed=1,
        model_version="p0:1",
        candidates=list(items),
        feature_names=[],
        features=b"",
        **more,  # type: ignore[arg-type]
    )


def event(n: int, request_id: str | None, item_id: str, kind: str, ts: int) -> Event:
    return Event(
        event_id=f"e{n}", type=kind, user_id="ann", item_id=item_id, ts=ts, request_id=request_id
    )


def test_what_came_of_slates_is_summed_up_by_surface_variant_channel_and_slot() -> None:
    slates = RecentSlates(CONFIG)
    asked_ms = NOW_MS - 60_000
    first = decision(
        "r1",
        asked_ms,
        ["a", "b"],
        surface="home",
        variants={"ranker": "new"},
        channels=["similar", "popular"],
        pinned=[Pin(position=1, item_id="sponsored")],
    )
    young = decision("r2", NOW_MS - 1_000, ["a"], surface="home")
    slates.take("decisions", batch([first, young], [asked_ms, NOW_MS]))
    events = [
        event(1, "r1", "a", "click", asked_ms + 500),
        event(2, "r1", "b", "impression", asked_ms + 500),
        event(3, "nobody's", "a", "click", asked_ms + 600),
        event(4, "r1", "sponsored", "click", asked_ms + 700),
    ]
    slates.take("events", batch(events, [each.ts for each in events]))
    found = slates.outcomes(NOW_MS)
    assert (found.from_ms, found.n_slates) == (0, 1)  # the young one may yet be answered
    assert (found.n_matched, found.n_feedback, found.n_pinned) == (2, 3, 1)
    said = found.said(NOW_MS)
    assert said.startswith("1 slates whose window of feedback (join.window_s) is over, all that")
    assert "2 of 3 events that could answer one did. 1 " in said
    assert said.endswith(". Besides, 1 is of pinned items, no choices.")
    assert found.rates == (
        Rate("channel", "popular", 1, 0, 0.0),
        Rate("channel", "similar", 1, 1, 1.0),
        Rate("experiment ranker", "new", 2, 1, 1.0),
        Rate("slot", "0", 1, 1, 1.0),
        Rate("slot", "2", 1, 0, 0.0),
        Rate("surface", "home", 2, 1, 1.0),
    )


def test_rewards_predicted_are_compared_with_those_that_came_by_size_and_over_time() -> None:
    slates = RecentSlates(CONFIG)
    start_ms = NOW_MS - 600_000
    n = 20
    decisions, events = [], []
    for at in range(n):
        ts, name = start_ms + 1_000 * at, f"r{at}"
        decisions.append(decision(name, ts, ["a", "b"], expected=[0.25, 0.015]))
        # Of the first 16 slates each fourth brings what is expected, then every one: a drift.
        kind = "click" if at % 4 == 0 or at >= 16 else "impression"
        events.append(event(2 * at, name, "a", kind, ts + 500))
        events.append(event(2 * at + 1, name, "b", "impression", ts + 500))
    slates.take("decisions", batch(decisions, [each.ts for each in decisions]))
    slates.take("events", batch(events, [each.ts for each in events]))
    found = slates.outcomes(NOW_MS).predicted
    rows = [(each.name, each.n_items, each.observed) for each in found.by_size]
    assert rows == [("0.01 to 0.02", 20, 0.0), ("0.2 to 0.3", 20, 8 / 20)]
    assert [each.n_items for each in found.by_time] == [8] * 5
    assert [each.observed for each in found.by_time] == [1 / 8] * 4 + [4 / 8]
    assert found.ratio == pytest.approx(8 / (20 * 0.265))
    last, before = found.losses
    not_taken = -np.log(0.985)
    assert last == pytest.approx((-np.log(0.25) + not_taken) / 2)
    assert before == pytest.approx((-np.log(0.25) - 3 * np.log(0.75) + 4 * not_taken) / 8)
    nothing = RecentSlates(CONFIG).outcomes(NOW_MS).predicted
    assert nothing.whole is None
    assert np.isnan([nothing.ratio, *nothing.losses]).all()


def test_predictions_of_objectives_are_compared_with_what_they_brought_by_the_weights_of_then() -> (
    None
):
    flags = {
        "objectives.clicks.events": ["click"],
        "objectives.clicks.weight": 2.0,
        "objectives.told.events": ["share"],
        "events.share.weight": 0.0,
    }
    slates, asked_ms = RecentSlates(load_config(env={}, flags=flags)), NOW_MS - 60_000
    decisions = [
        decision("r1", asked_ms, ["a", "b"], expected=[3.0, 0.25], objectives={"clicks": 3.0}),
        decision("r2", asked_ms, ["a"], expected=[1.5], objectives={"told": 1.0, "clicks": -2.0}),
        decision("r3", asked_ms, ["a"], expected=[0.5]),  # before there were objectives
        decision("r4", asked_ms, ["a"], expected=[0.5], objectives={"bought": 1.0}),
    ]
    events = [
        event(1, "r1", "a", "click", asked_ms + 500),
        event(2, "r2", "a", "share", asked_ms + 500),
        event(3, "r3", "a", "click", asked_ms + 500),
        event(4, "r4", "a", "click", asked_ms + 500),
    ]
    slates.take("decisions", batch(decisions, [each.ts for each in decisions]))
    slates.take("events", batch(events, [each.ts for each in events]))
    found = slates.outcomes(NOW_MS).predicted
    sums = {each.name: (each.expected, each.observed) for each in found.by_size}
    assert sums == {
        "0.2 to 0.3": (0.25, 0.0),
        "0.5 to 0.8": (0.5, 1.0),
        "0.8 and more": ((3.0 + 1.5) / 2, (3.0 + 1.0) / 2),
    }


def test_who_gets_an_item_is_told_by_surface_and_slate() -> None:
    slates = RecentSlates(CONFIG)
    decisions = [
        decision("r1", NOW_MS - 3_000, ["a", "b"], surface="home", expected=[0.5, 0.25]),
        decision("r2", NOW_MS - 2_000, ["a"], pinned=[Pin(position=1, item_id="b")]),
        decision("r3", NOW_MS - 1_000, ["c"], surface="home"),
    ]
    slates.take("decisions", batch(decisions, [each.ts for each in decisions]))
    found = slates.recipients("b")
    assert (found.n_with, found.n_slates, found.n_users_with, found.n_users) == (2, 3, 1, 1)
    assert sorted(found.by_surface) == [("(none)", 1, 1), ("home", 1, 2)]
    assert [(each.position, each.propensity, each.expected) for each in found.last] == [
        (1, None, None),  # the pinned one is the newest
        (1, 1.0, 0.25),
    ]
    assert (slates.recipients("z").n_with, found.n_unnamed) == (0, 0)


def test_visitors_without_a_name_count_as_slates_and_as_no_user() -> None:
    slates = RecentSlates(CONFIG)
    of_visitors = [replace(decision(f"v{n}", NOW_MS - n, ["b"]), user_id=ANYBODY) for n in range(3)]
    decisions = [decision("r1", NOW_MS - 9, ["b"]), *of_visitors]
    slates.take("decisions", batch(decisions, [each.ts for each in decisions]))
    found = slates.recipients("b")
    assert (found.n_with, found.n_users_with, found.n_users, found.n_unnamed) == (4, 1, 1, 3)


def test_a_tail_that_is_cut_says_since_when_it_holds_everything() -> None:
    slates = RecentSlates(CONFIG)
    asked_ms = NOW_MS - 60_000
    early, late = decision("r1", asked_ms, ["a"]), decision("r2", asked_ms + 30_000, ["a"])
    slates.take("decisions", batch([early, late], [asked_ms, asked_ms + 30_000]))
    clicks = [event(n, "r2", "a", "click", asked_ms + 31_000) for n in range(EVENTS_MAX)]
    slates.take("events", batch(clicks, [each.ts for each in clicks]))
    whole = slates.outcomes(NOW_MS)
    assert (whole.from_ms, whole.n_slates) == (0, 2)
    slates.take("events", batch(clicks[:1], [asked_ms + 45_000]))  # one too many
    cut = slates.outcomes(NOW_MS)
    assert cut.from_ms == asked_ms + 31_001 + WINDOW_MS  # what answers others comes for a window
    assert cut.n_slates == 0


def test_feedback_on_slates_that_a_broker_deleted_of_one_partition_is_not_astray() -> None:
    slates = RecentSlates(CONFIG)
    asked_ms = NOW_MS - 600_000
    third = decision("r3", asked_ms + 100_000, ["a"])
    kept = [[decision("r1", asked_ms, ["a"]), third], [decision("r2", asked_ms + 60_000, ["a"])]]
    for partition, decisions in enumerate(kept):
        times = [each.ts for each in decisions]
        slates.take("decisions", batch(decisions, times, partition=partition, offset=50))
    events = [
        event(1, "deleted of partition 1", "a", "click", asked_ms + 30_000),
        event(2, "r3", "a", "click", asked_ms + 100_500),
    ]
    slates.take("events", batch(events, [each.ts for each in events]))
    found = slates.outcomes(NOW_MS)
    assert found.from_ms == asked_ms + 60_000 + WINDOW_MS
    assert (found.n_slates, found.n_matched, found.n_feedback) == (1, 1, 1)


def test_what_is_clicked_by_a_clock_ahead_is_matched_as_the_learner_does() -> None:
    slates = RecentSlates(CONFIG)
    asked_ms = NOW_MS - 60_000
    slates.take("decisions", batch([decision("r1", asked_ms, ["a"])], [asked_ms]))
    published_ms = asked_ms + 500
    ahead = event(1, "r1", "a", "click", published_ms + FUTURE_MS_MAX)  # beyond join.horizon_s
    slates.take("events", batch([ahead], [published_ms]))
    found = slates.outcomes(NOW_MS)
    assert (found.n_matched, found.n_feedback) == (1, 1)


def test_nothing_that_is_on_a_topic_ends_the_look() -> None:
    slates = RecentSlates(CONFIG)
    for role in ("events", "decisions"):
        slates.take(
            role,
            MessageBatch("any", 0, [b"{", None, b"[]"], np.arange(3), np.zeros(3, np.int64)),
        )
    assert slates.outcomes(NOW_MS).rates == ()
