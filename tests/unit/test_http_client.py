"""The light Python client, against the served system in memory and against made-up answers."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from deploy.clients.document import client_document
from streamer.errors import DeliveryFailed
from streamer.events import Item as PublishedItem
from streamer.events import decode_decision
from streamer_client import (
    AsyncClient,
    Client,
    ClientError,
    Event,
    EventQueue,
    Feedback,
    Health,
    Item,
    ListQuery,
    NoAnswer,
    NotFound,
    NotInTime,
    NotSent,
    Pin,
    Problem,
    PublishResult,
    QueueFull,
    Recommendation,
    Refused,
    RelatedQuery,
    Request,
    RequestRow,
    ServiceError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    User,
    UserQuery,
)
from streamer_client.fields import message_of
from streamer_client.tries import Tries
from tests.default_types import decode_event
from tests.http_world import HttpWorld, served_world

KEY = "a-key-of-16-chars"
CLICK = Event(type="click", user_id="ann", item_id="tea")


@pytest.fixture(scope="module")
def shop() -> Iterator[tuple[HttpWorld, str]]:
    with served_world(api_keys=(KEY,)) as (world, url):
        world.live.publish(
            PublishedItem(item_id="tea", categories=["drinks"], attributes={"year": 1994}),
            PublishedItem(item_id="milk", categories=["drinks"]),
        )
        world.live.sync()
        yield world, url


@pytest.fixture
def world(shop: tuple[HttpWorld, str]) -> HttpWorld:
    return shop[0]


@pytest.fixture(scope="module")
def url(shop: tuple[HttpWorld, str]) -> str:
    return shop[1]


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(url, api_key=KEY) as made:
        yield made


# --- against the service -------------------------------------------------------------------------


def test_a_slate_is_answered_and_feedback_on_it_taken(client: Client, world: HttpWorld) -> None:
    request = Request(
        user_id="ann",
        k=2,
        surface="home",
        context={"hour": 3},
        exclude=["cake"],
        pinned=[Pin(position=0, item_id="sponsored")],
    )
    said = client.recommend(request)
    assert [item.item_id for item in said.items] == ["sponsored", "tea"]
    assert (said.items[0].reason, said.items[1].rank, said.preview) == ("pinned", 1, False)
    decision = decode_decision(world.records("decisions")[-1])
    assert (decision.request_id, decision.surface) == (said.request_id, "home")
    assert decision.context == {"hour": 3}
    taken = client.feedback(Feedback(request_id=said.request_id, user_id="ann", item_id="tea"))
    event = decode_event(world.records("events")[-1])
    assert (event.event_id, event.type) == (taken.event_id, "click")


def test_rows_and_pages_are_answered(client: Client) -> None:
    rows = [RequestRow(name="for you"), RequestRow(name="new", list_name="latest")]
    said = client.recommend(Request(user_id="fay", k=1, rows=rows, preview=True))
    assert [row.name for row in said.rows or ()] == ["for you", "new"]
    page = Request(user_id="hal", k=1, after="")
    shown: list[str] = []
    while page.after is not None:
        found = client.recommend(page)
        shown += [item.item_id for item in found.items]
        page = replace(page, after=found.next)
    assert {"tea", "milk", "cake"} <= set(shown)
    assert len(set(shown)) == len(shown)


def test_lists_related_items_and_the_short_form_take_plain_filters(client: Client) -> None:
    drinks = ListQuery(category=["drinks", "none"], attribute=["year:1994"])
    said = client.listed("popular", drinks)
    assert ([item.item_id for item in said.items], said.user_id) == (["tea"], "anybody")
    seen = client.related("tea", RelatedQuery(preview=True, user_id="ida"))
    assert (seen.user_id, seen.preview) == ("ida", True)
    short = client.recommend_to("a/b c\n", UserQuery(k=1, category=["drinks"], preview=True))
    assert (short.user_id, len(short.items)) == ("a/b c\n", 1)


def test_each_event_has_its_fate(client: Client, world: HttpWorld) -> None:
    wrong = replace(CLICK, type="clik")
    found = client.publish_many([CLICK, wrong])
    assert [each.status for each in found.results] == [202, 422]
    assert decode_event(world.records("events")[-1]).event_id == found.results[0].event_id
    with pytest.raises(Refused, match="field 'type': \"clik\" is unknown") as refused:
        client.publish_many([wrong, wrong])
    assert [each.field for each in refused.value.results] == ["type", "type"]
    with pytest.raises(Refused):
        client.publish(wrong)
    assert client.publish(replace(CLICK, event_id="e 1")).event_id == "e 1"


@pytest.mark.parametrize("key", ["a/b ü\n", "..", "plain"])
def test_items_and_users_are_written_changed_read_and_deleted(client: Client, key: str) -> None:
    tea = Item(item_id=key, title="Tea", attributes={"price": 3.5, "loose": True})
    assert client.put_item(tea) == client.get_item(key) == tea
    changed = client.patch_item(key, {"available": False, "title": None})
    assert changed == client.get_item(key) == replace(tea, title=None, available=False)
    client.delete_item(key)
    with pytest.raises(NotFound):
        client.get_item(key)
    user = User(user_id=key, categories=["drinks"])
    assert client.put_user(user) == user
    assert client.patch_user(key, {"attributes": {"country": "pt"}}).attributes == {"country": "pt"}
    assert client.get_user(key).categories == ["drinks"]
    client.delete_user(key)
    with pytest.raises(NotFound, match=r"\(404 not-found, request "):
        client.get_user(key)


def test_many_items_and_users_are_written_at_once(client: Client) -> None:
    found = client.put_items([Item(item_id="jam"), Item(item_id="fig", title=2_000 * "x")])
    assert (found.accepted, found.results[1].field) == (1, "title")
    assert client.put_users([User(user_id="jo"), User(user_id="lu")]).accepted == 2


def test_an_explanation_is_read(client: Client) -> None:
    found = client.explain("ann", "tea", k=2)
    assert (found.user_id, found.k, found.barred) == ("ann", 2, None)
    assert isinstance(found.blend[0].adds, float)


def test_a_problem_is_an_error_with_the_value_the_bound_and_the_remedy(
    client: Client, url: str
) -> None:
    with pytest.raises(Refused, match="field 'k': 0 is refused: expected `int` >= 1") as refused:
        client.recommend(Request(user_id="ann", k=0))
    problem = refused.value.problem
    assert (problem.status, problem.field) == (422, "k")
    assert problem.request_id
    assert not refused.value.retriable
    with Client(url) as stranger, pytest.raises(Unauthorized, match="Authorization: Bearer"):
        stranger.publish(CLICK)
    with pytest.raises(ValueError, match="give it as http://HOST:PORT"):
        Client("localhost:8080")


def test_health_is_an_answer_whether_good_or_bad(client: Client, world: HttpWorld) -> None:
    assert client.alive() == client.ready() == Health(status="ok", lacks=[])
    world.live.scorer._catalogue_read = False
    try:
        assert client.ready().lacks == ["the items topic is not read to its end"]
        with pytest.raises(Unavailable, match="starting"):
            client.within(0.01).recommend(Request(user_id="ann"))
    finally:
        world.live.scorer._catalogue_read = True


def test_what_the_broker_does_not_take_is_said(client: Client, world: HttpWorld) -> None:
    world.sink.failure = DeliveryFailed("a message was not delivered: the disk is full")
    try:
        with pytest.raises(Unavailable, match="the disk is full") as failed:
            client.within(0.01).publish_many([CLICK, CLICK])
    finally:
        world.sink.failure = None
    assert failed.value.retriable
    assert [each.status for each in failed.value.results] == [503, 503]


# --- against made-up answers ---------------------------------------------------------------------


class Made:
    """Answers that come in their order, the last one again and again; and what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = [*answers]
        self.asked: list[httpx.Request] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        made = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(made, Exception):
            raise made
        return httpx.Response(made.status_code, headers=made.headers, content=made.content)

    def client(self, **given: Any) -> Client:
        transport = httpx.MockTransport(self.answer)
        return Client("http://made", http=httpx.Client(transport=transport), **given)


def problem(status: int, **headers: str) -> httpx.Response:
    said = {"type": "about:blank", "title": "No", "status": status, "detail": "no"}
    return httpx.Response(status, json=said, headers=headers)


TAKEN = httpx.Response(
    202, json={"accepted": 1, "rejected": 0, "results": [{"index": 0, "status": 202}]}
)
SLATE = httpx.Response(
    200,
    json={"request_id": "r", "user_id": "ann", "ts": 1, "items": [], "model_version": "", "new": 1},
)
LOST = httpx.ReadTimeout("no answer")
CALLS: dict[str, tuple[Any, ...]] = {
    "recommend": (Request(user_id="x"),),
    "recommend_to": ("x",),
    "listed": ("popular",),
    "related": ("x",),
    "explain": ("x", "x"),
    "publish": (CLICK,),
    "publish_many": ([CLICK],),
    "feedback": (Feedback(request_id="r", user_id="x", item_id="x"),),
    "get_item": ("x",),
    "put_item": (Item(item_id="x"),),
    "patch_item": ("x", {}),
    "delete_item": ("x",),
    "put_items": ([Item(item_id="x")],),
    "get_user": ("x",),
    "put_user": (User(user_id="x"),),
    "patch_user": ("x", {}),
    "delete_user": ("x",),
    "put_users": ([User(user_id="x")],),
    "alive": (),
    "ready": (),
}


def test_every_route_of_the_document_has_a_method_in_both_clients() -> None:
    made = Made(problem(404))
    of_sync, transport = made.client(), httpx.MockTransport(made.answer)
    public = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if name[0] != "_"}
    assert public == {*CALLS, "close", "within"}

    async def ask_all() -> None:
        http = httpx.AsyncClient(transport=transport)
        async with AsyncClient("http://made", http=http) as of_async:
            for name, given in CALLS.items():
                with pytest.raises(NotFound):
                    await getattr(of_async, name)(*given)

    for name, given in CALLS.items():
        with pytest.raises(NotFound):
            getattr(of_sync, name)(*given)
    asyncio.run(ask_all())
    asked = [
        (each.method.lower(), re.sub("/(x|popular)(?=/|$)", "/{}", each.url.path))
        for each in made.asked
    ]
    promised = {
        (method, re.sub(r"\{\w+\}", "{}", path))
        for path, operations in client_document()["paths"].items()
        for method in operations
    }
    assert asked[: len(CALLS)] == asked[len(CALLS) :]
    assert {*asked} == promised


REFUSED = httpx.ConnectError("refused")


@pytest.mark.parametrize("failure", [LOST, REFUSED, problem(503), problem(504)])
def test_an_event_is_sent_again_under_the_same_id(failure: httpx.Response | Exception) -> None:
    made = Made(failure, failure, TAKEN)
    assert made.client().publish(CLICK).status == 202
    sent = {request.content for request in made.asked}
    assert (len(made.asked), len(sent)) == (3, 1)
    assert len(json.loads(sent.pop())["event_id"]) == 32


@pytest.mark.parametrize("failure", [LOST, httpx.ReadError("reset"), problem(504)])
def test_a_decision_is_not_asked_for_again_where_its_answer_was_lost(
    failure: httpx.Response | Exception,
) -> None:
    made = Made(failure, SLATE)
    with pytest.raises((NoAnswer, NotInTime)):
        made.client().recommend(Request(user_id="ann"))
    assert len(made.asked) == 1
    made = Made(failure, SLATE, failure, SLATE, failure, SLATE)
    client = made.client()
    client.recommend(Request(user_id="ann", preview=True))
    client.listed("popular")
    client.recommend_to("ann", UserQuery(list_name="latest"))
    assert len(made.asked) == 6


@pytest.mark.parametrize("failure", [REFUSED, problem(429), problem(503)])
def test_a_decision_that_was_surely_not_made_is_asked_for_again(
    failure: httpx.Response | Exception,
) -> None:
    made = Made(failure, SLATE)
    said = made.client(timeout_s=7).recommend(Request(user_id="ann"))
    assert said == Recommendation(request_id="r", user_id="ann", ts=1, items=[], model_version="")
    assert len(made.asked) == 2
    assert json.loads(made.asked[0].content) == {"user_id": "ann", "timeout_ms": 7_000}


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500, 301])
def test_what_will_not_work_later_is_not_asked_again(status: int) -> None:
    made = Made(problem(status))
    with pytest.raises(ServiceError) as found:
        made.client().publish(CLICK)
    assert found.value.problem.status == status
    assert len(made.asked) == 1


def test_one_deadline_bounds_all_tries_and_pauses_grow() -> None:
    now_s = 0.0
    tries = Tries(2.0, repeatable=True, now_s=lambda: now_s, drawn=lambda: 1.0)
    lost = NoAnswer("no answer", reached=True)
    for pause_s in (0.05, 0.1, 0.2, 0.4, 0.8):
        assert tries.pause_s(lost) == pause_s
        now_s += pause_s
    with pytest.raises(NoAnswer):
        tries.pause_s(lost)
    asked = TooManyRequests(Problem(type="", title="", status=429, detail=""), retry_after_s=3)
    tries = Tries(4.0, repeatable=True, now_s=lambda: now_s)
    assert tries.pause_s(asked) == 3
    now_s += 3
    with pytest.raises(TooManyRequests):
        tries.pause_s(asked)


def test_an_answer_of_another_server_is_said_to_be_one() -> None:
    for answer in (
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[1]),
        httpx.Response(200, json={"user_id": "ann"}),
        httpx.Response(302, text="elsewhere"),
    ):
        with pytest.raises(ServiceError, match="is this its address"):
            Made(answer).client().recommend(Request(user_id="ann"))


def test_names_that_the_client_does_not_know_are_left_out() -> None:
    found = message_of(PublishResult, {"index": 0, "status": 202, "of_a_later_version": {}})
    assert found == PublishResult(index=0, status=202)


def test_the_async_client_answers_and_raises_as_the_other(world: HttpWorld) -> None:
    async def shop() -> None:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(world.app))
        async with AsyncClient("http://streamer", api_key=KEY, http=http) as client:
            said = await client.recommend(Request(user_id="bea", k=1))
            assert len(said.items) == 1
            assert (await client.publish(CLICK)).status == 202
            with pytest.raises(Refused, match="0 is refused"):
                await client.within(5).recommend(Request(user_id="bea", k=0))

    asyncio.run(shop())


# --- the queue -----------------------------------------------------------------------------------


def test_events_are_sent_in_the_background_in_order(client: Client, world: HttpWorld) -> None:
    n_before = len(world.records("events"))
    with EventQueue(client) as events:  # bodies of 500, where the service takes 5
        added = [events.add(replace(CLICK, user_id=f"u{n}")) for n in range(23)]
        events.flush()
        assert (events.n_accepted, events.n_waiting) == (23, 0)
    sent = [decode_event(each) for each in world.records("events")[n_before:]]
    assert [(each.event_id, each.ts) for each in sent] == [(e.event_id, e.ts) for e in added]
    with pytest.raises(QueueFull, match="closed"):
        events.add(CLICK)


def test_a_bad_event_is_said_and_the_others_are_taken(client: Client) -> None:
    refused: list[tuple[Event, PublishResult]] = []

    def take(event: Event, result: PublishResult) -> None:
        refused.append((event, result))
        raise ZeroDivisionError("the thread goes on")

    with EventQueue(client, batch_max=3, rejected=take) as events:
        for name in ("click", "clik", "clack", "click", "like", "lke"):
            events.add(replace(CLICK, type=name))
        with pytest.raises(ValueError, match="not JSON compliant"):
            events.add(replace(CLICK, value=float("nan")))
        events.flush()
        assert (events.n_accepted, events.n_rejected) == (3, 3)
    assert [event.type for event, _ in refused] == ["clik", "clack", "lke"]
    assert refused[0][1].field == "type"


class Flaky:
    """A service that fails until it is told not to; and what it took."""

    def __init__(self) -> None:
        self.fails: Callable[[list[Any]], httpx.Response] | None = None
        self.taken: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        events = json.loads(request.content)
        if self.fails is not None:
            return self.fails(events)
        return self.take(events)

    def take(self, events: list[Any], n: int | None = None) -> httpx.Response:
        statuses = [202 if n is None or at < n else 503 for at in range(len(events))]
        self.taken += [each["event_id"] for each in events[:n]]
        results = [{"index": at, "status": status} for at, status in enumerate(statuses)]
        return httpx.Response(207, json={"accepted": 0, "rejected": 0, "results": results})

    def queue(self, **given: Any) -> EventQueue:
        http = httpx.Client(transport=httpx.MockTransport(self.answer))
        return EventQueue(Client("http://made", http=http, timeout_s=0.01), **given)


def test_while_the_service_is_away_events_wait_up_to_the_bound() -> None:
    service = Flaky()
    service.fails = lambda events: problem(503)
    with service.queue(queue_max=3, batch_max=2) as events:
        added = [events.add(CLICK).event_id for _ in range(3)]
        with pytest.raises(NotSent, match=r"3 events still wait after 0\.05 s"):
            events.flush(0.05)
        with pytest.raises(QueueFull, match=r"3 events wait \(queue_max\)"):
            events.add(CLICK)
        service.fails = None
        events.flush()
        assert service.taken == added


def test_only_what_was_not_taken_is_sent_again() -> None:
    service = Flaky()

    def take_one(events: list[Any]) -> httpx.Response:
        service.fails = None
        return service.take(events, 1)

    service.fails = take_one
    with service.queue(linger_s=60) as events:
        added = [events.add(CLICK).event_id for _ in range(3)]
        events.flush()
        assert service.taken == added
        assert (events.n_accepted, events.n_waiting) == (3, 0)


def test_a_queue_that_ends_without_sending_says_so() -> None:
    service = Flaky()
    service.fails = lambda events: problem(401)
    events = service.queue()
    events.add(CLICK)
    with pytest.raises(NotSent, match="1 events still wait"):
        events.close(0.05)
    with pytest.raises(ClientError):
        events.add(CLICK)
