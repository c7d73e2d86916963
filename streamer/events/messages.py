"""The messages on the topics: typed, frozen, encoded as one JSON object each.

Decoding and validating live in :mod:`streamer.events.decoding`. Unknown fields are kept out, every
optional field may be absent or null, and an absent ``v`` means schema version 1.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.errors import BadMessage
from streamer.events.types import DEFAULT_TYPES, TYPE_NAME_MAX

SCHEMA_VERSION: Final = 1
ID_BYTES_MAX: Final = 256
EVENT_BYTES_MAX: Final = 65_536
"""Bound of an event, of an item and of a user."""
MESSAGE_BYTES_MAX: Final = 1_000_000
"""Bound of every other message: what a Kafka broker takes by default (1,048,588), less headers."""
TS_MS_END: Final = 4_102_444_800_000
"""2100-01-01: a time beyond it was sent in microseconds or is absurd."""
IN_SECONDS: Final = (500_000_000, 4_200_000_000)
"""Times of 1985 to 2103 in seconds since 1970."""
FUTURE_MS_MAX: Final = 86_400_000
"""How far an event's time may lie after its publish time, as of which it counts then: clocks are a
day off at worst."""
AHEAD_MS_MIN: Final = 1_000
"""From how far after its publish time on an event is counted as ahead: clocks in step differ by
less."""
TIMEOUT_MS_MAX: Final = 600_000
"""How long a request may say that its answer is waited for."""
CONTEXT_KEYS_MAX: Final = 64
ROWS_MAX: Final = 16
"""Rows of a request: 16 of 5 ms each are 80 ms in which the scorer answers nobody else."""
CHOSEN_MAX: Final = 16
"""Categories that a user chooses at most."""
PINS_MAX: Final = 50
OBJECTIVES_MAX: Final = 16
"""Positions that a request, or a row, fixes."""
AFTER_MAX: Final = 5_400
"""Characters that say what the pages before show: 500 items of 8 B in base64."""
FILTER_MAX: Final = 1_000
"""Characters of a request's filter."""
EMBEDDING_MAX: Final = 2_048
"""Numbers of an item's embedding: at some 20 B each they fit into an item's message."""
RAW_BYTES_KEPT: Final = 524_288
"""Bytes of a bad message that its dead letter carries: 700 kB in base64, which a broker takes."""

NUMBER_MAX: Final = 1e18
"""Of numbers that are added up: a billion of them are still a number, in float32 too."""

Id = Annotated[str, Meta(min_length=1, max_length=ID_BYTES_MAX)]
"""An external id: 1 to 256 bytes of UTF-8 (the bound on bytes is checked on decode)."""
Label = Annotated[str, Meta(min_length=1, max_length=256)]
TypeName = Annotated[str, Meta(min_length=1, max_length=TYPE_NAME_MAX)]
TsMs = Annotated[int, Meta(ge=0, lt=TS_MS_END)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Position = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Number = Annotated[float, Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
FeatureId = Annotated[str, Meta(min_length=1, max_length=4_096)]
"""An id, or a user's id and a category in one JSON array."""
FeatureEntity = Literal["user", "item", "category", "user_category", "surface", "global"]
ListName = Literal["popular", "trending", "latest"]
Flat = Annotated[dict[str, str | int | float | bool], Meta(max_length=CONTEXT_KEYS_MAX)]
"""A flat object: string → string, finite number or bool."""
WhyEmpty = Annotated[str, Meta(max_length=16_384)]
VariantNames = Annotated[dict[Label, Label], Meta(max_length=CONTEXT_KEYS_MAX)]
"""Experiment → variant."""
SHADOWS_MAX: Final = 64
"""Shadow variants of one decision."""
Version = Annotated[Literal[1], Meta(description="schema version")]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all messages.

    ``gc=False``: messages hold no cycles, and a batch of thousands would wake the collector.
    """


class Event(Message, frozen=True, kw_only=True):
    """What a user did with an item. Topic `events`, key `user_id`."""

    event_id: Annotated[Id, Meta(description="unique; a repeat within the window is dropped")]
    type: Annotated[
        TypeName,
        Meta(
            description=f"what the user did: {', '.join(DEFAULT_TYPES)}, or a type that the"
            " configuration adds (`[events.NAME]`)"
        ),
    ]
    user_id: Annotated[Id, Meta(description="who did it")]
    item_id: Annotated[Id, Meta(description="with what")]
    ts: Annotated[TsMs, Meta(description="event time, ms since 1970")]
    request_id: Annotated[
        Id | None, Meta(description="the request whose recommendation was acted on")
    ] = None
    position: Annotated[Position | None, Meta(description="slot the item was shown in, from 0")] = (
        None
    )
    value: Annotated[
        float | None, Meta(description="finite: watched fraction, rating, amount …")
    ] = None
    context: Annotated[Flat | None, Meta(description="device, surface, hour …")] = None
    v: Version = 1


class Item(Message, frozen=True, kw_only=True):
    """What can be recommended. Topic `items` (compacted), key `item_id`; a null value deletes
    it, and what was learned of it."""

    item_id: Id
    title: Annotated[str, Meta(max_length=1024)] | None = None
    categories: Annotated[list[Label], Meta(max_length=64)] | None = None
    tags: Annotated[list[Label], Meta(max_length=256)] | None = None
    created_ts: Annotated[
        TsMs | None,
        Meta(description="when it came or comes out, ms since 1970: not recommended before"),
    ] = None
    expires_ts: Annotated[
        TsMs | None, Meta(description="not recommended from then on, ms since 1970")
    ] = None
    available: Annotated[bool, Meta(description="false: known, but not recommended")] = True
    attributes: Flat | None = None
    embedding: Annotated[
        Annotated[list[Number], Meta(min_length=1, max_length=EMBEDDING_MAX)] | None,
        Meta(description="vector of the item, by a model of its text or image; not all 0"),
    ] = None
    v: Version = 1


class User(Message, frozen=True, kw_only=True):
    """What a user says of themselves, as at sign-up. Topic `users` (compacted), key `user_id`; a
    null value erases the user."""

    user_id: Id
    categories: Annotated[
        Annotated[list[Label], Meta(max_length=CHOSEN_MAX)] | None,
        Meta(description="of items, that the user chose"),
    ] = None
    attributes: Annotated[Flat | None, Meta(description="for rules and filters: `user.NAME`")] = (
        None
    )
    ts: Annotated[TsMs | None, Meta(description="when it was said, ms since 1970")] = None
    v: Version = 1


class Pin(Message, frozen=True, kw_only=True):
    """An item at a position that nothing chose: a sponsored one, an editor's."""

    position: Annotated[
        int,
        Meta(
            ge=0,
            lt=500,
            description="place in the list, from 0; behind its end: the last that no other pin has",
        ),
    ]
    item_id: Annotated[Id, Meta(description="shown there, and nowhere else in the answer")]
    reason: Annotated[Label | None, Meta(description="what the answer says; absent: `pinned`")] = (
        None
    )


class SlateRequest(Message, frozen=True, kw_only=True):
    """What a request, or a row of one, asks for."""

    k: Annotated[
        Annotated[int, Meta(ge=1, le=500)] | None,
        Meta(description="items wanted; absent: what the scorer is configured for"),
    ] = None
    surface: Annotated[Label | None, Meta(description="where the list is shown")] = None
    candidates: Annotated[
        Annotated[list[Id], Meta(max_length=10_000)] | None,
        Meta(description="choose among these alone; absent or empty: among all items"),
    ] = None
    exclude: Annotated[
        Annotated[list[Id], Meta(max_length=10_000)] | None, Meta(description="never these")
    ] = None
    seed_items: Annotated[
        Annotated[list[Id], Meta(max_length=64)] | None,
        Meta(
            description="what goes with these, the most important one first, and not with what the"
            " user met last: more like this, a basket"
        ),
    ] = None
    list_name: Annotated[
        ListName | None,
        Meta(
            description="what is popular, trending or latest, the same for whoever asks; it makes"
            " no decision"
        ),
    ] = None
    filter: Annotated[
        Annotated[str, Meta(min_length=1, max_length=FILTER_MAX)] | None,
        Meta(
            description="items alone for which this is true: an expression in CEL over `item` and"
            " `request`, such as `'news' in item.categories`"
        ),
    ] = None
    pinned: Annotated[
        Annotated[list[Pin], Meta(max_length=PINS_MAX)] | None,
        Meta(description="items at fixed positions, whatever would be chosen there"),
    ] = None


class RequestRow(SlateRequest, frozen=True, kw_only=True):
    """One row of a request: the items of rows above it are not in it."""

    name: Annotated[Label, Meta(description="unique in the request; the answer carries it")]


class Request(SlateRequest, frozen=True, kw_only=True):
    """Ask for recommendations. Topic `requests`, key `user_id`."""

    request_id: Annotated[Id, Meta(description="unique; the answer carries it")]
    user_id: Id
    ts: Annotated[TsMs, Meta(description="time of asking, ms since 1970")]
    context: Flat | None = None
    rows: Annotated[
        Annotated[list[RequestRow], Meta(min_length=1, max_length=ROWS_MAX)] | None,
        Meta(
            description="several lists at once, the one shown first first, no item twice; each is"
            " answered as a request of its own, with the id `REQUEST_ID/NAME`, and has what it"
            " leaves out (but `seed_items`, `list_name` and `pinned`) from the request"
        ),
    ] = None
    after: Annotated[
        Annotated[str, Meta(max_length=AFTER_MAX, pattern="^[A-Za-z0-9_-]*$")] | None,
        Meta(
            description="a page of a longer list: `next` of the answer before, none of whose items"
            " come again; empty: the first page"
        ),
    ] = None
    preview: Annotated[
        bool, Meta(description="only to look at: it makes no decision, so it teaches nothing")
    ] = False
    timeout_ms: Annotated[
        Annotated[int, Meta(ge=1, le=TIMEOUT_MS_MAX)] | None,
        Meta(description="how long an answer is waited for; absent: a minute"),
    ] = None
    v: Version = 1

    @property
    def decides(self) -> bool:
        """Whether the answer is a decision, which is logged and learned from."""
        return not self.preview and self.list_name is None


class RecommendedItem(Message, frozen=True, kw_only=True):
    """One place of a recommendation."""

    item_id: Id
    rank: Annotated[Position, Meta(description="place in the list, from 0")]
    score: Annotated[
        float,
        Meta(
            description="reward expected of the item; of a list what it is in order of; 0 of a"
            " pinned one"
        ),
    ]
    reason: Annotated[
        str, Meta(max_length=256, description="why: the channel that brought it, in words")
    ]
    because: Annotated[
        Id | None, Meta(description="the item, of the user or of `seed_items`, that speaks for it")
    ] = None


class RecommendedRow(Message, frozen=True, kw_only=True):
    """One row of a recommendation."""

    name: Annotated[Label, Meta(description="as asked for")]
    request_id: Annotated[Id, Meta(description="what feedback on its items names")]
    items: Annotated[list[RecommendedItem], Meta(max_length=500, description="best first")]
    list_name: Annotated[ListName | None, Meta(description="as asked for")] = None
    why_empty: Annotated[
        WhyEmpty | None,
        Meta(
            description="why there is no item: what rules and the filter kept out, and of"
            " candidates also which are unknown"
        ),
    ] = None
    note: Annotated[
        WhyEmpty | None,
        Meta(description="what the answer is not, though it was asked for: `seed_items` unknown"),
    ] = None


class Recommendation(Message, frozen=True, kw_only=True):
    """The answer to a request, for subscribers. Topic `recommendations`, key `user_id`."""

    request_id: Id
    user_id: Id
    ts: Annotated[TsMs, Meta(description="time of answering, ms since 1970")]
    items: Annotated[
        list[RecommendedItem],
        Meta(max_length=500, description="best first; of a request with rows none"),
    ]
    model_version: Annotated[str, Meta(max_length=256, description="parameters scored with")]
    rows: Annotated[
        Annotated[list[RecommendedRow], Meta(max_length=ROWS_MAX)] | None,
        Meta(description="as asked for, in that order"),
    ] = None
    next: Annotated[
        Annotated[str, Meta(max_length=AFTER_MAX)] | None,
        Meta(
            description="`after` of the next page; absent where no page was asked for, or there is"
            " no more"
        ),
    ] = None
    preview: Annotated[bool, Meta(description="as asked for: there is no decision")] = False
    list_name: Annotated[ListName | None, Meta(description="as asked for")] = None
    why_empty: Annotated[
        WhyEmpty | None,
        Meta(
            description="why there is no item: what rules and the filter kept out, and of"
            " candidates also which are unknown"
        ),
    ] = None
    note: Annotated[
        WhyEmpty | None,
        Meta(description="what the answer is not, though it was asked for: `seed_items` unknown"),
    ] = None
    variants: Annotated[
        VariantNames | None, Meta(description="of the experiments that the user takes part in")
    ] = None
    v: Version = 1


class Shadow(Message, frozen=True, kw_only=True):
    """What a shadow variant would have shown in place of a decision's items; nobody saw it."""

    experiment: Label
    variant: Label
    items: Annotated[list[Id], Meta(max_length=500, description="ids, best first")]
    propensities: Annotated[
        list[Annotated[float, Meta(ge=0, le=1)]],
        Meta(
            max_length=500,
            description="of each item of the decision, the probability that its slot would have got"
            " it, given the slots before it as they are shown",
        ),
    ]
    settings: Annotated[
        Flat | None, Meta(description="as those of the decision, of the shadow variant")
    ] = None


ANYBODY: Final = "anybody"
"""The user of a request that names none: many people, who are no user of an experiment."""


class Decision(Message, frozen=True, kw_only=True):
    """The same answer, for learning and evaluation. Topic `decisions`, key `user_id`."""

    request_id: Id
    user_id: Id
    ts: TsMs
    items: Annotated[
        list[Id], Meta(max_length=500, description="ids in the order shown, without pinned ones")
    ]
    positions: Annotated[
        list[Position], Meta(max_length=500, description="slot of each item, of those chosen")
    ]
    propensities: Annotated[
        list[Annotated[float, Meta(gt=0, le=1)]],
        Meta(max_length=500, description="probability that the slot got this item"),
    ]
    policy: Annotated[Label, Meta(description="what drew the slate")]
    policy_parameters: Flat
    seed: Annotated[Count, Meta(description="of the draw")]
    model_version: Annotated[str, Meta(max_length=256)]
    candidates: Annotated[list[Id], Meta(max_length=10_000, description="ids chosen from")]
    feature_names: Annotated[list[Label], Meta(max_length=256)]
    features: Annotated[
        bytes,
        Meta(description="base64 of little-endian float32, candidates x feature_names, row by row"),
    ]
    expected: Annotated[
        Annotated[list[Number], Meta(max_length=500)] | None,
        Meta(description="reward that the policy expected of each item"),
    ] = None
    explored: Annotated[
        Annotated[list[bool], Meta(max_length=500)] | None,
        Meta(description="whether chance, not the ranking, filled the slot"),
    ] = None
    policy_state: Annotated[
        bytes | None,
        Meta(
            description="base64 of little-endian float64: all that the policy drew with beside the "
            "features, its parameters and the seed"
        ),
    ] = None
    boosts: Annotated[
        bytes | None,
        Meta(
            description="base64 of little-endian float64: what rules added to each candidate before"
            " the draw; absent: nothing"
        ),
    ] = None
    slate_names: Annotated[
        Annotated[list[Label], Meta(max_length=256)] | None,
        Meta(description="of what the blend's learning from slates needs of each item shown"),
    ] = None
    slate: Annotated[
        bytes | None,
        Meta(description="base64 of little-endian float32, items x slate_names, row by row"),
    ] = None
    composition: Annotated[
        bytes | None,
        Meta(
            description="base64 of what the places asked of each other: groups of the candidates,"
            " the user's shares of them, and their likeness by embedding to what was placed;"
            " absent: nothing was composed"
        ),
    ] = None
    pinned: Annotated[
        Annotated[list[Pin], Meta(max_length=PINS_MAX)] | None,
        Meta(description="what stood among the items at which place, and was not chosen"),
    ] = None
    above: Annotated[
        Annotated[list[Id], Meta(max_length=8_000)] | None,
        Meta(description="of a row: what the rows above it show, which was no candidate"),
    ] = None
    channels: Annotated[
        Annotated[list[Label], Meta(max_length=500)] | None,
        Meta(description="recall channel that placed each item highest; `(none)`: none did"),
    ] = None
    surface: Annotated[Label | None, Meta(description="of the request")] = None
    context: Annotated[Flat | None, Meta(description="of the request")] = None
    variants: Annotated[
        VariantNames | None, Meta(description="of the experiments that the user takes part in")
    ] = None
    objectives: Annotated[
        Annotated[dict[Label, Number], Meta(max_length=OBJECTIVES_MAX)] | None,
        Meta(
            description="weights of the outcomes whose sum is `expected`; absent: rewards are",
        ),
    ] = None
    settings: Annotated[
        Flat | None,
        Meta(
            description="what was in effect of the keys that experiments change; lists as TOML"
            " writes them"
        ),
    ] = None
    shadows: Annotated[
        Annotated[list[Shadow], Meta(max_length=SHADOWS_MAX)] | None,
        Meta(description="shadow variants that were computed for it"),
    ] = None
    v: Version = 1

    def slate_matrix(self) -> NDArray[np.float32]:
        """``(n_items, n_slate_names)`` what the blend said of the items shown; read-only."""
        shape = (len(self.items), len(self.slate_names or ()))
        return np.frombuffer(self.slate or b"", dtype="<f4").reshape(shape)

    def feature_matrix(self) -> NDArray[np.float32]:
        """``(n_candidates, n_features)`` features the slate was drawn with; read-only."""
        shape = (len(self.candidates), len(self.feature_names))
        return np.frombuffer(self.features, dtype="<f4").reshape(shape)

    @property
    def pinned_at(self) -> tuple[int, ...]:
        """Positions of the pinned items, in the order logged."""
        return tuple(pin.position for pin in self.pinned or ())


class FeatureValue(Message, frozen=True, kw_only=True):
    """A feature at its window's end. Topic `features` (compacted), key `name:id`; null: no more."""

    entity: Annotated[FeatureEntity, Meta(description="what the id is of")]
    id: Annotated[
        FeatureId,
        Meta(description="of a user and a category: both, as a JSON array; of the whole: `*`"),
    ]
    name: Annotated[Label, Meta(description="of the feature, as configured")]
    value: Annotated[Number, Meta(description="a count, a sum or a ratio")]
    window_start: Annotated[TsMs, Meta(description="event time, ms since 1970")]
    window_end: Annotated[TsMs, Meta(description="first ms after the window")]
    computed_ts: Annotated[TsMs, Meta(description="when it was computed, ms since 1970")]
    v: Version = 1


class DeadLetter(Message, frozen=True, kw_only=True):
    """A message that could not be used. Topic `dead-letters`, key `topic:partition:offset`."""

    reason: Annotated[str, Meta(description="the field, its value and what to send instead")]
    topic: Annotated[str, Meta(max_length=256, description="where it came from")]
    partition: Count
    offset: Count
    raw: Annotated[
        bytes | None,
        Meta(
            description="base64 of its bytes, at most the first 512 KiB; null: it was a tombstone"
        ),
    ] = None
    n_bytes: Annotated[Count, Meta(description="size of the whole message")] = 0
    v: Version = 1


MESSAGES: Final[dict[str, type[Message]]] = {
    "event": Event,
    "item": Item,
    "user": User,
    "request": Request,
    "recommendation": Recommendation,
    "decision": Decision,
    "feature": FeatureValue,
    "dead-letter": DeadLetter,
}
"""Name of its schema file → message."""

_encoder = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """JSON of a message; fields at their default are left out.

    Raises
    ------
    BadMessage
        When it holds a number that is not finite or text that is not Unicode: JSON has neither.
        Other bounds are checked by the decoders and by ``encode_checked``.
    """
    try:
        payload = _encoder.encode(message)
    except UnicodeEncodeError as error:
        raise BadMessage(
            f"text {error.object[error.start :][:8]!a} holds half of a surrogate pair, which UTF-8 "
            "does not have; send whole characters"
        ) from error
    # The encoder writes NaN and infinities as null. Every nullable field defaults to None and is
    # left out then, so a null (or the word in some text) is the only sign that asks for a look.
    if b"null" in payload:
        _require_finite(msgspec.to_builtins(message), "")
    return payload


def _require_finite(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise BadMessage(f"field '{path}': {value} is not a finite number; send a finite one")
    if isinstance(value, dict):
        for key, inner in value.items():
            _require_finite(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _require_finite(inner, f"{path}[{i}]")


def feature_value_key(name: str, entity_id: str) -> bytes:
    """Kafka key of a :class:`FeatureValue`: names have no colon, so it can be taken apart.

    >>> feature_value_key("item_ctr_1h", "i7")
    b'item_ctr_1h:i7'
    """
    return f"{name}:{entity_id}".encode()


def message_key(message: Event | Item | User | Request | Recommendation | Decision) -> bytes:
    """Kafka key of a message: its ``user_id`` (of an item its ``item_id``) in UTF-8."""
    return (message.item_id if isinstance(message, Item) else message.user_id).encode()


def dead_letter(
    reason: str,
    *,
    topic: str,
    partition: int,
    offset: int,
    raw: bytes | None,
    n_raw_max: int = RAW_BYTES_KEPT,
) -> DeadLetter:
    """The dead letter of one message; ``raw`` is cut to ``n_raw_max`` bytes."""
    return DeadLetter(
        reason=reason,
        topic=topic,
        partition=partition,
        offset=offset,
        raw=None if raw is None else raw[:n_raw_max],
        n_bytes=0 if raw is None else len(raw),
    )


def pack_features(features: NDArray[np.float32]) -> bytes:
    """``(n, n_columns)`` float32 → ``Decision.features``, or ``Decision.slate``."""
    return np.ascontiguousarray(features, dtype="<f4").tobytes()


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (2020-12) of every message, by the name of its file in ``docs/messages``."""
    schemas = {}
    for name, message in MESSAGES.items():
        schema = msgspec.json.schema(message)
        schemas[name] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return schemas
