"""The HTTP service over the system in memory: answers, acknowledgements, errors, health."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from streamer.config import CatalogueConfig
from streamer.errors import DeliveryFailed, Overloaded
from streamer.events import (
    Item,
    Request,
    User,
    decode_decision,
    decode_item,
    decode_recommendation,
    decode_user,
)
from tests.default_types import decode_event
from tests.http_world import CONFIG, START_MS, HttpWorld, http_world


@pytest.fixture(scope="module")
def shared() -> Iterator[HttpWorld]:
    with http_world() as world:
        yield world


@pytest.fixture
def world(shared: HttpWorld) -> HttpWorld:
    """A world that tests leave as they found it, but for what is on its topics."""
    return shared


def problem_of(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


# --- recommendations -----------------------------------------------------------------------------


def test_a_recommendation_is_answered_and_its_decision_logged(world: HttpWorld) -> None:
    asked = {"user_id": "ann", "k": 2, "surface": "home", "request_id": "r 1"}
    answer = world.client.post("/v1/recommendations", json=asked)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    said = decode_recommendation(answer.content)
    assert (said.request_id, said.user_id) == ("r 1", "ann")
    assert said.items[0].item_id == "tea"
    assert decode_recommendation(world.records("recommendations")[-1]) == said
    decision = decode_decision(world.records("decisions")[-1])
    assert decision.request_id == "r 1"
    assert decision.items == [item.item_id for item in said.items]
    assert decision.surface == "home"


def test_over_http_and_over_kafka_the_slate_is_the_same_to_the_byte(world: HttpWorld) -> None:
    fields = {"user_id": "ann", "request_id": "same", "ts": START_MS, "context": {"hour": 3}}
    world.client.post("/v1/recommendations", json=fields)
    over_http = world.records("decisions")[-1]
    request = msgspec.convert(fields, type=Request)
    assert world.live.answer([request])[0].decision_message == over_http


def test_rows_are_answered_together_and_feedback_names_one(world: HttpWorld) -> None:
    rows = [{"name": "for you", "k": 1}, {"name": "popular", "list_name": "popular"}]
    asked = {"user_id": "fay", "request_id": "page", "rows": rows, "k": 2}
    said = decode_recommendation(world.client.post("/v1/recommendations", json=asked).content)
    assert decode_recommendation(world.records("recommendations")[-1]) == said
    first, second = said.rows or []
    assert (said.items, len(first.items), len(second.items)) == ([], 1, 2)
    assert first.items[0].item_id not in {item.item_id for item in second.items}
    decision = decode_decision(world.records("decisions")[-1])
    assert decision.request_id == first.request_id == "page/for you"
    feedback = {"request_id": first.request_id, "user_id": "fay", "item_id": decision.items[0]}
    assert world.client.post("/v1/feedback", json=feedback).status_code == 202
    problem = problem_of(
        world.client.post("/v1/recommendations", json={**asked, "seed_items": ["tea"]}), 422
    )
    assert problem["field"] == "seed_items"


def test_pages_of_the_short_form_show_no_item_twice(world: HttpWorld) -> None:
    after: str | None = ""
    shown: list[str] = []
    while after is not None:
        asked = {"k": 1, "after": after}
        answer = world.client.get("/v1/users/hal/recommendations", params=asked)
        said = decode_recommendation(answer.content)
        shown += [item.item_id for item in said.items]
        after = said.next
    assert {"tea", "milk", "cake"} <= set(shown)
    assert len(set(shown)) == len(shown)
    wrong = world.client.get("/v1/users/hal/recommendations?after=AA")
    assert problem_of(wrong, 422)["field"] == "after"


def test_lists_have_routes_of_their_own_narrowed_by_what_items_are(world: HttpWorld) -> None:
    world.live.publish(
        Item(item_id="tea", categories=["drinks"], tags=["hot"], attributes={"year": 1994}),
        Item(
            item_id="milk",
            categories=["drinks"],
            attributes={"brand": 'O"B', "year": "1994", "vegan": True},
        ),
    )
    world.live.sync()

    def listed(name: str, **query: Any) -> list[str]:
        answer = world.client.get(f"/v1/lists/{name}", params=query)
        said = decode_recommendation(answer.content)
        assert (said.list_name, said.user_id) == (name, query.get("user_id", "anybody"))
        return [item.item_id for item in said.items]

    n_before = len(world.records("decisions"))
    for name in ("popular", "trending", "latest"):
        assert set(listed(name, user_id="ann")) >= {"tea", "milk"}
        assert set(listed(name, category="drinks")) == {"tea", "milk"}
        assert listed(name, category=["drinks", "sweets"], tag=["hot", "cold"]) == ["tea"]
        assert listed(name, category="sweets") == []
        assert listed(name, attribute='brand:O"B') == ["milk"]
        assert set(listed(name, attribute="year:1994")) == {"tea", "milk"}
        assert listed(name, attribute=["year:1994", "brand:x"]) == []
        assert listed(name, attribute="vegan:true") == ["milk"]
        assert listed(name, category="drinks", filter="item.item_id == 'tea' // it") == ["tea"]
        assert len(listed(name, k=1, exclude="tea")) == 1
    assert len(world.records("decisions")) == n_before
    problem_of(world.client.get("/v1/lists/best"), 422)
    wrong = problem_of(world.client.get("/v1/lists/latest?attribute=brand"), 422)
    assert wrong["field"] == "attribute"
    twice = problem_of(world.client.get("/v1/lists/latest?k=1&k=2"), 422)
    assert twice["field"] == "k", "which one would count?"
    answer = world.client.get("/v1/lists/popular?k=1&after=")
    rest = listed("popular", after=answer.json()["next"])
    assert answer.json()["items"][0]["item_id"] not in rest


def test_what_goes_with_an_item_is_a_route_and_a_decision(world: HttpWorld) -> None:
    answer = world.client.get("/v1/items/tea/related", params={"k": 2, "user_id": "ida"})
    said = decode_recommendation(answer.content)
    assert "tea" not in [item.item_id for item in said.items]
    decision = decode_decision(world.records("decisions")[-1])
    assert (decision.request_id, decision.user_id) == (said.request_id, "ida")
    n_before = len(world.records("decisions"))
    seen = world.client.get("/v1/items/milk/related?preview=true").json()
    assert (seen["user_id"], seen["preview"]) == ("anybody", True)
    unknown = problem_of(world.client.get("/v1/items/SKU-9999/related"), 404)
    assert "nothing is known of item 'SKU-9999': neither" in unknown["detail"]
    assert unknown["detail"].endswith("; check how it is spelled")
    capitals = problem_of(world.client.get("/v1/items/TEA/related"), 404)
    assert capitals["detail"].endswith("; did you mean 'tea'?")
    assert len(world.records("decisions")) == n_before


def test_an_id_that_ends_like_a_route_is_an_id_where_its_slash_is_written_so(
    world: HttpWorld,
) -> None:
    client = world.client
    for kind, word in (("item", "related"), ("user", "recommendations")):
        here = f"/v1/{kind}s/odd%2F{word}"
        assert client.put(here, json={}).status_code == 202
        world.live.advance(world.live.clock.now_ms() + 1_000)
        read = client.get(here)
        assert read.status_code == 200, read.text
        assert read.json()[f"{kind}_id"] == f"odd/{word}"
        asked = client.get(f"{here}/{word}?preview=true")
        assert decode_recommendation(asked.content).preview
        of_odd = client.get(f"/v1/{kind}s/odd/{word}?preview=true")
        if kind == "item":
            assert "of item 'odd'" in problem_of(of_odd, 404)["detail"]
        else:
            assert of_odd.json()["preview"]
        client.delete(here)


def test_a_preview_logs_no_decision(world: HttpWorld) -> None:
    n_before = len(world.records("decisions"))
    answer = world.client.get("/v1/users/ann/recommendations?k=1&preview=true")
    assert answer.status_code == 200
    assert len(answer.json()["items"]) == 1
    assert len(world.records("decisions")) == n_before


def test_candidates_and_exclusions_hold(world: HttpWorld) -> None:
    asked = {"user_id": "ann", "candidates": ["tea", "milk", "new"], "exclude": ["tea"]}
    answer = world.client.post("/v1/recommendations", json=asked)
    assert {item["item_id"] for item in answer.json()["items"]} == {"milk", "new"}


def test_a_filter_holds_and_a_wrong_one_is_said(world: HttpWorld) -> None:
    url = "/v1/users/ann/recommendations"
    world.live.publish(Item(item_id="milk"), Item(item_id="tea"))
    world.live.sync()
    answer = world.client.get(url, params={"filter": "item.item_id != 'tea'", "preview": True})
    assert [item["item_id"] for item in answer.json()["items"]] == ["milk"]
    found = problem_of(world.client.get(url, params={"filter": "item.item_id !="}), 422)
    assert found["field"] == "filter"


def test_ids_with_slashes_blanks_and_line_breaks_are_ids(world: HttpWorld) -> None:
    answer = world.client.get("/v1/users/a%2Fb%20c%0A/recommendations")
    assert answer.json()["user_id"] == "a/b c\n"
    assert world.client.put("/v1/items/%0A%2F", json={}).json() == {"item_id": "\n/"}


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b'{"user_id": "ann", "k": 0}', "k", "field 'k': 0 is refused"),
        (b'{"k": 3}', "user_id", "field 'user_id': missing"),
        (b'{"user_id": ""}', "user_id", "field 'user_id'"),
        (b"[1]", None, "send one JSON object"),
        (b"{", None, "not JSON"),
        (b'{"user_id": "ann", "ts": 1800000000000}', "ts", "over a day after"),
    ],
)
def test_a_bad_request_says_its_field_in_the_words_of_dead_letters(
    world: HttpWorld, body: bytes, field: str | None, words: str
) -> None:
    found = problem_of(world.client.post("/v1/recommendations", content=body), 422)
    assert found["type"] == "urn:streamer:problem:bad-message"
    assert found.get("field") == field
    assert words in found["detail"]


@pytest.mark.parametrize(
    ("url", "field", "words"),
    [
        ("k=501", "k", '"501" is refused: it should be less than or equal to 500'),
        ("k=few", "k", '"few" is refused: it should be a valid integer'),
        ("preview=maybe", "preview", '"maybe" is refused: it should be true or false'),
        ("exclude=a&exclude=", "exclude[1]", '"" is refused: it should have at least 1 character'),
        ("list_name=best", "list_name", "\"best\" is refused: it should be 'popular', 'trending'"),
        (
            "&".join(9 * ["tag=a"]),
            "tag",
            '["a"' + 8 * ', "a"' + "] is refused: it should have at most 8 items, not 9",
        ),
    ],
)
def test_a_bad_parameter_is_named_with_its_value_and_the_bound(
    world: HttpWorld, url: str, field: str, words: str
) -> None:
    found = problem_of(world.client.get(f"/v1/users/ann/recommendations?{url}"), 422)
    assert found["field"] == field
    assert found["detail"].startswith(f"field '{field}': {words}")


def test_a_parameter_that_is_missing_or_too_long_is_said_to_be(world: HttpWorld) -> None:
    missing = problem_of(world.client.get("/v1/explanations?user=ann"), 422)
    assert missing["detail"] == "field 'item': missing; it is required"
    long = problem_of(world.client.put(f"/v1/items/{600 * 'a'}", json={}), 422)
    assert (long["field"], "aaa" in long["detail"]) == ("item_id", True)
    assert long["detail"].endswith("is refused: it should have at most 256 characters")


def test_what_is_not_there_is_a_problem_too(world: HttpWorld) -> None:
    found = problem_of(world.client.get("/v2/nothing"), 404)
    assert found["title"] == "Not Found"
    assert found["detail"] == "there is no /v2/nothing; /openapi.json has all there is"
    empty = problem_of(world.client.put("/v1/items/", json={}), 404)
    assert empty["detail"].startswith("there is no /v1/items/;")
    problem_of(world.client.get("/docs-files/nothing.js"), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/healthz", "GET"),
        ("GET", "/v1/events", "POST"),
        ("POST", "/v1/items/tea", "GET, PUT, PATCH, DELETE"),
        ("POST", "/docs-files/swagger-ui.css", "GET"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_told_all_that_it_does(
    world: HttpWorld, method: str, path: str, allowed: str
) -> None:
    answer = world.client.request(method, path)
    assert problem_of(answer, 405)["detail"].startswith(f"{path} takes {allowed}, not {method};")
    assert answer.headers["allow"] == allowed


def test_the_page_of_the_document_loads_all_it_needs_from_the_service() -> None:
    with http_world(api_keys=("a-key-of-16-chars",)) as world:
        page = world.client.get("/docs")
        assert page.status_code == 200
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(loaded) == 3
        for path in loaded:
            assert path.startswith("/")
            found = world.client.get(path)
            assert (found.status_code, len(found.content) > 1_000) == (200, True)
        assert "://" not in re.sub(r"<!--.*?-->", "", page.text).replace("http://www.w3.org", "")
        problem_of(world.client.get("/docs-files/redoc.standalone.js"), 401)


def test_a_request_id_of_the_caller_is_kept(world: HttpWorld) -> None:
    answer = world.client.get("/healthz", headers={"X-Request-ID": "trace-7"})
    assert answer.headers["x-request-id"] == "trace-7"
    answer = world.client.get("/healthz", headers={"X-Request-ID": "line\tbreak"})
    assert len(answer.headers["x-request-id"]) == 32


def test_an_explanation_says_the_items_place(world: HttpWorld) -> None:
    found = world.client.get("/v1/explanations", params={"user": "ann", "item": "tea"}).json()
    assert found["place"] == 1
    assert found["n_candidates"] == 3
    assert found["blend"]


def test_requests_are_counted_by_route_and_status(world: HttpWorld) -> None:
    labels = {"route": "/v1/users/{user_id:id}/recommendations", "status": "200"}

    def counted() -> float:
        return world.registry.get_sample_value("streamer_http_requests_total", labels) or 0.0

    before = counted()
    world.client.get("/v1/users/ann/recommendations?preview=true")
    assert counted() == before + 1


# --- overload ------------------------------------------------------------------------------------


def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, f"it did not come to this: {what}"
        time.sleep(0.005)


class Busy:
    """Holds the turn of the scorer, so that nothing is scored."""

    def __init__(self, world: HttpWorld) -> None:
        self._turns = world.live.scorer._turns

    def __enter__(self) -> None:
        self._turns.__enter__()

    def __exit__(self, *error: object) -> None:
        self._turns.__exit__(*error)


def test_beyond_the_bound_requests_are_refused_at_once_and_the_others_answered() -> None:
    with http_world(waiting_max=2) as world:
        answers: list[Any] = []

        def ask() -> None:
            answers.append(world.client.get("/v1/users/ann/recommendations?preview=true"))

        waiting = [threading.Thread(target=ask) for _ in range(3)]
        with Busy(world):
            waiting[0].start()
            until(lambda: len(world.live.scorer._turns._waiting) == 1, "one is in hand")
            for thread in waiting[1:]:
                thread.start()
            until(lambda: world.answers._jobs.qsize() == 2, "two wait")
            refused = world.client.get("/v1/users/ann/recommendations?preview=true")
        for thread in waiting:
            thread.join()
        found = problem_of(refused, 503)
        assert refused.headers["retry-after"] == "1"
        assert "2 requests wait" in found["detail"]
        assert [answer.status_code for answer in answers] == [200, 200, 200]


def test_what_was_waited_for_too_long_is_not_decided(world: HttpWorld) -> None:
    n_before = len(world.records("decisions"))
    with Busy(world):
        first = world.answers.recommend(
            Request(request_id="x", user_id="x", ts=START_MS, preview=True), timeout_s=60
        )
        until(first.running, "the first is in hand")
        late = world.client.get("/v1/users/ann/recommendations?timeout_ms=20")
    problem_of(late, 504)
    first.result(timeout=60)
    assert world.client.get("/v1/users/ann/recommendations?preview=true").status_code == 200
    assert len(world.records("decisions")) == n_before


# --- events --------------------------------------------------------------------------------------


def test_an_event_is_accepted_when_the_broker_has_it(world: HttpWorld) -> None:
    event = {"type": "click", "user_id": "ann", "item_id": "tea", "event_id": "e1"}
    answer = world.client.post("/v1/events", json=event)
    assert answer.status_code == 202
    results = [{"index": 0, "status": 202, "event_id": "e1"}]
    assert answer.json() == {"accepted": 1, "rejected": 0, "results": results}
    published = decode_event(world.records("events")[-1])
    assert (published.event_id, published.ts) == ("e1", world.live.clock.now_ms())


def test_before_the_broker_has_it_nothing_is_accepted() -> None:
    with http_world(timeout_ms=50) as world:
        world.sink.held = True
        event = {"type": "click", "user_id": "ann", "item_id": "tea"}
        found = world.client.post("/v1/events", json=event)
        assert "send it again" in problem_of(found, 503)["detail"]
        assert found.headers["retry-after"] == "1"
        world.sink.failure = DeliveryFailed("a message was not delivered: the disk is full")
        found = world.client.post("/v1/events", json=[event, event])
        assert found.status_code == 503
        assert "the disk is full" in found.json()["detail"]


def test_while_the_learner_must_read_first_no_event_is_taken(world: HttpWorld) -> None:
    good = {"type": "like", "user_id": "ann", "item_id": "tea"}
    n_before = len(world.records("events"))
    world.room.noted.clear()
    world.room.full = True
    found = world.client.post("/v1/events", json=[good, good])
    assert "the learner has not read what was sent before" in problem_of(found, 503)["detail"]
    assert found.headers["retry-after"] == "1"
    mixed = world.client.post("/v1/events", json=[good, {**good, "type": "licked"}])
    assert [each["status"] for each in mixed.json()["results"]] == [503, 422]
    assert (len(world.records("events")), world.room.noted) == (n_before, [])
    world.room.full = False
    assert world.client.post("/v1/events", json=[good, good]).status_code == 202
    assert [len(each or b"") for each in world.records("events")[-2:]] == world.room.noted


def test_of_many_events_each_has_its_fate(world: HttpWorld) -> None:
    n_before = len(world.records("events"))
    good = {"type": "like", "user_id": "ann", "item_id": "tea"}
    events = [good, {**good, "type": "licked"}, 3, {**good, "item_id": ""}, good]
    answer = world.client.post("/v1/events", json=events)
    assert answer.status_code == 207
    found = answer.json()
    assert (found["accepted"], found["rejected"]) == (2, 3)
    assert [each["status"] for each in found["results"]] == [202, 422, 422, 422, 202]
    assert found["results"][1]["field"] == "type"
    assert '"licked" is unknown; add [events.licked]' in found["results"][1]["detail"]
    assert len(world.records("events")) == n_before + 2


def test_where_no_event_is_good_the_first_is_the_problem(world: HttpWorld) -> None:
    found = world.client.post("/v1/events", json=[{"type": "click"}, {}])
    assert found.status_code == 422
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json()["detail"].startswith("message 0: field 'user_id': missing")
    assert [each["index"] for each in found.json()["results"]] == [0, 1]


@pytest.mark.parametrize("events", [[], [{}] * 6, 7, "click"])
def test_there_may_be_so_many_events(world: HttpWorld, events: object) -> None:
    found = problem_of(world.client.post("/v1/events", json=events), 422)
    assert "an array of 1 to 5" in found["detail"]


def test_feedback_is_an_event_that_names_its_request(world: HttpWorld) -> None:
    given = {"request_id": "r 1", "user_id": "ann", "item_id": "tea", "position": 0}
    assert world.client.post("/v1/feedback", json=given).status_code == 202
    event = decode_event(world.records("events")[-1])
    assert (event.type, event.request_id, event.position) == ("click", "r 1", 0)
    del given["request_id"]
    assert problem_of(world.client.post("/v1/feedback", json=given), 422)["field"] == "request_id"


def test_what_is_published_is_learned() -> None:
    with http_world() as world:
        for user in ("dan", "fay", "gus"):
            event = {"type": "click", "user_id": user, "item_id": "jam"}
            assert world.client.post("/v1/events", json=event).status_code == 202
        world.live.advance(world.live.clock.now_ms() + 1_000)
        items = world.client.get("/v1/users/ann/recommendations?preview=true").json()["items"]
        assert "jam" in [item["item_id"] for item in items]


# --- items ---------------------------------------------------------------------------------------


def test_an_item_can_be_put_patched_read_and_deleted(world: HttpWorld) -> None:
    client = world.client
    put = client.put("/v1/items/a%2Fb", json={"title": "Tea", "attributes": {"price": 3, "of": 1}})
    assert put.status_code == 202
    assert decode_item(put.content) == decode_item(world.records("items")[-1])
    patch = {"title": None, "available": False, "attributes": {"of": None}}
    assert client.patch("/v1/items/a%2Fb", json=patch).status_code == 202
    as_it_is = Item(item_id="a/b", available=False, attributes={"price": 3})
    assert decode_item(client.get("/v1/items/a%2Fb").content) == as_it_is
    assert decode_item(world.records("items")[-1]) == as_it_is
    assert client.delete("/v1/items/a%2Fb").status_code == 202
    assert world.records("items")[-1] is None
    assert world.live.broker.records("items")[-1].key == b"a/b"
    problem_of(client.get("/v1/items/a%2Fb"), 404)
    problem_of(client.patch("/v1/items/a%2Fb", json={"title": "x"}), 404)


def test_an_item_that_others_published_is_read_from_the_catalogue(world: HttpWorld) -> None:
    problem_of(world.client.get("/v1/items/theirs"), 404)
    world.live.publish(Item(item_id="theirs", title="Jam"))
    world.live.sync()
    assert world.client.get("/v1/items/theirs").json()["title"] == "Jam"


def test_a_bad_item_is_refused_and_nothing_sent(world: HttpWorld) -> None:
    n_before = len(world.records("items"))
    put = world.client.put("/v1/items/tea", json={"tags": [""]})
    assert problem_of(put, 422)["field"] == "tags[0]"
    put = world.client.put("/v1/items/tea", json={"item_id": "milk"})
    assert problem_of(put, 422)["field"] == "item_id"
    assert len(world.records("items")) == n_before


def test_an_embedding_is_read_as_it_was_published_and_one_of_another_length_refused() -> None:
    given: dict[str, Any] = {"title": "Tea", "embedding": [0.1, -2.5, 3.0]}
    with http_world(replace(CONFIG, catalogue=CatalogueConfig(embedding=3))) as world:
        client = world.client
        assert client.put("/v1/items/tea", json=given).json() == {"item_id": "tea", **given}
        world.live.publish(Item(item_id="theirs", embedding=given["embedding"]))
        world.live.sync()
        assert client.patch("/v1/items/theirs", json={"title": "Jam"}).status_code == 202
        assert decode_item(world.records("items")[-1]).embedding == given["embedding"]
        put = client.put("/v1/items/tea", json={"embedding": [1, 2, 3, 4]})
        problem = problem_of(put, 422)
        assert problem["field"] == "embedding"
        assert "has 4 numbers, and catalogue.embedding is 3; send vectors" in problem["detail"]
        many = client.post("/v1/items", json=[{"item_id": "a", "embedding": [0, 0, 0]}, given])
        assert [each["status"] for each in many.json()["results"]] == [422, 422]


def test_an_item_that_was_not_delivered_is_not_remembered() -> None:
    with http_world(timeout_ms=50) as world:
        world.sink.held = True
        problem_of(world.client.put("/v1/items/jam", json={"title": "Jam"}), 503)
        problem_of(world.client.get("/v1/items/jam"), 404)


# --- users ---------------------------------------------------------------------------------------


def test_a_user_can_be_put_patched_read_and_deleted(world: HttpWorld) -> None:
    client, url = world.client, "/v1/users/eve%2F1"
    put = client.put(url, json={"categories": ["drinks"], "attributes": {"country": "de"}})
    assert put.status_code == 202
    assert decode_user(put.content) == decode_user(world.records("users")[-1])
    assert client.patch(url, json={"attributes": {"country": "pt"}}).status_code == 202
    as_it_is = User(user_id="eve/1", categories=["drinks"], attributes={"country": "pt"})
    assert decode_user(client.get(url).content) == as_it_is
    assert client.delete(url).status_code == 202
    assert world.records("users")[-1] is None
    assert world.live.broker.records("users")[-1].key == b"eve/1"
    problem_of(client.get(url), 404)


def test_what_a_user_said_elsewhere_is_read_from_the_parameters(world: HttpWorld) -> None:
    problem_of(world.client.get("/v1/users/theirs"), 404)
    world.live.publish(User(user_id="theirs", categories=["drinks"], ts=5))
    world.live.sync()
    found = world.client.get("/v1/users/theirs").json()
    assert found == {"user_id": "theirs", "categories": ["drinks"], "ts": 5}


def test_a_bad_user_is_refused_and_nothing_sent(world: HttpWorld) -> None:
    n_before = len(world.records("users"))
    put = world.client.put("/v1/users/eve", json={"attributes": {"about": 500 * "x"}})
    assert "bytes of 504" in problem_of(put, 422)["detail"]
    put = world.client.put("/v1/users/eve", json={"user_id": "bob"})
    assert problem_of(put, 422)["field"] == "user_id"
    assert len(world.records("users")) == n_before


def test_items_in_bulk_are_answered_each_as_events_are(world: HttpWorld) -> None:
    good = {"item_id": "jam", "title": "Plum jam", "categories": ["sweets"]}
    found = world.client.post("/v1/items", json=[good, {"title": "no id"}, 7]).json()
    assert (found["accepted"], found["rejected"]) == (1, 2)
    assert [(each["status"], each.get("item_id")) for each in found["results"]] == [
        (202, "jam"),
        (422, None),
        (422, None),
    ]
    assert found["results"][1]["field"] == "item_id"
    assert world.client.get("/v1/items/jam").json() == good, "it reads what it wrote at once"
    assert decode_item(world.records("items")[-1]) == Item(
        item_id="jam", title="Plum jam", categories=["sweets"]
    )
    both = world.client.post("/v1/items", json=[good, {"item_id": "fig"}])
    assert (both.status_code, both.json()["accepted"]) == (202, 2)
    assert world.client.post("/v1/items", json={"item_id": "one"}).status_code == 202
    assert problem_of(world.client.post("/v1/items", json={}), 422)["field"] == "item_id"
    none = problem_of(world.client.post("/v1/items", json=[{}, {}]), 422)
    assert len(none["results"]) == 2
    assert world.client.post("/v1/users", json=[{"user_id": "jo"}]).json()["accepted"] == 1
    assert world.client.get("/v1/users/jo").json() == {"user_id": "jo"}
    many = world.client.post("/v1/items", json=[{"item_id": "x"}] * 6)
    assert "1 to 5" in problem_of(many, 422)["detail"]


def test_an_item_of_many_that_the_broker_does_not_take_is_not_remembered(world: HttpWorld) -> None:
    world.sink.failure = DeliveryFailed("refused")
    try:
        many = world.client.post("/v1/items", json=[{"item_id": "lost"}, {"item_id": "lost 2"}])
    finally:
        world.sink.failure = None
    assert problem_of(many, 503)["results"][1]["item_id"] == "lost 2"
    assert many.headers["retry-after"] == "1"
    assert world.client.get("/v1/items/lost").status_code == 404


# --- health --------------------------------------------------------------------------------------


def test_a_service_that_starts_lives_and_is_not_ready() -> None:
    with http_world() as world:
        assert world.client.get("/healthz").json() == {"status": "ok", "lacks": []}
        assert world.client.get("/readyz").status_code == 200
        world.live.scorer._catalogue_read = False
        found = world.client.get("/readyz")
        assert found.status_code == 503
        assert found.json()["lacks"] == ["the items topic is not read to its end"]
        asked = world.client.get("/v1/users/ann/recommendations")
        assert "the service is starting" in problem_of(asked, 503)["detail"]
        assert world.client.get("/healthz").status_code == 200


def test_a_broker_that_is_away_and_threads_that_ended_are_said() -> None:
    with http_world() as world:
        world.broker_is_away = True
        (said,) = world.client.get("/readyz").json()["lacks"]
        assert "memory:9092 did not answer" in said
        world.live.scorer.stop()
        world.sink.alive = False
        found = world.client.get("/healthz")
        assert found.status_code == 503
        assert len(found.json()["lacks"]) == 2


# --- the queue of those who wait -----------------------------------------------------------------


def test_who_gives_up_while_waiting_is_not_scored_and_the_others_are_in_order() -> None:
    with http_world() as world:
        with Busy(world):
            futures = [
                world.answers.recommend(
                    Request(request_id=f"r{n}", user_id="ann", ts=START_MS), timeout_s=60
                )
                for n in range(4)
            ]
            assert futures[2].cancel()
        world.answers.close()
        assert [futures[n].result().recommendation.request_id for n in (0, 1, 3)] == [
            "r0",
            "r1",
            "r3",
        ]
        decided = [decode_decision(value).request_id for value in world.records("decisions")]
        assert decided == ["r0", "r1", "r3"]
        with pytest.raises(Overloaded, match="ending"):
            world.answers.recommend(
                Request(request_id="late", user_id="ann", ts=START_MS), timeout_s=60
            )
        assert world.answers.ended() == ["the thread that scores has ended"]


def test_a_scorer_that_fails_answers_with_a_problem_and_goes_on(
    world: HttpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object, **named: object) -> None:
        raise ZeroDivisionError("one candidate")

    with monkeypatch.context() as changed:
        changed.setattr(world.live.scorer.variants.of("ann"), "recommend", fails)
        found = problem_of(world.client.get("/v1/users/ann/recommendations"), 500)
    assert found["detail"] == "ZeroDivisionError; the log of the service says more"
    assert world.client.get("/v1/users/ann/recommendations?preview=true").status_code == 200
