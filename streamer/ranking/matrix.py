"""From the candidates of a request to the matrix that they are ranked by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamer.config import Config
from streamer.ranking.columns.registry import families
from streamer.ranking.features import Features
from streamer.ranking.recall.channel import Channel
from streamer.ranking.scored import ScoredCandidates
from streamer_models.bandits.linear_statistics import FEATURE_MAX


class RankingMatrix:
    """Computes the columns of a configuration.

    Parameters
    ----------
    channels
        Those that brought the candidates.

    Attributes
    ----------
    names
        Of the columns.
    """

    def __init__(self, config: Config, channels: Sequence[Channel[Any]]) -> None:
        self._blocks = []
        start = 0
        for family in families(config, channels):
            self._blocks.append((family, slice(start, start + len(family.columns))))
            start += len(family.columns)
        columns = [column for family, _ in self._blocks for column in family.columns]
        self.names = tuple(column.name for column in columns)
        self._from_topic = [i for i, column in enumerate(columns) if column.from_topic]

    def make(self, known: ScoredCandidates) -> Features:
        """Return one row a candidate, in their order.

        Of a decision that is made again, columns that come from the features topic are taken as
        they were logged, of the candidates that it had.
        """
        candidates = known.candidates
        by_column = np.empty((len(self.names), len(candidates)), dtype=np.float32)
        for family, rows in self._blocks:
            family.fill(by_column[rows], known)
        logged = known.context.logged
        if logged is not None and self._from_topic:
            row_of = logged.rows(candidates.ids(known.context.items))
            had = row_of >= 0
            for i in self._from_topic:
                by_column[i, had] = logged.features.column(self.names[i])[row_of[had]]
        np.clip(by_column, -FEATURE_MAX, FEATURE_MAX, out=by_column)
        return Features(self.names, np.ascontiguousarray(by_column.T))
