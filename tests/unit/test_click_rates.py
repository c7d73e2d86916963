"""Items shown and taken up are counted once each, by surface, variant, channel and slot."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from streamer.config import load_config
from streamer.events import Event, Item, Pin, Request
from streamer.learner.join.answers import DecidedBatch
from streamer.learner.join.clicks import LABELS_MAX, OTHER, ClickCounts, Clicks
from streamer.learner.join.join import Join, JoinSettings
from streamer.learner.join.metrics import ClickMetrics
from streamer.learner.join.shown import Shown
from streamer.scorer.exposure import Exposure
from streamer.simulation.live import LiveSystem
from tests.joins import SETTINGS, START_MS, Answer, answers_at, decided
from tests.scoring import TWO_CHANNELS

DAY_MS = 86_400_000


def decisions() -> list[Shown]:
    home = replace(
        decided("r0", items=["a", "b", "c"]),
        surface="home",
        variants=(("ranker", "new"),),
        channels=("next", "popular", "next"),
    )
    # A pinned item has the first slot, and an older scorer did not say which channels it asked.
    other = replace(decided("r1", START_MS + 1_000, offset=1, items=["d", "e"]), pinned_at=(0,))
    return [home, other]


ANSWERS = [
    Answer(START_MS + 2_000, "r0", item_id="b"),
    Answer(START_MS + 12_000),  # both windows are over
    Answer(START_MS + 20_000, "r0", item_id="a", reward=2.0),
    Answer(START_MS + 21_000, "r1", item_id="d"),
    Answer(START_MS + 22_000, "r0", item_id="b", reward=-1.0),
    Answer(START_MS + 23_000, "r0", item_id="b", reward=5.0),
]


def joined(n_answers: int, settings: JoinSettings = SETTINGS) -> ClickCounts:
    """Counts after two decisions and so many answers, each read by itself."""
    join = Join(settings)
    join.take(DecidedBatch(decisions(), 2), None)
    for at in range(n_answers):
        join.take(None, answers_at(ANSWERS, at, at + 1))
    return join.counts.clicks


def one_label(counted: Counter[tuple[str, ...]]) -> dict[str, int]:
    return {",".join(labels): n for labels, n in counted.items()}


def test_what_was_shown_and_taken_is_counted_when_its_window_is_over() -> None:
    assert joined(1) == ClickCounts()
    found = joined(2)
    assert one_label(found.by_surface.shown) == {"home": 3, "(none)": 2}
    assert one_label(found.by_surface.taken) == {"home": 1}
    assert one_label(found.by_variant.shown) == {"ranker,new": 3}
    assert one_label(found.by_variant.taken) == {"ranker,new": 1}
    assert one_label(found.by_channel.shown) == {"next": 2, "popular": 1, "(unsaid)": 2}
    assert one_label(found.by_channel.taken) == {"popular": 1}
    assert one_label(found.by_slot.shown) == {"0": 1, "1": 2, "2": 2}
    assert one_label(found.by_slot.taken) == {"1": 1}
    assert one_label(found.answers.shown) == {"home": 1, "(none)": 1}
    assert one_label(found.answers.taken) == {"home": 1}


def test_what_is_taken_later_is_counted_then_and_nothing_is_taken_back() -> None:
    before, after = joined(2), joined(len(ANSWERS))
    assert after.by_slot.shown == before.by_slot.shown
    assert one_label(after.by_slot.taken) == {"0": 1, "1": 2}
    # The click on b was made up for by a dislike, and the dislike by another: it is one item.
    assert one_label(after.by_channel.taken) == {"popular": 1, "next": 1, "(unsaid)": 1}
    assert one_label(after.answers.taken) == {"home": 1, "(none)": 1}


def test_a_slate_of_which_nothing_was_reported_may_not_have_been_seen() -> None:
    found = joined(3, replace(SETTINGS, unanswered=False))
    assert one_label(found.answers.shown) == {"home": 1}
    later = joined(4, replace(SETTINGS, unanswered=False))
    assert one_label(later.answers.shown) == {"home": 1, "(none)": 1}
    assert one_label(later.by_slot.shown) == {"0": 1, "1": 2, "2": 2}


def test_labels_are_bounded_and_the_rest_is_counted_together() -> None:
    clicks = Clicks(2)
    clicks.add({("a",): 1, ("b",): 2}, {("b",): 1})
    clicks.add({("c",): 3, ("a",): 1, ("d",): 1}, {("c",): 2})
    assert one_label(clicks.shown) == {"a": 2, "b": 2, OTHER: 4}
    assert one_label(clicks.taken) == {"b": 1, OTHER: 2}
    many = [replace(decided(f"r{n}", offset=n), surface=f"s{n}", closed=True) for n in range(50)]
    for each in many:
        each.applied[:] = 0.0
    counts = ClickCounts()
    counts.note(many)
    assert len(counts.by_surface.shown) == LABELS_MAX + 1
    assert counts.by_surface.shown[OTHER,] == 3 * (50 - LABELS_MAX)


def test_counters_are_brought_up_to_what_was_counted_and_no_further() -> None:
    registry = CollectorRegistry()
    metrics = ClickMetrics(registry)
    for n_answers in (2, 2, len(ANSWERS)):
        metrics.show(joined(n_answers))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"streamer_learner_{name}_total", labels)

    assert value("shown_by_slot", slot="1") == 2
    assert value("taken_by_slot", slot="1") == 2
    assert value("shown_by_variant", experiment="ranker", variant="new") == 3
    assert value("answers_taken", surface="(none)") == 1
    assert value("taken_by_slot", slot="2") is None


@pytest.mark.parametrize("n_kept", [4, 100])
def test_exposure_is_of_the_last_slots_over_all_items(n_kept: int) -> None:
    exposure = Exposure(n_kept)
    assert np.isnan(exposure.gini(10))
    slates = [[1, 2], [1, 3], [1, 2]]
    for slate in slates:
        exposure.note(np.array(slate, dtype=np.uint64))
    last = [1, 3, 1, 2] if n_kept == 4 else [1, 2, 1, 3, 1, 2]
    counts = np.array([last.count(item) for item in range(1, 6)])
    assert exposure.n_items() == 3
    differences = np.abs(counts[:, None] - counts).sum()
    assert exposure.gini(5) == pytest.approx(differences / (2 * 4 * counts.sum()))
    assert exposure.gini(0) == exposure.gini(3)


class Shop:
    """The live system in memory: four items, of which two are new."""

    def __init__(self) -> None:
        flags = {**TWO_CHANNELS, "topics.partitions": 1, "join.window_s": 5}
        self.registry = CollectorRegistry()
        self.live = LiveSystem(
            load_config(env={}, flags=flags),
            start_ms=START_MS,
            sync_interval_ms=0,
            registry=self.registry,
        )
        created = {"a": 30, "b": 30, "c": 1, "d": 2}
        self.live.publish(
            *(Item(item_id=i, created_ts=START_MS - n * DAY_MS) for i, n in created.items())
        )
        for n, item_id in enumerate("aabcd"):
            self._event("click", f"old{n}", item_id)
        self.live.advance(START_MS + 1_000)
        self.shown: list[str] = []

    def _event(self, kind: str, user_id: str, item_id: str, request_id: str | None = None) -> None:
        now_ms = self.live.clock.now_ms()
        self.live.publish(
            Event(
                event_id=f"{kind} {user_id} {item_id}",
                type=kind,
                user_id=user_id,
                item_id=item_id,
                ts=now_ms,
                request_id=request_id,
            )
        )

    def visit(self, user_id: str, surface: str) -> None:
        """Show a user two items below a pinned one; the second of the three is clicked on."""
        now_ms = self.live.clock.now_ms()
        request = Request(
            request_id=f"r {user_id}",
            user_id=user_id,
            ts=now_ms,
            k=3,
            surface=surface,
            pinned=[Pin(position=0, item_id="a")],
        )
        decision = self.live.answer([request])[0].decision
        assert decision.channels is not None
        assert len(decision.channels) == len(decision.items) == 2
        self.shown += decision.items
        for kind, item_id in zip(("click", "impression"), decision.items, strict=True):
            self._event(kind, user_id, item_id, request.request_id)

    def wait(self, seconds: int) -> None:
        self.live.advance(self.live.clock.now_ms() + 1_000 * seconds)
        self._event("skip", f"later {self.live.clock.now_ms()}", "b")  # time goes by its events
        self.live.sync()

    def scorer(self, name: str) -> float:
        found = self.registry.get_sample_value(f"streamer_scorer_{name}")
        assert found is not None
        return found


def test_the_live_system_counts_clicks_once_whatever_is_lost() -> None:
    shop = Shop()
    shop.visit("ann", "home")
    shop.visit("bob", "mail")
    shop.wait(1)
    assert not shop.live.counts.join.clicks.by_surface.shown
    shop.live.crash()  # the next learner reads the open slates again
    shop.wait(10)
    clicks = shop.live.counts.join.clicks
    assert one_label(clicks.by_surface.shown) == {"home": 2, "mail": 2}
    assert one_label(clicks.by_surface.taken) == {"home": 1, "mail": 1}
    assert one_label(clicks.by_slot.shown) == {"1": 2, "2": 2}
    assert one_label(clicks.by_slot.taken) == {"1": 2}
    assert sum(clicks.by_channel.shown.values()) == 4
    assert {name for (name,) in clicks.by_channel.shown} <= {"mf", "trending", "(none)"}
    shop.live.crash()
    shop.wait(10)
    assert not shop.live.counts.join.clicks.by_surface.shown  # it was counted before


def test_the_live_system_says_how_slots_were_shared_and_how_many_are_new() -> None:
    shop = Shop()
    assert np.isnan(shop.scorer("exposure_gini"))
    for n in range(6):
        shop.visit(f"user {n}", "home")
    counts = np.array([shop.shown.count(item_id) for item_id in "abcd"])
    differences = np.abs(counts[:, None] - counts).sum()
    assert shop.scorer("exposure_gini") == pytest.approx(differences / (2 * 3 * counts.sum()))
    assert shop.scorer("exposure_items") == np.count_nonzero(counts)
    assert shop.scorer("new_total") == counts[2:].sum() > 0
    assert shop.scorer("slots_total") == counts.sum() == 12
