"""What a reader of the `features` topic knows: the latest value of each feature, and how old it is.

A value is as old as its window's end, and one that is older than its feature's ``stale_after`` is
missing, not zero: NaN. So is a value from a window that ends after the time that is asked about,
which only a clock that runs behind can meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.config import FeatureDefinition
from streamer.errors import BadMessage
from streamer.events import FeatureEntity, decode_feature_value
from streamer.protocols import MessageBatch

VALUES_MAX: Final = 5_000_000
"""Bound of known values, some 250 B each; the one that came longest ago is forgotten, counted."""


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
    """Follows the topic and answers what was known of entities; not for several threads.

    Attributes
    ----------
    n_rejected
        Messages that are no features, passed over.
    n_forgotten
        Values forgotten at ``values_max``.
    """

    def __init__(
        self, definitions: Sequence[FeatureDefinition], *, values_max: int = VALUES_MAX
    ) -> None:
        self.n_rejected = 0
        self.n_forgotten = 0
        self._definitions = {each.name: each for each in definitions}
        self._values_max = values_max
        self._known: dict[tuple[str, str], tuple[float, int, int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def load(self, reader: FeaturesReader) -> None:
        """Read all that is there now."""
        ends = reader.end_offsets()
        while any(reader.positions.get(where, 0) < end for where, end in ends.items()):
            self.follow(reader, n_max=10_000, timeout_s=1.0)

    def follow(self, reader: FeaturesReader, *, n_max: int, timeout_s: float) -> int:
        """Take up to ``n_max`` messages; the number taken."""
        batches = reader.poll(n_max=n_max, timeout_s=timeout_s)
        for batch in batches:
            for key, value in zip(batch.keys, batch.values, strict=True):
                self.apply(key, value)
        return sum(map(len, batches))

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take one message of the topic; what is none is counted."""
        if value is None:
            name, _, entity_id = (key or b"").decode(errors="replace").partition(":")
            self._known.pop((name, entity_id), None)
            return
        try:
            found = decode_feature_value(value)
        except BadMessage:
            self.n_rejected += 1
            return
        where = (found.name, found.id)
        before = self._known.get(where)
        if before is not None and found.window_end < before[2]:
            return  # a worker that had not heard of its end
        self._known.pop(where, None)
        self._known[where] = (found.value, found.window_start, found.window_end)
        if len(self._known) > self._values_max:
            del self._known[next(iter(self._known))]
            self.n_forgotten += 1

    def values(
        self, entity: FeatureEntity, ids: Sequence[str], names: Sequence[str], at_ms: int
    ) -> NDArray[np.float64]:
        """``(len(ids), len(names))`` values at a time; NaN where missing or stale.

        Raises
        ------
        ValueError
            For a name that is no feature of this kind of entity.
        """
        found = np.full((len(ids), len(names)), np.nan)
        for column, name in enumerate(names):
            definition = self._definition(name, entity)
            for row, entity_id in enumerate(ids):
                known = self._known.get((name, entity_id))
                if known is not None and not _stale(definition, known[2], at_ms):
                    found[row, column] = known[0]
        return found

    def ages_s(
        self, entity: FeatureEntity, ids: Sequence[str], names: Sequence[str], at_ms: int
    ) -> NDArray[np.float64]:
        """``(len(ids), len(names))`` seconds since each value's window ended; NaN: none is known.

        The largest one that :meth:`values` still uses is what a staleness metric should show.
        """
        found = np.full((len(ids), len(names)), np.nan)
        for column, name in enumerate(names):
            self._definition(name, entity)
            for row, entity_id in enumerate(ids):
                known = self._known.get((name, entity_id))
                if known is not None:
                    found[row, column] = (at_ms - known[2]) / 1000
        return found

    def about(self, entity: FeatureEntity, entity_id: str, at_ms: int) -> list[KnownFeature]:
        """All that is known of one entity, stale values among them."""
        found = []
        for name, definition in self._definitions.items():
            known = self._known.get((name, entity_id))
            if known is not None and definition.entity == entity:
                value, start_ms, end_ms = known
                age_s = (at_ms - end_ms) / 1000
                stale = _stale(definition, end_ms, at_ms)
                found.append(KnownFeature(name, entity, value, start_ms, end_ms, age_s, stale))
        return found

    def _definition(self, name: str, entity: FeatureEntity) -> FeatureDefinition:
        definition = self._definitions.get(name)
        if definition is None or definition.entity != entity:
            known = [each.name for each in self._definitions.values() if each.entity == entity]
            raise ValueError(
                f"{name!r} is no feature of entity {entity!r}; there are"
                f" {', '.join(known) or 'none'}"
            )
        return definition


def _stale(definition: FeatureDefinition, window_end_ms: int, at_ms: int) -> bool:
    return not 0 <= at_ms - window_end_ms <= definition.stale_after_ms
