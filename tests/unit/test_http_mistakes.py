"""What a sender mistypes over HTTP: it is refused and named, and nothing is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamer.events import Item
from tests.http_world import START_MS, HttpWorld, http_world
from tests.unit.test_http import problem_of
from tests.unit.test_http_metarank import CLICK, RANKING

TOPICS = ("events", "items", "users", "decisions")
SECONDS = START_MS // 1_000


@pytest.fixture(scope="module")
def shared() -> Iterator[HttpWorld]:
    with http_world() as world:
        world.live.publish(Item(item_id="tea", title="Tea"))
        world.live.sync()
        yield world


@pytest.fixture
def world(shared: HttpWorld) -> Iterator[HttpWorld]:
    """A world in which nothing may be written."""
    before = [len(shared.records(topic)) for topic in TOPICS]
    yield shared
    assert [len(shared.records(topic)) for topic in TOPICS] == before


def refused(world: HttpWorld, method: str, url: str, **given: Any) -> str:
    """Return why, of a request that names the field in its problem too."""
    found = problem_of(world.client.request(method, url, **given), 422)
    assert found["detail"].removeprefix("message 0: ").startswith(f"field '{found['field']}': ")
    return str(found["detail"])


EVENT = {"type": "click", "user_id": "ann", "item_id": "tea"}


@pytest.mark.parametrize(
    ("method", "url", "body", "field", "near"),
    [
        ("POST", "/v1/recommendations", {"user_id": "a", "candidats": ["p"]}, "candidats", None),
        ("POST", "/v1/recommendations", {"user_id": "a", "kk": None}, "kk", "k"),
        (
            "POST",
            "/v1/recommendations",
            {"user_id": "a", "rows": [{"name": "x"}, {"name": "y", "lists_name": "latest"}]},
            "rows[1].lists_name",
            "list_name",
        ),
        (
            "POST",
            "/v1/recommendations",
            {"user_id": "a", "rows": [{"name": "x", "pinned": [{"items_id": "t"}]}]},
            "rows[0].pinned[0].items_id",
            "item_id",
        ),
        ("POST", "/v1/events", {**EVENT, "valeu": 1}, "valeu", "value"),
        ("POST", "/v1/events", [{**EVENT, "timestamp": START_MS}], "timestamp", None),
        ("POST", "/v1/feedback", {**EVENT, "requestid": "r"}, "requestid", "request_id"),
        ("POST", "/v1/items", {"item_id": "tea", "tag": ["hot"]}, "tag", "tags"),
        ("POST", "/v1/users", {"user_id": "ann", "category": ["hot"]}, "category", "categories"),
        ("PUT", "/v1/items/tea", {"titel": "x"}, "titel", "title"),
        ("PUT", "/v1/users/ann", {"attribute": {}}, "attribute", "attributes"),
        ("PATCH", "/v1/items/tea", {"titel": "x"}, "titel", "title"),
        ("PATCH", "/v1/items/tea", {"titel": None}, "titel", "title"),
    ],
)
def test_a_name_that_no_message_has_is_refused_with_the_nearest_known_one(
    world: HttpWorld, method: str, url: str, body: Any, field: str, near: str | None
) -> None:
    said = refused(world, method, url, json=body)
    assert f"field '{field}': unknown; the nearest known one is '{near or ''}" in said


@pytest.mark.parametrize(
    ("method", "url", "name", "near"),
    [
        ("GET", "/v1/users/ann/recommendations?kk=3", "kk", "k"),
        ("GET", "/v1/lists/popular?categories=drinks", "categories", "category"),
        ("GET", "/v1/items/tea/related?user=ann", "user", "user_id"),
        ("GET", "/v1/lists/popular?list_name=latest", "list_name", None),
        ("GET", "/v1/explanations?user=ann&item=tea&items=milk", "items", "item"),
    ],
)
def test_a_parameter_that_the_route_lacks_is_refused_with_the_nearest_known_one(
    world: HttpWorld, method: str, url: str, name: str, near: str | None
) -> None:
    said = refused(world, method, url)
    assert said.startswith(f"field '{name}': unknown; the nearest known one is '{near or ''}")


def test_a_parameter_of_a_route_that_has_none_is_refused(world: HttpWorld) -> None:
    said = refused(world, "POST", "/v1/recommendations?k=3", json={"user_id": "ann"})
    assert said == "field 'k': unknown; leave it out"
    refused(world, "DELETE", "/v1/items/tea?really=true")
    refused(world, "GET", "/v1/explanations?user=ann&item=tea&item=milk")


def test_names_that_a_sender_chooses_are_free_and_those_of_other_systems_passed_over() -> None:
    with http_world() as world:
        context = {"context": {"of_mine": 1}}
        asked = {"user_id": "ann", "v": 1, **context}
        assert world.client.post("/v1/recommendations", json=asked).status_code == 200
        event = {**EVENT, **context, "position": None}
        assert world.client.post("/v1/events", json=event).status_code == 202
        item = {"item_id": "jam", "attributes": {"of_mine": 1}}
        assert world.client.put("/v1/items/jam", json=item).status_code == 202
        ranking = {**RANKING, "tenant": "of theirs"}
        assert world.client.post("/rank/home", json=ranking).status_code == 200
        assert world.client.post("/feedback", json={**CLICK, "label": 1}).status_code == 200
        rank = {"actions": [{"id": "tea", "kind": "of theirs"}], "slots": []}
        assert world.client.post("/personalizer/v1.0/rank?of=theirs", json=rank).status_code == 201


@pytest.mark.parametrize(
    ("method", "url", "body", "field"),
    [
        ("POST", "/v1/events", {**EVENT, "ts": SECONDS}, "ts"),
        ("POST", "/v1/events", {**EVENT, "ts": SECONDS + 0.25}, "ts"),
        ("POST", "/v1/recommendations", {"user_id": "ann", "ts": SECONDS}, "ts"),
        ("PUT", "/v1/items/tea", {"created_ts": SECONDS}, "created_ts"),
        ("PATCH", "/v1/items/tea", {"expires_ts": SECONDS}, "expires_ts"),
        ("POST", "/v1/users", {"user_id": "ann", "ts": SECONDS}, "ts"),
        ("POST", "/feedback", {**CLICK, "timestamp": str(SECONDS)}, "timestamp"),
        ("POST", "/rank/home", {**RANKING, "timestamp": SECONDS}, "timestamp"),
    ],
)
def test_a_time_in_seconds_is_refused_with_the_time_in_milliseconds(
    world: HttpWorld, method: str, url: str, body: dict[str, Any], field: str
) -> None:
    said = refused(world, method, url, json=body)
    given = body[field] if isinstance(body[field], float) else SECONDS
    assert f"field '{field}': {given} is in seconds" in said
    assert said.endswith(f"send milliseconds since 1970: {round(1_000 * given)}")


@pytest.mark.parametrize("ts", [0, 499_999_999, 4_200_000_001, START_MS])
def test_a_time_that_seconds_of_our_days_are_not_is_taken(shared: HttpWorld, ts: int) -> None:
    assert shared.client.post("/v1/events", json={**EVENT, "ts": ts}).status_code == 202
