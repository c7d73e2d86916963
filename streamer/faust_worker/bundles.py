"""What events add to one partition of the windows' state, as it travels between workers.

An event's user, item and categories belong to different partitions of the state, so contributions
are sent on: in bundles, one for each batch of events and partition of the state. Each contribution
carries the partition and the offset of its event, which makes it recognizable when it comes twice.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.errors import BadMessage
from streamer.events import DEFAULT_TYPES, EventTypes, FeatureEntity
from streamer.events.messages import FUTURE_MS_MAX, TS_MS_END, Count, FeatureId, TsMs
from streamer.windows.entities import Contributions
from streamer_models.state.columns import Columns

BYTES_MAX: Final = 500_000
"""Of the ids in a bundle: with the numbers it stays below the 1 MB that a broker takes."""
_NUMBERS_BYTES: Final = 32
_NO_BOUND: Final = 1 << 62
_Source = Annotated[int, msgspec.Meta(ge=0)]
_KnownMs = Annotated[int, msgspec.Meta(ge=-1, lt=TS_MS_END)]


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Contributions to entities of one kind, in the order of their offsets."""

    entity: FeatureEntity
    offsets: list[Count]
    ids: list[FeatureId]
    types: list[int]
    ts_ms: list[TsMs]
    values: list[float | None]
    user_ids: list[str]


class Bundle(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message between workers.

    Attributes
    ----------
    source
        Partition of the events.
    latest_ms
        Latest event time of that partition up to here; -1: none yet.
    idle
        Whether nothing has come for a while, so that nothing waits for this partition.
    at_ms
        When the events were read, by the reader's clock; of an idle partition, when it had no more.
    added_types
        Event types beyond the default ones that the sender knows, by code: workers may be
        configured one after the other.
    """

    source: _Source
    latest_ms: _KnownMs
    idle: bool
    parts: list[Part]
    at_ms: _KnownMs = 0
    added_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Received(Columns):
    """Contributions to entities of one kind as they came.

    Attributes
    ----------
    sources, offsets
        ``(n,)`` partition and offset of the event of each.
    """

    contributions: Contributions
    sources: NDArray[np.int64]
    offsets: NDArray[np.int64]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Bundle)


def partition_of_entity(entity: FeatureEntity, entity_id: str, n_partitions: int) -> int:
    """Where the state of an entity is kept.

    >>> partition_of_entity("item", "i7", 4)
    3
    """
    return zlib.crc32(f"{entity}:{entity_id}".encode()) % n_partitions


def encode_bundle(bundle: Bundle) -> bytes:
    return _encoder.encode(bundle)


def decode_bundle(
    payload: bytes | None, *, n_partitions: int = _NO_BOUND, publish_ms: int = -1
) -> Bundle:
    """Raise BadMessage for what is none: another program writes to the topic.

    ``publish_ms``: when it was published, negative where unknown. A time long after it would close
    windows for all.
    """
    try:
        bundle = _decoder.decode(payload or b"")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMessage(f"message: is no bundle of contributions ({error})") from error
    if bundle.source >= n_partitions:
        raise BadMessage(
            f"message: source {bundle.source} is none of the {n_partitions} partitions of the"
            " events; run all workers with the same topics.partitions"
        )
    n_types = len(DEFAULT_TYPES) + len(bundle.added_types)
    for part in bundle.parts:
        lengths = {
            len(each)
            for each in (
                part.offsets, part.ids, part.types, part.ts_ms, part.values, part.user_ids
            )
        }  # fmt: skip
        if len(lengths) > 1:
            raise BadMessage(f"message: columns of {sorted(lengths)} lengths; send equal ones")
        if not all(0 <= code < n_types for code in part.types):
            raise BadMessage(f"message: codes of event types go from 0 to {n_types - 1} here")
        if part.offsets != sorted(part.offsets):
            raise BadMessage("message: offsets of a part fall; send them in their order")
        if not all(value is None or math.isfinite(value) for value in part.values):
            raise BadMessage("message: a value is not a finite number; send finite ones")
    of_events_ms = (max(part.ts_ms, default=0) for part in bundle.parts)
    latest_ms = max(bundle.latest_ms, bundle.at_ms, *of_events_ms)
    if publish_ms >= 0 and latest_ms - FUTURE_MS_MAX > publish_ms:
        raise BadMessage(
            f"message: {latest_ms} is over a day after its publish time {publish_ms}; set the clock"
            " of the worker that sent it"
        )
    return bundle


def rising(bundles: Iterable[Bundle]) -> Iterator[list[Bundle]]:
    """Bundles in groups in which nothing comes twice: a source's offsets rise in each group."""
    group: list[Bundle] = []
    reached: dict[int, int] = {}
    for bundle in bundles:
        offsets = [part.offsets for part in bundle.parts if part.offsets]
        if offsets:
            if min(each[0] for each in offsets) <= reached.get(bundle.source, -1):
                yield group
                group, reached = [], {}
            reached[bundle.source] = max(each[-1] for each in offsets)
        group.append(bundle)
    yield group


def received(bundles: Iterable[Bundle], types: EventTypes) -> Iterator[Received]:
    """Contributions of bundles by kind of entity, in the codes of ``types``.

    What is of a type that is not known here is left out: nothing here counts it.
    """
    by_entity: dict[FeatureEntity, list[tuple[int, Part]]] = {}
    for bundle in bundles:
        same = bundle.added_types == types.added
        for part in bundle.parts:
            part = part if same else _recoded(part, bundle.added_types, types)
            by_entity.setdefault(part.entity, []).append((bundle.source, part))
    for entity, given in by_entity.items():
        parts = [part for _, part in given]
        ids = [each for part in parts for each in part.ids]
        yield Received(
            Contributions(
                entity,
                np.arange(len(ids), dtype=np.int32),
                ids,
                np.array([each for part in parts for each in part.types], np.int8),
                np.array([each for part in parts for each in part.ts_ms], np.int64),
                # None becomes NaN.
                np.array([each for part in parts for each in part.values], np.float64),
                [each for part in parts for each in part.user_ids],
            ),
            np.repeat([source for source, _ in given], [len(part.ids) for part in parts]),
            np.array([each for part in parts for each in part.offsets], np.int64),
        )


def _recoded(part: Part, added_types: Sequence[str], types: EventTypes) -> Part:
    names = (*DEFAULT_TYPES, *added_types)
    codes = [types.codes.get(names[code], -1) for code in part.types]
    at = [i for i, code in enumerate(codes) if code >= 0]
    columns = {name: getattr(part, name) for name in part.__struct_fields__[1:]}
    chosen = {name: [column[i] for i in at] for name, column in columns.items()}
    return Part(part.entity, **{**chosen, "types": [codes[i] for i in at]})


def as_part(given: Contributions, offsets: NDArray[np.int64], at: Sequence[int]) -> Part:
    """Some of a batch's contributions; ``offsets``: of the batch's events."""
    return Part(
        given.entity,
        offsets[given.places[at]].tolist(),
        [given.ids[i] for i in at],
        given.types[at].tolist(),
        given.ts_ms[at].tolist(),
        [None if value != value else value for value in given.values[at].tolist()],
        [given.user_ids[i] for i in at],
    )


def split(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts in bundles that a broker takes; offsets still rise from one bundle to the next."""
    if sum(map(_n_bytes, parts)) <= BYTES_MAX:
        return [list(parts)]
    halves: list[list[Part]] = [[], []]
    ordered = sorted({offset for part in parts for offset in part.offsets})
    if len(ordered) < 2:
        return [[part] for part in parts]
    middle = ordered[len(ordered) // 2]
    for part in parts:
        n_low = sum(offset < middle for offset in part.offsets)
        columns = [getattr(part, name) for name in part.__struct_fields__[1:]]
        for half, chosen in zip(halves, (slice(0, n_low), slice(n_low, None)), strict=True):
            half.append(Part(part.entity, *(column[chosen] for column in columns)))
    return [bundle for half in halves for bundle in split(half)]


def _n_bytes(part: Part) -> int:
    texts = (*part.ids, *part.user_ids)
    return len("".join(texts).encode()) + _NUMBERS_BYTES * len(part.ids)
