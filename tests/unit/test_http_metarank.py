"""Calls in the form of Metarank's: what they become, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from streamer.events import Event, Item, decode_decision
from tests.default_types import decode_event
from tests.http_world import START_MS, HttpWorld, http_world
from tests.unit.test_http import problem_of

RANKING = {
    "event": "ranking",
    "id": "r1",
    "timestamp": str(START_MS),
    "user": "ann",
    "fields": [{"name": "device", "value": "phone"}, {"name": "seen", "value": ["x"]}],
    "items": [{"id": "milk"}, {"id": "tea", "fields": [{"name": "relevancy", "value": 2}]}],
}
CLICK = {
    "event": "interaction",
    "id": "i1",
    "timestamp": START_MS,
    "ranking": "r1",
    "user": "ann",
    "type": "click",
    "item": "tea",
    "fields": [],
}


@pytest.fixture
def world() -> Iterator[HttpWorld]:
    with http_world() as made:
        yield made


def answers(world: HttpWorld) -> list[Event]:
    """Events that name a request."""
    return [e for e in map(decode_event, world.records("events")) if e.request_id is not None]


def report(world: HttpWorld, *events: dict[str, Any]) -> dict[str, Any]:
    answer = world.client.post("/feedback", json=list(events))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_items_are_ranked_and_the_decision_logged(world: HttpWorld) -> None:
    found = world.client.post("/rank/home", json=RANKING).json()
    assert [each["item"] for each in found["items"]] == ["tea", "milk"]
    decision = decode_decision(world.records("decisions")[-1])
    assert decision.items == ["tea", "milk"]
    assert [each["score"] for each in found["items"]] == decision.expected
    assert (decision.request_id, decision.user_id, decision.surface) == ("r1", "ann", "home")
    assert decision.context == {"device": "phone"}


def test_items_that_were_met_come_last(world: HttpWorld) -> None:
    asked = {**RANKING, "user": "bob", "items": [{"id": "milk"}, {"id": "cake"}, {"id": "tea"}]}
    first, *rest = world.client.post("/rank/home", json=asked).json()["items"]
    assert first["item"] == "cake"
    assert [each["item"] for each in rest] == ["milk", "tea"]
    assert {each["score"] for each in rest} == {first["score"] - 1}


def test_what_was_shown_and_done_answers_the_ranking(world: HttpWorld) -> None:
    world.client.post("/rank/home", json=RANKING)
    found = report(world, RANKING, CLICK)
    assert (found["status"], found["accepted"], found["updated"]) == ("ok", 2, 2)
    *shown, click = answers(world)
    assert [(e.type, e.item_id, e.position) for e in shown] == [
        ("impression", "milk", 0),
        ("impression", "tea", 1),
    ]
    assert (click.event_id, click.type, click.request_id, click.ts) == (
        "i1",
        "click",
        "r1",
        START_MS,
    )
    world.live.advance(world.live.clock.now_ms() + 1_000)
    assert world.live.counts.join.n_matched == 3


def test_fields_of_items_are_put_together(world: HttpWorld) -> None:
    def said(*fields: tuple[str, Any]) -> dict[str, Any]:
        given = [{"name": name, "value": value} for name, value in fields]
        return {"event": "item", "id": "x", "timestamp": 1, "item": "tea", "fields": given}

    report(world, said(("title", "Tea"), ("category", "drinks"), ("price", 3)))
    report(world, said(("price", 4), ("tags", ["hot"]), ("views", [1, 2])))
    as_it_is = Item(
        item_id="tea", title="Tea", categories=["drinks"], tags=["hot"], attributes={"price": 4}
    )
    world.live.sync()
    assert world.live.scorer.catalogue.get("tea") == as_it_is


def test_users_are_taken_and_not_used(world: HttpWorld) -> None:
    n_before = len(world.records("events"))
    found = report(world, {"event": "user", "id": "x", "timestamp": 1, "user": "ann"})
    assert (found["accepted"], found["updated"]) == (1, 0)
    assert len(world.records("events")) == n_before


def test_events_may_come_one_a_line(world: HttpWorld) -> None:
    lines = "\n".join(json.dumps({**CLICK, "id": f"i{n}"}) for n in range(3))
    answer = world.client.post("/feedback", content=lines.encode())
    assert answer.json()["accepted"] == 3
    assert [e.event_id for e in answers(world)] == ["i0", "i1", "i2"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({**CLICK, "type": "poke"}, '"poke" is unknown'),
        ({**CLICK, "timestamp": "today"}, "field 'timestamp': 'today' is no number"),
        (
            {**CLICK, "event": "sale"},
            "field 'event': \"sale\" is unknown; send ranking, interaction, item or user",
        ),
        ({"event": "interaction"}, "missing"),
    ],
)
def test_what_is_wrong_is_said(world: HttpWorld, event: dict[str, Any], words: str) -> None:
    assert words in problem_of(world.client.post("/feedback", json=event), 422)["detail"]
