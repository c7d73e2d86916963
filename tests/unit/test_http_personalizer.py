"""Calls in the form of Azure Personalizer's: what they become, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from streamer.config import load_config
from streamer.errors import ConfigError
from streamer.events import Event, decode_decision
from streamer.http.routes.personalizer import RankedEvents
from tests.default_types import decode_event
from tests.http_world import HttpWorld, http_world
from tests.unit.test_http import problem_of

AT = "/personalizer/v1.1-preview.3"


@pytest.fixture
def world() -> Iterator[HttpWorld]:
    with http_world() as made:
        yield made


def rank(world: HttpWorld, **given: Any) -> dict[str, Any]:
    asked = {"actions": [{"id": each} for each in ("milk", "tea", "new")], "eventId": "e1"} | given
    answer = world.client.post(f"{AT}/rank", json=asked)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def events(world: HttpWorld) -> list[Event]:
    """What was published over HTTP."""
    return [e for e in map(decode_event, world.records("events")) if e.request_id is not None]


def test_actions_are_ranked_and_the_decision_logged(world: HttpWorld) -> None:
    features = [{"user_id": "ann"}, {"device": "phone", "place": {"city": "Lyon", "near": ["x"]}}]
    found = rank(world, contextFeatures=features)
    assert found["eventId"] == "e1"
    assert found["rewardActionId"] == found["ranking"][0]["id"] == "tea"
    decision = decode_decision(world.records("decisions")[-1])
    assert [each["id"] for each in found["ranking"]] == decision.items
    assert [each["probability"] for each in found["ranking"]] == decision.propensities
    assert (decision.request_id, decision.user_id) == ("e1", "ann")
    assert decision.context == {"device": "phone", "place.city": "Lyon"}
    assert set(decision.candidates) == {"milk", "tea", "new"}


def test_what_was_ranked_counts_as_shown_and_its_reward_as_feedback(world: HttpWorld) -> None:
    rank(world, contextFeatures=[{"user_id": "ann"}])
    (shown,) = events(world)
    assert (shown.type, shown.request_id, shown.item_id, shown.position) == (
        "impression", "e1", "tea", 0,
    )  # fmt: skip
    for _ in range(2):
        assert world.client.post(f"{AT}/events/e1/reward", json={"value": 0.5}).status_code == 204
    first, again = events(world)[1:]
    assert (first.type, first.value, first.user_id, first.item_id) == ("watch", 0.5, "ann", "tea")
    assert first.event_id == again.event_id  # sent again it counts once
    before = world.live.counts.join.n_matched
    world.live.advance(world.live.clock.now_ms() + 1_000)
    assert world.live.counts.join.n_matched == before + 2


def test_a_deferred_event_is_shown_when_it_is_activated(world: HttpWorld) -> None:
    rank(world, deferActivation=True)
    assert events(world) == []
    assert world.client.post(f"{AT}/events/e1/activate").status_code == 204
    (shown,) = events(world)
    assert (shown.type, shown.user_id) == ("impression", "e1")


def test_who_has_no_user_id_is_a_stranger_by_the_events_id(world: HttpWorld) -> None:
    assert rank(world, eventId=None)["eventId"] != "e1"
    decision = decode_decision(world.records("decisions")[-1])
    assert decision.user_id == decision.request_id


def test_excluded_actions_and_those_that_were_met_come_last(world: HttpWorld) -> None:
    user = [{"user_id": "bob"}]  # who has met milk and tea
    found = rank(world, contextFeatures=user, excludedActions=["milk"])
    assert [each["id"] for each in found["ranking"]] == ["new", "milk", "tea"]
    assert [each["probability"] for each in found["ranking"]] == [1.0, 0.0, 0.0]
    n_before = len(world.records("decisions"))
    found = rank(world, excludedActions=["milk", "tea", "new"])
    assert found["rewardActionId"] == "milk"
    assert len(world.records("decisions")) == n_before


def test_the_user_may_be_nested() -> None:
    with http_world(user_feature="user.id") as world:
        rank(world, contextFeatures=[{"user": {"id": 7, "age": 31}}])
        decision = decode_decision(world.records("decisions")[-1])
        assert (decision.user_id, decision.context) == ("7", {"user.age": 31})


def test_what_is_wrong_is_said(world: HttpWorld) -> None:
    client = world.client
    assert problem_of(client.post(f"{AT}/rank", json={"actions": []}), 422)["field"] == "actions"
    problem_of(client.post(f"{AT}/events/gone/reward", json={"value": 1}), 404)
    problem_of(client.post(f"{AT}/events/gone/activate"), 404)
    assert problem_of(client.post(f"{AT}/events/e1/reward", json={}), 422)["field"] == "value"
    problem_of(client.post("/personalizer/v9/rank", json={"actions": [{"id": "a"}]}), 422)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"eventId": "é" * 129}, "eventId"),
        ({"actions": [{"id": "a"}, {"id": "a"}, {"id": "é" * 129}]}, "actions[2].id"),
        ({"contextFeatures": [{"user_id": "u" * 300}]}, "contextFeatures.user_id"),
        ({"contextFeatures": [{"n": 10**400}]}, "contextFeatures.n"),
    ],
)
def test_a_field_is_named_as_it_was_sent(
    world: HttpWorld, given: dict[str, Any], field: str
) -> None:
    asked = {"actions": [{"id": "a"}]} | given
    assert problem_of(world.client.post(f"{AT}/rank", json=asked), 422)["field"] == field


def test_rank_calls_beyond_the_bound_are_forgotten() -> None:
    ranked = RankedEvents(n_max=2)
    for n in range(3):
        ranked.note(f"e{n}", "ann", "tea")
    with pytest.raises(HTTPException, match="e0"):
        ranked.get("e0")
    assert ranked.get("e1")["user_id"] == "ann"


def test_a_reward_needs_a_type_that_there_is() -> None:
    with pytest.raises(ConfigError, match=r"http.reward_type: \"worth\" is no type of event"):
        load_config(env={}, flags={"http.reward_type": "worth"})


def test_the_key_of_its_clients_is_a_key() -> None:
    with http_world(api_keys=("a-key-of-16-chars",)) as world:
        asked = {"actions": [{"id": "tea"}]}
        assert world.client.post(f"{AT}/rank", json=asked).status_code == 401
        headers = {"Ocp-Apim-Subscription-Key": "a-key-of-16-chars"}
        assert world.client.post(f"{AT}/rank", json=asked, headers=headers).status_code == 201
