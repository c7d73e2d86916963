"""One clock that runs ahead: an event counts as of its publication at the latest, everywhere."""

from __future__ import annotations

import pytest

from streamer.events import Event
from streamer.simulation.live import LiveSystem
from tests.unit.test_live_windows import START_MS, STEP_MS, config

HOUR_MS = 3_600_000


def played(*, ahead_ms: int) -> LiveSystem:
    """Ann asks and clicks by the right time; the clock of mallory's phone is ahead."""
    settings = config(2)
    live = LiveSystem(settings, start_ms=START_MS)
    for step in range(30):
        now_ms = live.clock.now_ms()
        live.publish(
            *(
                Event(
                    event_id=f"{user}{step}",
                    type="click",
                    user_id=user,
                    item_id=f"i{step % 7}",
                    ts=now_ms + (ahead_ms if user == "mallory" and step % 3 == 0 else 0),
                )
                for user in ("mallory", "bob", "cid")
            )
        )
        asked = live.request("ann", k=3)
        live.advance(now_ms + STEP_MS)
        if asked.item_ids:
            live.publish(
                Event(
                    event_id=f"a{step}",
                    type="click",
                    user_id="ann",
                    item_id=asked.item_ids[0],
                    ts=live.clock.now_ms(),
                    request_id=asked.recommendation.request_id,
                )
            )
    live.sync()
    return live


@pytest.mark.parametrize("ahead_ms", [1, HOUR_MS, 20 * HOUR_MS])
def test_a_clock_that_is_ahead_changes_nothing_for_anyone(ahead_ms: int) -> None:
    right, wrong = played(ahead_ms=0), played(ahead_ms=ahead_ms)
    assert wrong.counts.join.n_matched > 10
    for name in ("n_learned", "n_rejected", "n_duplicates"):
        assert getattr(wrong.counts, name) == getattr(right.counts, name)
    for name in ("n_matched", "n_unmatched", "n_late"):
        assert getattr(wrong.counts.join, name) == getattr(right.counts.join, name)
    for topic in ("decisions", "recommendations", "features"):
        assert wrong.broker.records(topic) == right.broker.records(topic)
    for name in ("events", "dead-letters"):
        assert len(wrong.broker.records(name)) == len(right.broker.records(name))
