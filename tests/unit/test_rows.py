"""Several rows in one request: no item twice, and each row a decision of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from streamer.config import load_config
from streamer.errors import BadMessage
from streamer.events import (
    Event,
    Item,
    Request,
    RequestRow,
    decode_request,
    encode,
)
from streamer.events.rows import row_request
from streamer.simulation.live import Answer, LiveSystem
from tests.kinds import START_MS, clicks_of_kinds
from tests.verified_slates import verified_again

N_ITEMS = 40
ROWS = [
    RequestRow(name="for you"),
    RequestRow(name="because", seed_items=["i1"], k=3, surface="more"),
    RequestRow(name="new", list_name="latest", k=6),
    RequestRow(name="even", filter="item.attributes.even", exclude=["i2"]),
]
PAGE = Request(
    request_id="q",
    user_id="u1",
    ts=START_MS,
    k=4,
    surface="home",
    exclude=["i0"],
    context={"device": "tv"},
    rows=ROWS,
)


def _shop(**flags: object) -> LiveSystem:
    live = LiveSystem(load_config(env={}, flags=flags), start_ms=START_MS, sync_interval_ms=0)
    live.publish(
        *(
            Item(item_id=f"i{n}", created_ts=START_MS - n, attributes={"even": n % 2 == 0})
            for n in range(N_ITEMS)
        ),
        *clicks_of_kinds(300, N_ITEMS),
    )
    live.advance(START_MS + 400_000)
    return live


def _asked(live: LiveSystem, page: Request) -> Answer:
    return live.answer([replace(page, ts=live.clock.now_ms())])[0]


def _ids(answer: Answer) -> list[list[str]]:
    return [[item.item_id for item in row.items] for row in answer.recommendation.rows or ()]


def test_no_item_stands_in_two_rows_and_each_row_is_what_was_asked_for() -> None:
    answer = _asked(_shop(), PAGE)
    decisions = answer.decisions
    rows = _ids(answer)
    assert [len(row) for row in rows] == [4, 3, 6, 4]
    everything = [item for row in rows for item in row]
    assert len(set(everything)) == len(everything) == 17
    assert not {"i0", "i1"} & set(rows[0] + rows[1] + rows[3]) - {"i1"}
    assert "i2" not in rows[3]
    assert all(int(item[1:]) % 2 == 0 for item in rows[3])
    newest = [f"i{n}" for n in range(1, N_ITEMS) if f"i{n}" not in rows[0] + rows[1]]
    assert rows[2] == newest[:6]
    assert answer.recommendation.items == []
    said = answer.recommendation.rows or []
    assert [(row.name, row.request_id) for row in said] == [
        (row.name, f"q/{row.name}") for row in ROWS
    ]
    assert [row.list_name for row in said] == [None, None, "latest", None]
    assert [each.request_id for each in decisions] == ["q/for you", "q/because", "q/even"]
    assert [each.surface for each in decisions] == ["home", "more", "home"]
    assert {str(each.context) for each in decisions} == {str(PAGE.context)}


def test_a_row_is_drawn_as_a_request_of_its_own_that_excludes_the_rows_above() -> None:
    live = _shop()
    answer = _asked(live, PAGE)
    decisions = answer.decisions
    above: list[str] = []
    alone = {}
    for row, items in zip(ROWS, _ids(answer), strict=True):
        asked = row_request(replace(PAGE, ts=live.clock.now_ms()), row, above)
        if asked.decides:
            alone[asked.request_id] = (asked, list(above))
        above += items
    for decision in decisions:
        request, stood_above = alone[decision.request_id]
        assert (decision.above or []) == stood_above
        assert not set(decision.candidates) & set(stood_above)
        expected = live.answer([request])[0].decision
        assert replace(decision, above=None, ts=0) == replace(expected, ts=0)


def test_the_rows_of_a_page_are_verified_and_their_feedback_is_learned() -> None:
    live = _shop(**{"topics.partitions": 2, "join.window_s": 1})
    answer = _asked(live, PAGE)
    decisions = answer.decisions
    found = verified_again(live, decisions)
    assert (found.n_same, found.problems) == (3, [])
    forged = [replace(each, above=None) for each in decisions]
    assert verified_again(live, forged).n_different == 2, "what stood above was no candidate"
    row = (answer.recommendation.rows or [])[1]
    live.publish(
        Event(
            event_id="c",
            type="click",
            user_id="u1",
            item_id=row.items[0].item_id,
            ts=live.clock.now_ms(),
            request_id=row.request_id,
        )
    )
    live.advance(live.clock.now_ms() + 10_000)
    counted = live.counts.join
    assert (counted.n_matched, counted.n_unmatched) == (1, 0)


def _refused(**given: object) -> str:
    with pytest.raises(BadMessage) as refused:
        decode_request(encode(replace(PAGE, **given)))
    return str(refused.value)


def test_what_rows_cannot_be_is_refused_by_the_field() -> None:
    assert decode_request(encode(PAGE)) == PAGE
    twice = [RequestRow(name="a"), RequestRow(name="b"), RequestRow(name="a")]
    assert _refused(rows=twice).startswith("field 'rows[2].name': \"a\"")
    both = [RequestRow(name="a", list_name="latest", seed_items=["i1"])]
    assert _refused(rows=both).startswith("field 'rows[0].list_name'")
    assert _refused(seed_items=["i1"]).startswith("field 'seed_items'")
    assert _refused(list_name="popular").startswith("field 'list_name'")
    assert "rows" in _refused(rows=[])
    assert "rows" in _refused(rows=[RequestRow(name=f"{n}") for n in range(17)])
    assert _refused(rows=[RequestRow(name="ä" * 128)]).startswith("field 'rows[0].name'")
    long_id = [RequestRow(name="a", exclude=["i1", "ä" * 200])]
    assert _refused(rows=long_id).startswith("field 'rows[0].exclude[1]'")


def test_a_filter_that_cannot_be_answered_refuses_the_whole_and_sends_nothing() -> None:
    live = _shop()
    rows: Sequence[RequestRow] = [*ROWS, RequestRow(name="bad", filter="item.nothing == 1")]
    page = replace(PAGE, rows=list(rows))
    version = live.scorer.replica.current()
    with pytest.raises(BadMessage, match=r"^field 'filter': .*\(row 'bad'\)$"):
        live.scorer.answer(page, version, live.scorer.replies, refused=lambda reason: None)
    assert list(live.broker.records("decisions")) == []
    assert list(live.broker.records("recommendations")) == []


def test_a_preview_of_rows_makes_no_decision_and_says_why_a_row_is_empty() -> None:
    rows = [RequestRow(name="none", filter="item.item_id == 'x'"), RequestRow(name="some")]
    answer = _asked(_shop(), replace(PAGE, rows=rows, preview=True))
    assert answer.decisions == []
    none, some = answer.recommendation.rows or []
    assert (none.items, len(some.items), some.why_empty) == ([], 4, None)
    assert f"filter keeps out {N_ITEMS}" in (none.why_empty or "")
