"""Made-up decisions and the events that answer them, in the order of publication, with noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec.structs import replace

from streamer.config import Config
from streamer.events import Decision, Event, encode, message_key, pack_features
from streamer.learner.configured import join_settings
from streamer.ranking.columns import feature_names
from tests.recorded_stream import BROKEN, Message

START_MS = 1_700_000_000_000
EVERY_MS = 100
"""Of event time, from one decision to the next."""

SETTINGS: dict[str, object] = {
    "join.window_s": 5.0,
    "join.horizon_s": 60.0,
    "join.lateness_s": 10.0,
    "join.match_without_request": "always",
    "join.feedback_max": 1_000_000,  # ids are evicted between decisions, so these are read late
    "join.unanswered": "counts",
    "bandit.form": "disjoint",
    "bandit.arms_max": 350,
}
"""Decisions close, and items fall out at the bound, many times within a few minutes of events."""

_N_USERS, _N_ITEMS, _N_CANDIDATES, _K = 300, 400, 10, 5
_TYPES: tuple[str, ...] = ("click", "like", "skip", "impression")

_Timed = tuple[int, Message]


def recorded_decisions(config: Config, n: int, *, seed: int) -> list[Message]:
    """``n`` decisions and some three times as many events, to both topics.

    Among them are decisions and events that repeat, decisions whose features are others or that
    logged nothing for the blend, feedback before its decision, after the horizon, without or with
    an unknown request, or on items that were not shown, and broken messages.
    """
    rng = np.random.default_rng(seed)
    names, of_slate = list(feature_names(config)), list(join_settings(config).slate_names)
    timed = [each for i in range(n) for each in _one(i, names, of_slate, rng)]
    return [message for _, message in sorted(timed, key=lambda each: each[0])]


def _one(
    i: int, names: list[str], of_slate: list[str], rng: np.random.Generator
) -> Iterator[_Timed]:
    """All that has to do with one decision, and when each message is published."""
    ts = START_MS + EVERY_MS * i
    decision = _decision(f"request-{i}", f"user-{rng.integers(_N_USERS)}", ts, names, rng)
    if i % 50:
        logged = np.random.default_rng(i).normal(size=(_K, len(of_slate))).astype(np.float32)
        decision = replace(decision, slate_names=of_slate, slate=pack_features(logged))
    key = message_key(decision)
    written = BROKEN if rng.random() < 0.02 else encode(decision)
    for again in range(1 + (rng.random() < 0.05)):  # a scorer that was killed answers once more
        published_ms = ts + int(rng.integers(500)) + again * int(rng.integers(20_000))
        yield published_ms, Message(key, written, "decisions")
    for position, item_id in enumerate(decision.items):
        if rng.random() < 0.4:
            yield from _feedback(decision, position, item_id, rng)
    taken = f"item-{int(_N_ITEMS * rng.random() ** 2)}"
    yield from _published(_event(f"event-{i}", "click", decision.user_id, taken, ts), 0, rng)
    if rng.random() < 0.02:
        yield ts, Message(key, BROKEN)


def _feedback(
    decision: Decision, position: int, item_id: str, rng: np.random.Generator
) -> Iterator[_Timed]:
    late = rng.random() < 0.1
    delay_ms = int(rng.uniform(0, 120_000) if late else rng.exponential(4_000))
    request_id = rng.choice(["its", "its", "its", "its", "its", "its", "unknown", "none"])
    event = _event(
        f"{decision.request_id}-{position}",
        _TYPES[rng.integers(len(_TYPES))],
        decision.user_id,
        item_id if rng.random() < 0.95 else "item-not-shown",
        decision.ts + delay_ms,
        {"its": decision.request_id, "unknown": "request-of-nobody", "none": None}[request_id],
    )
    yield from _published(event, int(rng.exponential(500)), rng)


def _published(event: Event, late_ms: int, rng: np.random.Generator) -> Iterator[_Timed]:
    """An event, and in some cases its repeat."""
    for again in range(1 + (rng.random() < 0.03)):
        published_ms = event.ts + late_ms + again * int(rng.integers(10_000))
        yield published_ms, Message(message_key(event), encode(event))


def _event(
    event_id: str,
    type_: str,
    user_id: str,
    item_id: str,
    ts: int,
    request_id: str | None = None,
) -> Event:
    return Event(
        event_id=event_id,
        type=type_,
        user_id=user_id,
        item_id=item_id,
        ts=ts,
        request_id=request_id,
    )


def _decision(
    request_id: str, user_id: str, ts: int, names: list[str], rng: np.random.Generator
) -> Decision:
    candidates = [f"item-{item}" for item in rng.choice(_N_ITEMS, _N_CANDIDATES, replace=False)]
    known = names if rng.random() > 0.02 else names[:-1]  # by a scorer configured otherwise
    features = rng.normal(size=(_N_CANDIDATES, len(known))).astype(np.float32)
    features[:, 0] = 1.0
    return Decision(
        request_id=request_id,
        user_id=user_id,
        ts=ts,
        items=candidates[2 : 2 + _K],
        positions=list(range(_K)),
        propensities=[0.5] * _K,
        policy="greedy",
        policy_parameters={"form": "disjoint"},
        seed=1,
        model_version="p0:1",
        candidates=candidates,
        feature_names=known,
        features=pack_features(features),
        expected=[0.1] * _K,
    )
