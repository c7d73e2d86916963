"""Requests of one id: each decision is verified against the one that it answers."""

from __future__ import annotations

from msgspec.structs import replace

from streamer.config import load_config
from streamer.events import Decision, Request, RequestRow, decode_decision
from streamer.simulation.live import LiveSystem
from streamer.verify.decisions import SAME_ID_MAX
from tests.kinds import START_MS, clicks_of_kinds
from tests.verified_slates import verified_again


def _live() -> LiveSystem:
    live = LiveSystem(load_config(env={}), start_ms=START_MS, sync_interval_ms=0)
    live.publish(*clicks_of_kinds(200, 20))
    live.advance(START_MS + 300_000)
    live.sync()
    return live


def _asked(live: LiveSystem, user_id: str = "u0", **changes: object) -> None:
    now_ms = live.clock.now_ms()
    request = Request(request_id="again", user_id=user_id, ts=now_ms, k=3)
    live.answer([replace(request, **changes)])
    live.advance(now_ms + 1_000)


def _decisions(live: LiveSystem) -> list[Decision]:
    """Return those that were made, in the order in which they were asked for."""
    found = (decode_decision(each.value) for each in live.broker.records("decisions"))
    return sorted(found, key=lambda decision: decision.ts)


def test_each_of_several_decisions_of_an_id_is_made_again_from_its_own_request() -> None:
    live = _live()
    _asked(live)
    (first,) = _decisions(live)
    _asked(live, exclude=first.items[:1])
    _asked(live, user_id="u1", k=2)
    _asked(live, rows=[RequestRow(name="new"), RequestRow(name="old", k=2)])
    _asked(live, rows=[RequestRow(name="new", k=1)])
    decisions = _decisions(live)
    assert [len(each.items) for each in decisions] == [3, 3, 2, 3, 2, 1]
    assert decisions[1].items != first.items
    found = verified_again(live, decisions)
    assert (found.problems, found.n_same, found.n_different) == ([], 6, 0)
    changed = [replace(each, items=each.items[::-1]) for each in decisions[:2]]
    assert verified_again(live, changed).n_different == 2


def test_a_decision_of_an_id_of_very_many_requests_is_not_called_wrong() -> None:
    live = _live()
    for at in range(SAME_ID_MAX + 1):
        _asked(live, k=1 + at % 5)
    decisions = _decisions(live)
    found = verified_again(live, decisions)
    assert (found.n_same, found.n_different, found.n_without_request) == (SAME_ID_MAX, 0, 1)
