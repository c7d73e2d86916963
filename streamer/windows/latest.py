"""What a reader of the `features` topic knows: the latest value of each feature, and how old it is.

A value is as old as its window's end, and one that is older than its feature's ``stale_after`` is
missing, not zero: NaN. So is a value from a window that ends after the time that is asked about,
which only a clock that runs behind can meet.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.config import FeatureDefinition
from streamer.errors import BadMessage
from streamer.events import FeatureEntity, decode_keyed_feature_value
from streamer.protocols import MessageBatch
from streamer.windows.value_table import GONE, ValueTable, largest
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.table import Keys

VALUES_MAX: Final = 5_000_000
"""Bound of known values, some 70 B each; those that came longest ago are forgotten, counted."""
_NEVER_MS: Final = 1 << 62
Reject = Callable[[MessageBatch, int, str], None]
"""Takes a batch, the place of a bad message in it, and the reason."""


def no_letter(batch: MessageBatch, index: int, reason: str) -> None:
    """Let it be counted alone."""


class FeaturesReader(Protocol):
    """Reads the features topic from its start, without a group; its batches carry keys."""

    @property
    def positions(self) -> dict[tuple[str, int], int]: ...

    def end_offsets(self) -> dict[tuple[str, int], int]: ...

    def poll(self, *, n_max: int, timeout_s: float) -> list[MessageBatch]: ...


@dataclass(frozen=True, slots=True)
class KnownFeature:
    """One feature of one entity; ``age_s`` is since its window's end, ``stale``: it is missing."""

    name: str
    entity: FeatureEntity
    value: float
    window_start_ms: int
    window_end_ms: int
    age_s: float
    stale: bool


class LatestFeatures:
    """Follows the topic and answers what is known of entities.

    Parameters
    ----------
    definitions
        What is kept; values of other features are passed over.
    values_max
        Bound of the values of all of them.

    Attributes
    ----------
    lock
        One thread may follow while another reads: what is known changes under this lock alone, so
        whoever holds it gets the same answers for as long.
    n_rejected
        Messages that are no features, passed over.
    """

    def __init__(
        self, definitions: Sequence[FeatureDefinition], *, values_max: int = VALUES_MAX
    ) -> None:
        self.lock = threading.Lock()
        self.n_rejected = 0
        self._definitions = list(definitions)
        self._places = {each.name: place for place, each in enumerate(self._definitions)}
        self._table = ValueTable(len(self._definitions), rows_max=values_max)
        self._tops: dict[int, _Top] = {}

    def __len__(self) -> int:
        return len(self._table)

    @property
    def n_forgotten(self) -> int:
        """Values forgotten at ``values_max``."""
        return self._table.n_forgotten

    # --- following -------------------------------------------------------------------------------

    def load(
        self,
        reader: FeaturesReader,
        *,
        stopped: Callable[[], bool] = lambda: False,
        reject: Reject = no_letter,
    ) -> None:
        """Read all that is there now, unless ``stopped``."""
        ends = reader.end_offsets()
        while any(reader.positions.get(where, 0) < end for where, end in ends.items()):
            if stopped():
                return
            self.follow(reader, n_max=10_000, timeout_s=1.0, reject=reject)

    def follow(
        self,
        reader: FeaturesReader,
        *,
        n_max: int,
        timeout_s: float,
        reject: Reject = no_letter,
    ) -> int:
        """Take up to ``n_max`` messages; the number taken. Bad ones are told to ``reject``."""
        batches = reader.poll(n_max=n_max, timeout_s=timeout_s)
        for batch in batches:
            self.take(
                batch.keys,
                batch.values,
                batch.publish_ms.tolist(),
                reject=functools.partial(reject, batch),
            )
        return sum(map(len, batches))

    def take(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        publish_ms: Sequence[int] | None = None,
        *,
        reject: Callable[[int, str], None] = lambda index, reason: None,
    ) -> None:
        """Take messages of the topic, in their order; what is none is counted, and told.

        Features that are not followed are passed over.
        """
        published = [-1] * len(values) if publish_ms is None else publish_ms
        by_feature: dict[int, list[tuple[int, float, int, int]]] = {}
        messages = zip(keys, values, published, strict=True)
        for index, (key, value, at_ms) in enumerate(messages):
            try:
                if value is None:
                    name, entity_id = _key_parts(key)
                else:
                    found = decode_keyed_feature_value(key, value, publish_ms=at_ms)
            except BadMessage as error:
                self.n_rejected += 1
                reject(index, str(error))
                continue
            if value is None:
                place = self._places.get(name)
                told = (id_key(entity_id), 0.0, 0, GONE)
            else:
                place = self._places.get(found.name)
                if place is not None and self._definitions[place].entity != found.entity:
                    continue  # of a time when it was defined otherwise
                told = (
                    id_key(found.id.encode()),
                    found.value,
                    found.window_start,
                    found.window_end,
                )
            if place is not None:
                by_feature.setdefault(place, []).append(told)
        with self.lock:
            for place, rows in by_feature.items():
                of_entity, value_of, starts, ends = zip(*rows, strict=True)
                self._table.put(
                    place,
                    np.array(of_entity, np.uint64),
                    np.array(value_of, np.float64),
                    np.array(starts, np.int64),
                    np.array(ends, np.int64),
                )
            self._table.forget_oldest()

    # --- what is known ---------------------------------------------------------------------------

    def values(
        self, entity: FeatureEntity, keys: Keys, names: Sequence[str], at_ms: int
    ) -> NDArray[np.float64]:
        """``(len(keys), len(names))`` values at a time; NaN where missing or stale.

        Parameters
        ----------
        keys
            ``(n,)`` uint64, :func:`streamer_models.state.ids.id_table.id_key` of the ids.

        Raises
        ------
        ValueError
            For a name that is no feature of this kind of entity.
        """
        found = np.empty((len(names), len(keys)))
        for row, name in zip(found, names, strict=True):
            place = self._place(name, entity)
            stale_after_ms = self._definitions[place].stale_after_ms
            row[:] = self._table.read(place, keys, at_ms, stale_after_ms=stale_after_ms)
        return found.T

    def top(self, name: str, n: int, at_ms: int) -> Keys:
        """At most ``n`` keys of the entities with the largest values of a feature at a time.

        The largest comes first, and equal ones in the order of their keys. Looked for anew only
        when a value has changed, or one has become too old.
        """
        place = self._places[name]
        kept = self._tops.get(place)
        if kept is None or not kept.holds(self._table.n_put(place), n, at_ms):
            stale_after_ms = self._definitions[place].stale_after_ms
            kept = self._tops[place] = _top(self._table, place, n, at_ms, stale_after_ms)
        return kept.keys[:n]

    def newest_end_ms(self) -> dict[str, int]:
        """Feature → end of the newest window that it had a value of; those that never had, left
        out."""
        ends = self._table.newest_end_ms.tolist()
        known = zip(self._definitions, ends, strict=True)
        return {each.name: end for each, end in known if end >= 0}

    def about(self, entity: FeatureEntity, entity_id: str, at_ms: int) -> list[KnownFeature]:
        """All that is known of one entity, stale values among them."""
        found = []
        key = id_key(entity_id.encode())
        for place, definition in enumerate(self._definitions):
            known = self._table.one(place, key)
            if known is not None and definition.entity == entity:
                value, start_ms, end_ms = known
                age_ms = at_ms - end_ms
                stale = not 0 <= age_ms <= definition.stale_after_ms
                found.append(
                    KnownFeature(
                        definition.name, entity, value, start_ms, end_ms, age_ms / 1000, stale
                    )
                )
        return found

    def _place(self, name: str, entity: FeatureEntity) -> int:
        place = self._places.get(name, -1)
        if place < 0 or self._definitions[place].entity != entity:
            known = [each.name for each in self._definitions if each.entity == entity]
            raise ValueError(
                f"{name!r} is no feature of entity {entity!r}; there are"
                f" {', '.join(known) or 'none'}"
            )
        return place


@dataclass(frozen=True, slots=True)
class _Top:
    """The largest values of a feature, as long as it stays so."""

    keys: Keys
    n_asked: int
    n_put: int
    from_ms: int
    until_ms: int

    def holds(self, n_put: int, n: int, at_ms: int) -> bool:
        return n_put == self.n_put and n <= self.n_asked and self.from_ms <= at_ms <= self.until_ms


def _top(table: ValueTable, place: int, n: int, at_ms: int, stale_after_ms: int) -> _Top:
    keys, values, ends_ms = table.all_of(place)
    # Each value may be used from its window's end until it is too old: when that changes for one.
    edges_ms = np.concatenate([ends_ms, ends_ms + stale_after_ms + 1])
    usable = (ends_ms <= at_ms) & (at_ms <= ends_ms + stale_after_ms)
    return _Top(
        largest(keys[usable], values[usable], n),
        n,
        table.n_put(place),
        int(edges_ms[edges_ms <= at_ms].max(initial=0)),
        int(edges_ms[edges_ms > at_ms].min(initial=_NEVER_MS)) - 1,
    )


def _key_parts(key: bytes | None) -> tuple[str, bytes]:
    """Name of the feature, and id of the entity, of a tombstone.

    Raises
    ------
    BadMessage
        When the key is none.
    """
    name, colon, entity_id = (key or b"").partition(b":")
    try:
        if colon:
            return name.decode(), entity_id
    except UnicodeDecodeError:
        pass
    raise BadMessage(f"key {key!r} of a tombstone is no feature's; send name:id in UTF-8")
