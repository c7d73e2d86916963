"""Popular, trending and latest items, asked for by themselves."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from streamer.config import load_config
from streamer.errors import BadMessage
from streamer.events import (
    Event,
    Item,
    Request,
    decode_recommendation,
    decode_request,
    encode,
)
from streamer.events.messages import ListName
from streamer.ranking.lists import LISTS
from streamer.scorer.funnel import Slate
from streamer.simulation.live import LiveSystem

START_MS = 1_700_000_000_000
N_ITEMS = 60
HOUR_MS = 3_600_000


def _clicks(item_id: str, n: int, ts: int) -> list[Event]:
    return [
        Event(event_id=f"{item_id} {ts} {u}", type="click", user_id=f"u{u}", item_id=item_id, ts=ts)
        for u in range(n)
    ]


def _shop(**flags: object) -> LiveSystem:
    """``i59`` is the most popular of all time, ``i0`` of the last hour; even ones are drama."""
    live = LiveSystem(load_config(env={}, flags=flags), start_ms=START_MS, sync_interval_ms=0)
    live.publish(*(_item(n) for n in range(N_ITEMS)))
    for n in range(10, N_ITEMS):
        live.publish(*_clicks(f"i{n}", n // 2, START_MS - 500 * HOUR_MS))
    for n in range(10):
        live.publish(*_clicks(f"i{n}", 12 - n, START_MS - 1_000))
    live.sync()
    return live


def _item(n: int) -> Item:
    kind = "drama" if n % 2 == 0 else "comedy"
    created = START_MS - HOUR_MS * (1 + (7 * n) % N_ITEMS)
    return Item(item_id=f"i{n}", title=f"Title {n}", categories=[kind], created_ts=created)


def _list(live: LiveSystem, name: str, **given: object) -> Slate:
    fields = {"request_id": "q", "user_id": "anybody", "ts": START_MS, "k": 5} | given
    request = Request(list_name=name, **fields)  # type: ignore[arg-type]
    scorer = live.scorer
    return scorer.variants.of(request.user_id).recommend(
        request, scorer.replica.current(), scorer.catalogue
    )


def test_every_list_of_a_request_is_there() -> None:
    assert tuple(LISTS) == get_args(ListName)


def test_each_list_has_its_order_and_says_so() -> None:
    live = _shop()
    popular, trending, latest = (_list(live, name) for name in LISTS)
    assert set(popular.item_ids[:2]) == {"i58", "i59"}
    assert popular.expected == [29.0, 29.0, 28.0, 28.0, 27.0]
    assert trending.item_ids == ["i0", "i1", "i2", "i3", "i4"]
    assert np.all(np.diff(trending.expected) < 0)
    created = {f"i{n}": _item(n).created_ts or 0 for n in range(N_ITEMS)}
    assert latest.item_ids == sorted(created, key=lambda each: -created[each])[:5]
    assert latest.expected == [created[each] for each in latest.item_ids]
    assert [each.reasons for each in (popular, trending, latest)] == [
        [name] * 5 for name in ("popular", "trending", "latest")
    ]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_the_same_for_everybody(name: str) -> None:
    live = _shop()
    lists = [_list(live, name, user_id=f"u{n}", request_id=f"q{n}").item_ids for n in range(20)]
    assert lists == [lists[0]] * 20
    again = _list(_shop(**{"recall.popular.candidates": 0}), name)
    assert again.item_ids == lists[0], "it needs no channel"


@pytest.mark.parametrize("name", LISTS)
def test_a_list_holds_what_is_asked_for_and_allowed(name: str) -> None:
    live = _shop(**{"rules.not.exclude": "item.item_id == 'i8'"})
    live.publish(
        *(Item(item_id=f"i{n}", categories=["drama"], available=False) for n in (20, 22)),
        Item(item_id="i0", categories=["drama"], expires_ts=START_MS - 1, created_ts=START_MS),
    )
    live.sync()
    everything = set(_list(live, name, k=100, filter="'drama' in item.categories").item_ids)
    assert everything == {f"i{n}" for n in range(2, N_ITEMS, 2)} - {"i8", "i20", "i22"}
    excluded = _list(live, name, k=100, exclude=["i4"], candidates=["i2", "i4", "i5"]).item_ids
    assert set(excluded) == {"i2", "i5"}
    empty = _list(live, name, filter="item.title == 'none'")
    assert empty.item_ids == []
    assert empty.ruled is not None
    assert "filter keeps out 60" in (empty.ruled.why_empty() or "")


def test_latest_has_items_that_nobody_met_and_those_without_a_time_last() -> None:
    live = _shop()
    live.publish(Item(item_id="new", created_ts=START_MS), Item(item_id="undated"))
    live.sync()
    assert _list(live, "latest").item_ids[0] == "new"
    assert _list(live, "latest", k=100).item_ids[-1] == "undated"
    assert _list(live, "latest", k=100).expected[-1] == 0
    live.publish(Item(item_id="new", created_ts=START_MS - 1_000 * HOUR_MS))
    live.sync()
    assert _list(live, "latest", k=61).item_ids[-1] == "new"
    assert "new" not in _list(live, "popular", k=100).item_ids, "nobody took it up"


def test_an_item_that_is_still_to_come_out_is_on_no_list_and_in_no_slate_until_then() -> None:
    live = _shop()
    created = START_MS + HOUR_MS
    live.publish(
        Item(item_id="ahead", categories=["drama"], created_ts=created),
        Item(item_id="i0", categories=["drama"], created_ts=created),
        *_clicks("ahead", 40, START_MS - 1_000),
    )
    live.sync()
    for name in LISTS:
        before = _list(live, name, k=100).item_ids
        after = _list(live, name, k=100, ts=created).item_ids
        assert set(after) == {*before, "ahead", "i0"}
        assert _list(live, name, k=100, ts=created - 1).item_ids == before, "nothing else changes"
    assert set(_list(live, "latest", ts=created).item_ids[:2]) == {"ahead", "i0"}
    assert {"ahead", "i0"}.isdisjoint(live.request("visitor", k=60).decision.candidates)
    live.advance(created)
    assert {"ahead", "i0"} <= set(live.request("visitor", k=60).decision.candidates)


def test_equally_new_items_are_in_the_order_of_their_keys_whenever_they_came() -> None:
    items = [Item(item_id=f"i{n}", created_ts=START_MS) for n in range(40)]
    found = []
    for order in (items, items[::-1]):
        live = LiveSystem(load_config(env={}, flags={}), start_ms=START_MS, sync_interval_ms=0)
        live.publish(Item(item_id="first gone"), *order)
        live.sync()
        live.scorer.catalogue.apply(b"first gone", None)
        found.append(_list(live, "latest", k=7).item_ids)
    assert found[0] == found[1]


def test_after_a_quiet_night_trending_is_what_the_longer_half_lives_say() -> None:
    live = _shop()
    night = _list(live, "trending", ts=START_MS + 3_000 * HOUR_MS)
    assert night.item_ids[0] == _list(live, "popular").item_ids[0]


def test_a_list_is_answered_by_the_service_and_makes_no_decision() -> None:
    live = _shop()
    request = Request(request_id="q", user_id="u1", ts=START_MS, k=3, list_name="trending")
    sent: list[str] = []
    version = live.scorer.replica.current()
    live.scorer.answer(request, version, live.scorer.replies, refused=sent.append)
    (record,) = live.broker.records("recommendations")
    answer = decode_recommendation(record.value)
    assert (answer.list_name, answer.preview, sent) == ("trending", False, [])
    assert [each.rank for each in answer.items] == [0, 1, 2]
    assert list(live.broker.records("decisions")) == []


def test_a_list_with_seeds_and_an_unknown_list_are_refused() -> None:
    plain = Request(request_id="q", user_id="u1", ts=START_MS, list_name="latest")
    assert decode_request(encode(plain)) == plain
    with pytest.raises(BadMessage, match=r"'list_name': .* goes with no seed_items"):
        decode_request(encode(plain)[:-1] + b',"seed_items":["i1"]}')
    with pytest.raises(BadMessage, match="'list_name'"):
        decode_request(encode(plain).replace(b"latest", b"newest"))
