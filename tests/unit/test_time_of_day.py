"""What is taken up at an hour of the day more than at others."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.config import load_config
from streamer.events import Event
from streamer.simulation.live import LiveSystem
from streamer_models.counters.daily_rhythm import TIMES, UNITS, part_of, rhythm_scores

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 20_000 * DAY_MS
BREAKFAST_H, DINNER_H = 8, 19


def _kitchen(**settings: object) -> LiveSystem:
    """Of 20 dishes the even ones are taken up in the morning, and as many odd ones at night."""
    rng = np.random.default_rng(5)
    config = load_config(env={}, flags=settings)
    live = LiveSystem(config, start_ms=START_MS, sync_interval_ms=0)
    for day in range(12):
        for hour, odd in ((BREAKFAST_H, 0), (DINNER_H, 1)):
            for n in range(20):
                live.clock.set(START_MS + day * DAY_MS + hour * HOUR_MS + n * 120_000)
                live.publish(
                    Event(
                        event_id=f"e{day}-{hour}-{n}",
                        type="click",
                        user_id=f"u{rng.integers(40)}",
                        item_id=f"d{2 * rng.integers(10) + odd}",
                        ts=live.clock.now_ms(),
                    )
                )
    live.clock.set(START_MS + 20 * DAY_MS)
    live.sync()
    return live


def _shares_of_dinner(live: LiveSystem) -> dict[int, float]:
    """Hour → how much of the slates of ten strangers is of the odd dishes."""
    found = {}
    for hour in (BREAKFAST_H, DINNER_H):
        live.clock.set(START_MS + 20 * DAY_MS + hour * HOUR_MS)
        slates = [live.request(f"stranger{hour}-{n}", k=6).item_ids for n in range(10)]
        found[hour] = float(np.mean([int(item[1:]) % 2 for slate in slates for item in slate]))
    return found


def test_breakfast_is_recommended_in_the_morning_and_dinner_at_night() -> None:
    found = _shares_of_dinner(_kitchen())
    assert found[BREAKFAST_H] < 0.2
    assert found[DINNER_H] > 0.8
    without = _shares_of_dinner(_kitchen(**{"recall.time_of_day.candidates": 0}))
    assert abs(without[DINNER_H] - without[BREAKFAST_H]) < 0.4


def test_a_part_of_the_day_begins_at_the_middle_between_two() -> None:
    parts = [part_of(START_MS + minutes * 60_000) for minutes in range(0, 24 * 60, 30)]
    assert parts == [n // 4 for n in range(48)]
    assert part_of(START_MS - 1) == TIMES - 1


@pytest.mark.parametrize("at_h", [0.0, 0.5, 7.3, 23.99])
def test_a_score_is_the_observed_over_the_expected(at_h: float) -> None:
    rng = np.random.default_rng(1)
    items = rng.integers(0, 40 * UNITS, (7, TIMES))
    items[3] = 0
    everything = items.sum(axis=0) + UNITS
    found = rhythm_scores(items, everything, START_MS + round(at_h * HOUR_MS))

    middles = 1.0 + 2.0 * np.arange(TIMES)
    away = np.abs(middles - at_h)
    near = np.maximum(1 - np.minimum(away, 24 - away) / 2, 0.0)
    assert near.sum() == pytest.approx(1.0)
    share = (near * everything).sum() / everything.sum()
    observed, expected = (items * near).sum(axis=1) / UNITS, items.sum(axis=1) / UNITS * share
    np.testing.assert_allclose(found, np.log((observed + 5) / (expected + 5)), atol=5e-3)
    assert found[3] == 0.0


def test_nothing_is_said_of_a_time_that_nobody_was_seen_at() -> None:
    items = np.zeros((1, TIMES), dtype=np.int64)
    assert rhythm_scores(items, items[0], START_MS).tolist() == [0.0]
    items[0, 4] = 1_000 * UNITS
    assert rhythm_scores(items, items[0], START_MS).tolist() == [0.0]
