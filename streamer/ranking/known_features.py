"""Where values of the configured features come from, while a request is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.events import FeatureEntity
from streamer_models.state.table import Keys


class FeatureSource(Protocol):
    """What is known of entities at a time; answers alike from start to end of a request."""

    def values(
        self, entity: FeatureEntity, keys: Keys, names: Sequence[str], at_ms: int
    ) -> NDArray[np.float64]:
        """``(len(keys), len(names))`` values of features at a time, NaN where missing; ``keys``
        are :func:`streamer_models.state.ids.id_table.id_key` of the entities' ids."""

    def top(self, name: str, n: int, at_ms: int) -> Keys:
        """At most ``n`` keys of the entities with the largest values of a feature then, of a
        recency with the smallest; the best first, equal ones in the order of their keys."""


class _NothingKnown:
    """Everything is missing: nobody computes features, or nobody follows them."""

    def values(
        self, entity: FeatureEntity, keys: Keys, names: Sequence[str], at_ms: int
    ) -> NDArray[np.float64]:
        return np.full((len(keys), len(names)), np.nan)

    def top(self, name: str, n: int, at_ms: int) -> Keys:
        return np.zeros(0, dtype=np.uint64)


NOTHING_KNOWN: Final[FeatureSource] = _NothingKnown()
