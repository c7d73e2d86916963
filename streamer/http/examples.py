"""Bodies and answers as examples of the OpenAPI document; tests hold them against its schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EVENT: Final = {"type": "click", "user_id": "ann", "item_id": "tea"}
ITEM: Final = {"title": "Green tea", "categories": ["drinks"], "attributes": {"price": 3.5}}
USER: Final = {"categories": ["drinks", "cakes"], "attributes": {"country": "de"}}
ASKED: Final = {"user_id": "ann", "k": 3, "surface": "home"}
ASKED_ROWS: Final = {
    "user_id": "ann",
    "k": 3,
    "rows": [
        {"name": "for you"},
        {"name": "with your tea", "seed_items": ["tea"]},
        {"name": "new", "list_name": "latest"},
    ],
}
FEEDBACK: Final = {"request_id": "9f2c", "user_id": "ann", "item_id": "tea", "type": "click"}

ANSWERS: Final[Mapping[str, object]] = {
    "Recommendation": {
        "request_id": "9f2c",
        "user_id": "ann",
        "ts": 1795917561113,
        "items": [
            {
                "item_id": "cake",
                "rank": 0,
                "score": 0.05,
                "reason": "similar to Green tea",
                "because": "tea",
            },
            {"item_id": "milk", "rank": 1, "score": -0.05, "reason": "popular"},
        ],
        "model_version": "p0:2,p1:2,p2:2,p3:2",
    },
    "Explanation": {
        "user_id": "ann",
        "item_id": "juice",
        "k": 10,
        "is_known": True,
        "barred": None,
        "places": {"similar": 6, "popular": 2},
        "n_candidates": 10,
        "place": 6,
        "expected": -0.017,
        "expected_of_last": -0.088,
        "boost": 0.0,
        "boost_of_last": 0.0,
        "boosts": {},
        "blend": [
            {
                "column": "similar_low",
                "value": 0.135,
                "mean": 0.073,
                "weight": 0.223,
                "adds": 0.014,
            }
        ],
        "bandit": [],
        "objectives": {"click": 0.11, "purchase": 0.01},
    },
    "PublishResults": {
        "accepted": 1,
        "rejected": 1,
        "results": [
            {"index": 0, "status": 202, "event_id": "01817a90f4514fb8a42af95cde1ff5e0"},
            {
                "index": 1,
                "status": 422,
                "detail": "field 'user_id': missing; it is required",
                "field": "user_id",
            },
        ],
    },
    "Item": {"item_id": "tea", **ITEM},
    "User": {"user_id": "ann", **USER},
    "Health": {"status": "ok", "lacks": []},
    "Problem": {
        "type": "urn:streamer:problem:bad-message",
        "title": "The message can't be used",
        "status": 422,
        "detail": "field 'k': 0 is refused: expected `int` >= 1",
        "field": "k",
        "request_id": "d21fca8fbceb483eb42d2bc5cd1765d5",
    },
    "RankResponse": {
        "ranking": [
            {"id": "tea", "probability": 0.9867},
            {"id": "milk", "probability": 1.0},
        ],
        "eventId": "75269ad0",
        "rewardActionId": "tea",
    },
    "MetarankRanking": {
        "items": [{"item": "mug", "score": 0.0027}, {"item": "tea", "score": -0.9973}],
        "took": 45,
    },
    "MetarankAccepted": {"status": "ok", "accepted": 1, "updated": 1, "tookMillis": 5},
}
"""By the schema of what is answered."""
