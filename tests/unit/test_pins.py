"""Items that a request pins: at their positions, no choice, and no outcome of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import load_config
from streamer.errors import BadMessage
from streamer.events import Event, Item, Pin, Request, RequestRow, decode_request, encode
from streamer.events.messages import ListName
from streamer.events.pages import unpacked_keys
from streamer.learner.join.counts import PINNED
from streamer.ranking.lists import LISTS
from streamer.simulation.live import Answer, LiveSystem
from streamer_models.state.ids.id_table import keys_of
from tests.kinds import START_MS, clicks_of_kinds
from tests.unit.ope_files import write_decisions
from tests.unit.test_ope_logs import decision_log
from tests.verified_slates import verified_again

N_ITEMS = 40
PINS = [Pin(position=3, item_id="ad", reason="sponsored"), Pin(position=0, item_id="i7")]


@pytest.fixture(scope="module")
def shop() -> LiveSystem:
    config = load_config(
        env={}, flags={"join.window_s": 1, "rules.adult.exclude": "'adult' in item.tags"}
    )
    live = LiveSystem(config, start_ms=START_MS, sync_interval_ms=0)
    live.publish(
        *(Item(item_id=f"i{n}", created_ts=START_MS - n) for n in range(N_ITEMS)),
        Item(item_id="adult", tags=["adult"]),
        Item(item_id="gone", available=False),
        Item(item_id="later", created_ts=START_MS + 10**9),
        *clicks_of_kinds(300, N_ITEMS),
    )
    live.advance(START_MS + 1_000)
    return live


def _asked(live: LiveSystem, request_id: str, **given: object) -> Answer:
    fields = {"request_id": request_id, "user_id": "u1", "ts": live.clock.now_ms(), "k": 6}
    return live.answer([Request(**fields | given)])[0]  # type: ignore[arg-type]


def test_what_is_pinned_stands_there_and_nowhere_else_and_says_so(shop: LiveSystem) -> None:
    answer = _asked(shop, "stands", pinned=PINS)
    items = answer.recommendation.items
    assert [item.rank for item in items] == list(range(6))
    assert (items[0].item_id, items[0].reason) == ("i7", "pinned")
    assert (items[3].item_id, items[3].reason) == ("ad", "sponsored"), "nobody has met it"
    assert len(set(answer.item_ids)) == 6
    decision = answer.decision
    assert decision.items == [item.item_id for item in items if item.item_id not in ("i7", "ad")]
    assert len(decision.propensities) == len(decision.positions) == 4
    assert not {"i7", "ad"} & set(decision.candidates)
    assert sorted(decision.pinned or [], key=lambda pin: -pin.position) == PINS


def test_the_others_are_drawn_as_a_shorter_slate_without_it(shop: LiveSystem) -> None:
    alone = _asked(shop, "same", k=4, exclude=["ad", "i7"]).decision
    pinned = _asked(shop, "same", pinned=PINS).decision
    assert replace(pinned, pinned=None, slate=None) == replace(alone, slate=None)
    at = (pinned.slate_names or []).index("ln_position")
    places = np.exp(pinned.slate_matrix()[:, at]) - 1
    assert places.round(4).tolist() == [1, 2, 4, 5], "attention is what the place gets"
    found = verified_again(shop, [pinned, replace(pinned, channels=None)])
    assert (found.n_same, found.problems) == (2, [])
    (problem,) = verified_again(shop, [replace(pinned, channels=["random"] * 4)]).problems
    assert problem.endswith("it has other channels")
    unpinned = replace(_asked(shop, "another", pinned=PINS).decision, pinned=None)
    assert "pinned items" in verified_again(shop, [unpinned]).problems[0]


def test_what_may_not_be_shown_is_not_pinned_and_its_place_is_drawn(shop: LiveSystem) -> None:
    pins = [
        Pin(position=n, item_id=each)
        for n, each in enumerate(["adult", "gone", "later", "i1", "i2", "i9"])
    ]
    answer = _asked(shop, "barred", pinned=pins, exclude=["i1"], filter="item.item_id != 'i2'")
    assert answer.item_ids[5] == "i9", "that the user may have met it bars it not"
    assert not {"adult", "gone", "later", "i1", "i2"} & set(answer.item_ids)
    assert len(answer.item_ids) == 6
    assert len(answer.decision.items) == 5


@pytest.mark.parametrize(
    ("k", "positions", "at", "alone"),
    [
        (4, [9], {9: 3}, [9]),
        (3, [1, 7, 8], {7: 0, 1: 1, 8: 2}, [7, 1, 8]),
        (2, [0, 1, 2], {0: 0, 1: 1}, [0, 1]),
        (4, [0, 3], {0: 0, 3: 3}, [0, 3]),
        (3, [2, 9], {9: 1, 2: 2}, [2, 9]),
        (2, [1, 8], {8: 0, 1: 1}, [8, 1]),
        (6, [2, 5, 20, 7], {7: 3, 20: 4, 2: 2, 5: 5}, [5, 7, 2, 20]),
    ],
)
def test_behind_the_end_pins_take_the_last_places_that_no_other_pin_has(
    shop: LiveSystem, k: int, positions: list[int], at: dict[int, int], alone: list[int]
) -> None:
    pins = [Pin(position=each, item_id=f"p{each}") for each in positions]
    for list_name in (None, "latest"):
        name = f"{list_name} {positions}"
        answer = _asked(shop, f"end {name}", k=k, pinned=pins, list_name=list_name)
        assert len(answer.item_ids) == k
        assert {place: item for place, item in enumerate(answer.item_ids) if item[0] == "p"} == {
            place: f"p{position}" for position, place in at.items()
        }
        nothing = {"candidates": ["i0"], "exclude": ["i0"], "list_name": list_name}
        few = _asked(shop, f"few {name}", k=k, pinned=pins, **nothing)
        assert [each for each in few.item_ids if each[0] == "p"] == [f"p{each}" for each in alone]


@pytest.mark.parametrize("list_name", [None, *LISTS])
def test_all_places_may_be_pinned(shop: LiveSystem, list_name: ListName | None) -> None:
    pins = [Pin(position=at, item_id=f"i{at}") for at in range(2)]
    answer = _asked(shop, f"full {list_name}", list_name=list_name, k=2, pinned=pins)
    assert answer.item_ids == ["i0", "i1"]
    rows = [
        RequestRow(name="a", list_name=list_name, k=2, pinned=pins),
        RequestRow(name="b", k=3),
    ]
    shown = _asked(shop, f"full rows {list_name}", rows=rows).recommendation.rows or []
    assert [len(row.items) for row in shown] == [2, 3]


def test_lists_rows_and_pages_have_pins_too(shop: LiveSystem) -> None:
    listed = _asked(shop, "list", list_name="latest", pinned=PINS)
    assert listed.item_ids == ["i7", "i0", "i1", "ad", "i2", "i3"]
    rows = [
        RequestRow(name="a", pinned=[Pin(position=1, item_id="i3")]),
        RequestRow(name="b", list_name="latest", pinned=[Pin(position=0, item_id="i5")]),
        RequestRow(name="c"),
    ]
    answer = _asked(shop, "rows", rows=rows, k=4)
    shown = [[item.item_id for item in row.items] for row in answer.recommendation.rows or ()]
    assert (shown[0][1], shown[1][0]) == ("i3", "i5")
    assert len({item for row in shown for item in row}) == 12
    first, last = answer.decisions
    assert set(last.above or ()) == {*shown[0], *shown[1]}
    assert verified_again(shop, [first, last]).n_same == 2
    page = _asked(shop, "page", pinned=PINS, after="").recommendation
    assert set(keys_of(["i7", "ad"]).tolist()) <= set(unpacked_keys(page.next or "").tolist())
    assert "ad" not in _asked(shop, "page 2", pinned=PINS[:1], after=page.next).item_ids


def test_feedback_on_it_is_no_outcome_of_the_choice(shop: LiveSystem, tmp_path: Path) -> None:
    answer = _asked(shop, "answered", pinned=PINS)
    chosen = answer.decision.items[0]
    clicks = [
        Event(
            event_id=f"on {item}",
            type="click",
            user_id="u1",
            item_id=item,
            ts=shop.clock.now_ms(),
            request_id="answered",
        )
        for item in ("ad", chosen)
    ]
    before = _counts(shop)
    shop.publish(*clicks)
    shop.advance(shop.clock.now_ms() + 10_000)
    after = _counts(shop)
    assert [now - was for now, was in zip(after, before, strict=True)] == [1, 0, 1]

    write_decisions(tmp_path, [answer.decision], clicks)
    log = decision_log(tmp_path)
    survey = log.survey()
    rows = list(log.rows(features=False))
    assert [survey.actions[row.candidates[row.chosen]] for row in rows] == answer.decision.items
    assert [row.reward > 0 for row in rows] == [True, False, False, False]
    assert [row.propensity for row in rows] == answer.decision.propensities
    (of_pinned, *_) = log.remarks()
    assert of_pinned.startswith("1 events are of items that were pinned, and so not chosen")
    assert not any("found no decision" in remark for remark in log.remarks())


def _counts(live: LiveSystem) -> tuple[int, int, int]:
    counts = live.counts.join
    return counts.n_matched, counts.n_unmatched, counts.astray[PINNED]


def test_what_pins_cannot_be_is_refused_by_the_field() -> None:
    request = Request(request_id="q", user_id="u1", ts=START_MS, pinned=PINS)
    assert decode_request(encode(request)) == request
    for field, pins in (
        ("pinned[1].position", [Pin(position=1, item_id="a"), Pin(position=1, item_id="b")]),
        ("pinned[1].item_id", [Pin(position=1, item_id="a"), Pin(position=2, item_id="a")]),
        ("pinned[0].item_id", [Pin(position=1, item_id="ä" * 200)]),
        ("pinned[0].position", [Pin(position=500, item_id="a")]),
    ):
        with pytest.raises(BadMessage) as refused:
            decode_request(encode(replace(request, pinned=pins)))
        assert str(refused.value).startswith(f"field '{field}'")
    for rows in ([RequestRow(name="a")], [RequestRow(name=each, pinned=PINS) for each in "ab"]):
        pinned = PINS if len(rows) == 1 else None
        with pytest.raises(BadMessage, match="pinned"):
            decode_request(encode(replace(request, rows=rows, pinned=pinned)))
