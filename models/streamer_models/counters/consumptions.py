"""How often each item was met, liked or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamer_models.state.inputs import Inputs
from streamer_models.state.model import StepwiseModel
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import ITEM, Array, Merge, Slots, Table, TableSpec, fold


class ItemConsumptions(StepwiseModel):
    """Counts of all feedback by item, whatever the reward: what scores by pairs are divided by.

    Attributes
    ----------
    counts
        Its table as it is read.
    """

    def __init__(self) -> None:
        self.counts = ReadRows(
            TableSpec("item_consumptions", ITEM, Merge.SUM, "i8", 1), many_at_once=True
        )

    def settings(self) -> Mapping[str, Any]:
        return {}

    def tables(self) -> Sequence[TableSpec]:
        return (self.counts.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.counts,)

    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> _CountedItems:
        """Every item of the step will be counted, in the merged rows."""
        rows, counts = inputs.feedback.item_rows, shared.tables[self.counts.spec.name]
        counts.touch(rows)
        return _CountedItems(counts, rows, np.ones((len(rows), 1), dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _CountedItems:
    counts: Table
    rows: Slots
    ones: Array

    def run(self, start: int, stop: int) -> None:
        counts = self.counts
        fold(counts.spec, counts.values, self.rows[start:stop], self.ones[start:stop])
