"""Messages of every kind that a topic may be sent by mistake, and odd ones that are right."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from streamer.config.settings import TopicRole
from streamer.events import Decision, encode, feature_value_key, pack_features
from tests.torture.ledger import Kind

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_FEATURE = "item_ctr_1h"
_TOO_LARGE = "x" * 70_000
_N_CANDIDATES, _K = 10, 5


class Made(NamedTuple):
    """A message, its topic and its kind."""

    role: TopicRole
    key: bytes
    value: bytes | None
    kind: Kind


def _json(base: dict[str, Any], **changes: object) -> bytes:
    return json.dumps({**base, **changes}).encode()


def _without(base: dict[str, Any], name: str) -> bytes:
    return json.dumps({key: value for key, value in base.items() if key != name}).encode()


def volley(
    n: int, now_ms: int, user_id: str, feature_names: Sequence[str], *, items: bool
) -> Iterator[Made]:
    """Yield bad messages of each kind for each topic, and good ones that look odd.

    Parameters
    ----------
    n
        Number of the volley: ids are its own.
    feature_names
        Those that a decision's candidates are ranked by.
    items
        Whether to spoil the items topic too, which every process that starts reads from its start.
    """
    key = user_id.encode()
    topics: dict[TopicRole, dict[str, bytes | None]] = {
        "events": _bad_events(f"bad-{n}", now_ms, user_id),
        "requests": _bad_requests(f"bad-{n}", now_ms, user_id),
        "decisions": _bad_decisions(f"bad-{n}", now_ms, user_id, feature_names),
        "features": _bad_features(f"bad-{n}", now_ms),
        "users": _bad_users(f"bad-{n}", user_id),
    }
    if items:
        topics["items"] = _bad_items(f"bad-{n}")
    own_keys: dict[TopicRole, bytes] = {
        "items": f"bad-{n}".encode(),
        "features": feature_value_key(_FEATURE, f"bad-{n}"),
    }
    for role, made in topics.items():
        own_key = own_keys.get(role, key)
        for name, value in made.items():
            yield Made(role, key if name == "another key" else own_key, value, Kind(name, "bad"))
    for name, event in _odd_events(f"odd-{n}", now_ms, user_id).items():
        yield Made("events", key, event, Kind(name, "good"))
    for name, decision in _odd_decisions(f"odd-{n}", now_ms, user_id, feature_names).items():
        yield Made("decisions", key, decision, Kind(name, "good"))


def _spoiled(base: dict[str, Any], *, text: str, number: str) -> dict[str, bytes | None]:
    """What can be wrong with a message of any topic.

    Parameters
    ----------
    text, number
        Fields that it must have; the first is an id.
    """

    def with_bytes(value: bytes) -> bytes:
        return _json(base, **{text: "SPOILED"}).replace(b"SPOILED", value)

    return {
        "broken JSON": _json(base)[:-9],
        "no object": json.dumps([base[text], base[number]]).encode(),
        "tombstone": None,
        "missing field": _without(base, text),
        "wrong type": _json(base, **{number: "noon"}),
        "out of range": _json(base, **{number: -1}),
        "unknown version": _json(base, v=9),
        "NaN": _json(base, **{number: math.nan}),
        "infinite": _json(base, **{number: "SPOILED"}).replace(b'"SPOILED"', b"1e999"),
        "not UTF-8": with_bytes(b"caf\xe9"),
        "half a character": with_bytes(b"\\ud83d"),
        "oversized id": with_bytes("é".encode() * 200),
    }


def _event(event_id: str, now_ms: int, user_id: str) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "type": "click",
        "user_id": user_id,
        "item_id": "item-1",
        "ts": now_ms,
    }


def _bad_events(name: str, now_ms: int, user_id: str) -> dict[str, bytes | None]:
    base = _event(name, now_ms, user_id)
    return {
        **_spoiled(base, text="item_id", number="ts"),
        "too large": _json(base, context={"page": _TOO_LARGE}),
        "unknown type": _json(base, type="teleport"),
        "infinite value": _json(base)[:-1] + b', "value": 1e999}',
        "two days ahead": _json(base, ts=now_ms + 2 * DAY_MS),
    }


def _odd_events(name: str, now_ms: int, user_id: str) -> dict[str, bytes]:
    def event(kind: str) -> dict[str, Any]:
        return _event(f"{name}-{kind}", now_ms, user_id)

    return {
        "unknown item": _json(event("item"), item_id=f"not-published-{name}"),
        "20 hours ahead": _json(event("ahead"), ts=now_ms + 20 * HOUR_MS),
        "whole double": _json(event("double"), ts=float(now_ms)),
        "null in context": _json(event("null"), context={"device": None}),
        "unknown field": _json(event("field"), campaign="spring"),
        "unknown request": _json(event("request"), request_id=f"{name}-of-nobody", position=0),
        "value of 1e18": _json(event("value"), type="watch", value=1e18),
    }


def _bad_requests(name: str, now_ms: int, user_id: str) -> dict[str, bytes | None]:
    base = {"request_id": name, "user_id": user_id, "k": 5, "ts": now_ms}
    return {
        **_spoiled(base, text="user_id", number="ts"),
        "k beyond its bound": _json(base, k=501),
        "too many candidates": _json(base, candidates=[f"item-{i}" for i in range(10_001)]),
        "two days ahead": _json(base, ts=now_ms + 2 * DAY_MS),
    }


def _bad_items(name: str) -> dict[str, bytes | None]:
    base = {"item_id": name, "title": name, "created_ts": 1}
    spoiled = _spoiled(base, text="item_id", number="created_ts")
    del spoiled["tombstone"]  # it deletes an item
    return {
        **spoiled,
        "no list": _json(base, categories="drinks"),
        "too large": _json(base, attributes={"text": _TOO_LARGE + name}),
        "another key": _json(base, title=f"{name} of another key"),
    }


def _bad_users(name: str, user_id: str) -> dict[str, bytes | None]:
    base = {"user_id": user_id, "attributes": {"volley": name}, "ts": 1}
    spoiled = _spoiled(base, text="user_id", number="ts")
    del spoiled["tombstone"]  # it deletes a user
    return {
        **spoiled,
        "no list": _json(base, categories="drinks"),
        "too large": _json(base, attributes={"text": _TOO_LARGE + name}),
        "more than is kept": _json(base, attributes={"text": 500 * "x", "volley": name}),
        "another key": _json(base, user_id=f"{user_id} of {name}"),
    }


def _bad_features(name: str, now_ms: int) -> dict[str, bytes | None]:
    base = {
        "entity": "item",
        "id": name,
        "name": _FEATURE,
        "value": 0.5,
        "window_start": now_ms - HOUR_MS,
        "window_end": now_ms,
        "computed_ts": now_ms,
    }
    spoiled = _spoiled(base, text="id", number="window_end")
    del spoiled["tombstone"]  # it says that a value is no more
    return {
        **spoiled,
        "unknown entity": _json(base, entity="shop"),
        "a value beyond its bound": _json(base, value=1e19),
        "two days ahead": _json(base, window_end=now_ms + 2 * DAY_MS),
        "another key": _json(base, value=0.25),
        "an end before the start": _json(base, window_end=now_ms - 2 * HOUR_MS),
    }


def _decision(
    name: str, now_ms: int, user_id: str, feature_names: Sequence[str], *, feature: float = 0.0
) -> dict[str, Any]:
    features = np.full((_N_CANDIDATES, len(feature_names)), feature, np.float32)
    candidates = [f"item-{i}" for i in range(_N_CANDIDATES)]
    decision = Decision(
        request_id=name,
        user_id=user_id,
        ts=now_ms,
        items=candidates[:_K],
        positions=list(range(_K)),
        propensities=[0.5] * _K,
        policy="greedy",
        policy_parameters={"form": "disjoint"},
        seed=1,
        model_version="p0:1",
        candidates=candidates,
        feature_names=list(feature_names),
        features=pack_features(features),
        expected=[0.1] * _K,
    )
    made: dict[str, Any] = json.loads(encode(decision))
    return made


def _bad_decisions(
    name: str, now_ms: int, user_id: str, feature_names: Sequence[str]
) -> dict[str, bytes | None]:
    base = _decision(name, now_ms, user_id, feature_names)
    return {
        **_spoiled(base, text="user_id", number="ts"),
        "propensity of 0": _json(base, propensities=[0.0] * _K),
        "lists of other lengths": _json(base, positions=[0]),
        "features that are no numbers": _json(
            _decision(name, now_ms, user_id, feature_names, feature=np.nan)
        ),
        "features beyond all bounds": _json(
            _decision(name, now_ms, user_id, feature_names, feature=1e30)
        ),
        "features of another shape": _json(base, candidates=base["candidates"][:-1]),
        "a foreign item": _json(base, items=[*base["items"][:-1], "not-a-candidate"]),
        "not base64": _json(base, features="???"),
        "two days ahead": _json(base, ts=now_ms + 2 * DAY_MS),
    }


def _odd_decisions(
    name: str, now_ms: int, user_id: str, feature_names: Sequence[str]
) -> dict[str, bytes]:
    return {
        "crafted": _json(_decision(f"{name}-crafted", now_ms, user_id, feature_names)),
        "features of other names": _json(
            _decision(f"{name}-names", now_ms, user_id, [*feature_names[:-1], "made_up"])
        ),
    }
