"""What a request says of its circumstances: configured values, and fields that are hashed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamer.events import Request
from streamer.ranking.columns.family import Block, Column, Family, crossed
from streamer.ranking.context import context_texts
from streamer.ranking.scored import ScoredCandidates
from streamer_models.state.ids.id_table import id_key


class RequestContextColumns(Family):
    """``bandit.context`` and ``bandit.context_hashed``, crossed with the channels."""

    def describe(self) -> Sequence[Column]:
        bandit = self.config.bandit
        n_buckets = bandit.hash_buckets if bandit.context_hashed else 0
        names = (*bandit.context, *(f"hashed_{bucket}" for bucket in range(n_buckets)))
        return [
            Column(
                crossed(name, channel),
                f"{channel.column('z')} where the request says so, 0 elsewhere",
            )
            for name in names
            for channel in self.channels
            if channel.crossed
        ]

    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        values = self._values(scored.context.request)
        shape = (len(values), *scored.crossed.shape)
        np.multiply(values[:, None, None], scored.crossed, out=out.reshape(shape))

    def _values(self, request: Request) -> Block:
        bandit, given = self.config.bandit, context_texts(request)
        n_values, n_buckets = len(bandit.context), bandit.hash_buckets
        values = np.zeros(n_values + (n_buckets if bandit.context_hashed else 0), dtype=np.float32)
        for i, feature in enumerate(bandit.context):
            field, _, value = feature.partition("=")
            values[i] = given.get(field) == value
        for field in bandit.context_hashed:
            if field in given:
                bucket = id_key(f"{field}={given[field]}".encode()) % n_buckets
                values[n_values + bucket] += 1.0
        return values
