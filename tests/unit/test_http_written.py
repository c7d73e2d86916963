"""What a service wrote of items and users, and what others wrote since: the topic has the word."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from prometheus_client import CollectorRegistry

from streamer.events import Item, User
from streamer.http.app import create_app
from tests.http_world import HttpClient, HttpWorld, http_world

Noun = Literal["item", "user"]
NOUNS: tuple[Noun, ...] = ("item", "user")


@pytest.fixture(scope="module")
def world() -> Iterator[HttpWorld]:
    with http_world() as made:
        yield made


@contextlib.contextmanager
def another_service(world: HttpWorld) -> Iterator[HttpClient]:
    """Yield a client of a second service of the same topics."""
    client = HttpClient(create_app(world.config, world.parts, registry=CollectorRegistry()))
    try:
        yield client
    finally:
        client.close()


def url(noun: Noun, key: str) -> str:
    return f"/v1/{noun}s/{key}"


def write_elsewhere(world: HttpWorld, noun: Noun, key: str, **fields: Any) -> None:
    """Have another process publish what is known, which is read at once."""
    made = Item(item_id=key, **fields) if noun == "item" else User(user_id=key, **fields)
    world.live.publish(made)
    world.live.sync()


def delete_elsewhere(world: HttpWorld, noun: Noun, key: str) -> None:
    """Have another process publish a tombstone, which is read at once."""
    world.live.delete(Item(item_id=key) if noun == "item" else User(user_id=key))
    world.live.sync()


@pytest.mark.parametrize("noun", NOUNS)
def test_what_others_deleted_does_not_come_back(world: HttpWorld, noun: Noun) -> None:
    here = url(noun, "gina")
    assert world.client.put(here, json={"attributes": {"secret": "x"}}).status_code == 202
    delete_elsewhere(world, noun, "gina")
    assert world.client.patch(here, json={"attributes": {"lang": "de"}}).status_code == 404
    assert world.client.get(here).status_code == 404


@pytest.mark.parametrize("noun", NOUNS)
def test_a_patch_keeps_what_others_changed(world: HttpWorld, noun: Noun) -> None:
    here = url(noun, "changed")
    assert world.client.put(here, json={"attributes": {"a": 1}}).status_code == 202
    write_elsewhere(world, noun, "changed", attributes={"a": 2})
    assert world.client.get(here).json()["attributes"] == {"a": 2}
    patched = world.client.patch(here, json={"attributes": {"b": 3}})
    assert patched.json()["attributes"] == {"a": 2, "b": 3}


@pytest.mark.parametrize("noun", NOUNS)
def test_what_was_deleted_here_and_written_elsewhere_is_there(world: HttpWorld, noun: Noun) -> None:
    here = url(noun, "back")
    assert world.client.put(here, json={}).status_code == 202
    assert world.client.delete(here).status_code == 202
    write_elsewhere(world, noun, "back", attributes={"a": 1})
    assert world.client.get(here).json()["attributes"] == {"a": 1}


@pytest.mark.parametrize("noun", NOUNS)
def test_one_of_many_gives_way_to_what_others_changed(world: HttpWorld, noun: Noun) -> None:
    many = [{f"{noun}_id": "m1"}, {f"{noun}_id": "m2"}]
    assert world.client.post(f"/v1/{noun}s", json=many).status_code == 202
    write_elsewhere(world, noun, "m1", attributes={"a": 1})
    delete_elsewhere(world, noun, "m2")
    assert world.client.get(url(noun, "m1")).json()["attributes"] == {"a": 1}
    assert world.client.get(url(noun, "m2")).status_code == 404


@pytest.mark.parametrize("noun", NOUNS)
def test_until_the_own_write_is_read_it_stands_before_older_ones(
    world: HttpWorld, noun: Noun
) -> None:
    here = url(noun, "own")
    assert world.client.put(here, json={"attributes": {"a": 1}}).status_code == 202
    write_elsewhere(world, noun, "own", attributes={"a": 2})
    assert world.client.put(here, json={"attributes": {"a": 3}}).status_code == 202
    assert world.client.get(here).json()["attributes"] == {"a": 3}
    patched = world.client.patch(here, json={"attributes": {"b": 4}})
    assert patched.json()["attributes"] == {"a": 3, "b": 4}
    assert world.client.delete(here).status_code == 202
    assert world.client.get(here).status_code == 404
    world.live.sync()
    assert world.client.get(here).status_code == 404


@pytest.mark.parametrize("noun", NOUNS)
def test_two_services_keep_what_the_other_wrote(world: HttpWorld, noun: Noun) -> None:
    here = url(noun, "shared")
    with another_service(world) as other:
        assert world.client.put(here, json={"attributes": {"a": 1, "b": 1}}).status_code == 202
        world.live.sync()
        assert other.patch(here, json={"attributes": {"a": None}}).status_code == 202
        world.live.sync()
        patched = world.client.patch(here, json={"attributes": {"b": 2}})
        assert patched.json()["attributes"] == {"b": 2}
        world.live.sync()
        assert other.delete(here).status_code == 202
        world.live.sync()
        assert world.client.patch(here, json={}).status_code == 404


def test_an_item_of_metarank_is_patched_as_it_was_just_written(world: HttpWorld) -> None:
    said = {"event": "item", "id": "e", "timestamp": 1, "item": "theirs", "fields": []}
    price, size = {"name": "price", "value": 3}, {"name": "size", "value": 5}
    assert world.client.post("/feedback", json=said | {"fields": [price]}).status_code == 200
    patched = world.client.patch("/v1/items/theirs", json={"attributes": {"of": 7}})
    assert patched.json()["attributes"] == {"price": 3, "of": 7}
    assert world.client.post("/feedback", json=said | {"fields": [size]}).status_code == 200
    found = world.client.get("/v1/items/theirs").json()
    assert found["attributes"] == {"price": 3, "of": 7, "size": 5}
