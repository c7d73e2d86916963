"""Calls in the form of Metarank's: what they become, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from streamer.errors import DeliveryFailed
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
LONG = "é" * 129  # 258 bytes


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


ITEM = {"event": "item", "id": "x", "timestamp": 1, "item": "jam", "fields": []}


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (json.dumps({**CLICK, "id": "i0"}, indent=2), ["i0"]),
        (
            '\n\n{"event": "ranking", "id": "i0", "timestamp": "1", "items": [\n{"id": "a"}]}\n',
            ["i0:0"],
        ),
        ("{one}\n\n  {two}\r\n \t\r\n{three} \n", ["i0", "i1", "i2"]),
        ("{pretty}\n{pretty two}", ["i0", "i1"]),
        ("[\n{one},\n\n{two}\n]", ["i0", "i1"]),
    ],
    ids=["indented", "nested", "lines", "indented lines", "array"],
)
def test_however_events_are_divided_into_lines_they_are_read(
    world: HttpWorld, body: str, ids: list[str]
) -> None:
    for n, name in enumerate(["one", "two", "three"]):
        body = body.replace(f"{{{name}}}", json.dumps({**CLICK, "id": f"i{n}"}))
    for n, name in enumerate(["pretty", "pretty two"]):
        body = body.replace(f"{{{name}}}", json.dumps({**CLICK, "id": f"i{n}"}, indent=1))
    answer = world.client.post("/feedback", content=body.encode())
    assert answer.status_code == 200, answer.text
    assert [e.event_id for e in answers(world)] == ids


BAD_ONES = [
    {**CLICK, "type": "poke"},
    {**CLICK, "timestamp": START_MS // 1_000},
    {**CLICK, "ranking": 3},
    {**RANKING, "items": [{"id": "tea"}, {"id": "é" * 129}]},
    {**ITEM, "fields": [{"name": "title", "value": 3}]},
    "an event",
]


@pytest.mark.parametrize("bad", BAD_ONES, ids=["type", "time", "struct", "place", "item", "none"])
@pytest.mark.parametrize("array", [True, False], ids=["array", "lines"])
def test_of_several_the_bad_one_is_named_and_the_others_are_taken(
    world: HttpWorld, bad: object, array: bool
) -> None:
    sent = [{**CLICK, "id": "before"}, bad, {**CLICK, "id": "behind"}, ITEM]
    lines = "\n".join(map(json.dumps, sent))
    content = json.dumps(sent) if array else lines
    found = problem_of(world.client.post("/feedback", content=content.encode()), 422)
    assert found["detail"].startswith("message 1: ")
    assert found["detail"].endswith("; 3 of 4 were taken: `results` says which")
    assert [each["status"] for each in found["results"]] == [202, 422, 202, 202]
    assert found["results"][1]["detail"] in found["detail"]
    assert [e.event_id for e in answers(world)] == ["before", "behind"]
    world.live.sync()
    assert world.live.scorer.catalogue.get("jam") == Item(item_id="jam")


def test_a_line_that_is_cut_spoils_no_other(world: HttpWorld) -> None:
    lines = [json.dumps({**CLICK, "id": f"i{n}"}) for n in range(4)]
    for cut in range(4):
        given = [line[:-9] if n == cut else line for n, line in enumerate(lines)]
        found = problem_of(world.client.post("/feedback", content="\n".join(given).encode()), 422)
        assert [n for n, each in enumerate(found["results"]) if each["status"] == 422] == [cut]
        assert [e.event_id for e in answers(world)][-3:] == [f"i{n}" for n in range(4) if n != cut]


def test_what_the_broker_does_not_take_is_said_before_what_is_bad(world: HttpWorld) -> None:
    world.sink.failure = DeliveryFailed("not acknowledged")
    found = problem_of(world.client.post("/feedback", json=[BAD_ONES[0], CLICK, ITEM]), 503)
    assert found["detail"] == "message 1: not acknowledged"
    assert [each["status"] for each in found["results"]] == [422, 503, 503]
    assert (
        problem_of(world.client.post("/feedback", json=ITEM), 503)["detail"] == "not acknowledged"
    )


@pytest.mark.parametrize("ranking_id", ["r" * 252, "é" * 126])
def test_the_longest_id_of_a_ranking_has_room_for_its_places(
    world: HttpWorld, ranking_id: str
) -> None:
    items = [{"id": f"i{n}"} for n in range(500)]
    ranking = {**RANKING, "id": ranking_id, "items": items}
    assert world.client.post("/rank/home", json=ranking).status_code == 200
    report(world, ranking)
    assert answers(world)[-1].event_id == f"{ranking_id}:499"
    for path in ("/rank/home", "/feedback"):
        longer = {**ranking, "id": ranking_id + ranking_id[0]}
        found = problem_of(world.client.post(path, json=longer), 422)
        assert found["field"] == "id"
        assert "252" in found["detail"]


@pytest.mark.parametrize(
    ("path", "event", "field"),
    [
        (
            "/rank/home",
            {**RANKING, "items": [{"id": "a"}, {"id": "a"}, {"id": LONG}]},
            "items[2].id",
        ),
        ("/rank/home", {**RANKING, "user": LONG}, "user"),
        ("/rank/home", {**RANKING, "timestamp": 10**15}, "timestamp"),
        ("/rank/home", {**RANKING, "fields": [{"name": "n", "value": 10**400}]}, "fields.n"),
        ("/feedback", {**CLICK, "session": LONG}, "session"),
        ("/feedback", {**CLICK, "ranking": LONG}, "ranking"),
        ("/feedback", {**CLICK, "item": LONG}, "item"),
        ("/feedback", {**CLICK, "timestamp": -1}, "timestamp"),
        ("/feedback", {**ITEM, "item": LONG}, "item"),
    ],
)
def test_a_field_is_named_as_it_was_sent(
    world: HttpWorld, path: str, event: dict[str, Any], field: str
) -> None:
    assert problem_of(world.client.post(path, json=event), 422)["field"] == field


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
