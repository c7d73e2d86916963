"""The greatest rows of shared tables follow what is contributed, whatever rows ids come to have."""

from __future__ import annotations

import numpy as np
import pytest

from streamer_models.counters.decay import decayed_values
from streamer_models.counters.popularity import Popularity
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.table import ITEM
from streamer_models.state.top_rows import Ranked
from tests.learning import learn as learned
from tests.learning import new_state, stream

MANY_AT_ONCE = Bounds(users_max=1_000, items_max=640)
"""Eighty items are evicted at a time: one that comes back soon may get the row of another."""
AT_MS = 1_700_200_000_000


def _expected(state: PartitionState, popularity: Popularity, counter: int) -> list[int]:
    """Keys of the items by what this partition contributed, the greatest first."""
    slots = state.items.live_slots()
    cells = state.contributions[popularity.decayed.spec.name].values[slots]
    values = decayed_values(cells, popularity.half_lives, AT_MS)[:, counter]
    keys = state.items.keys[slots]
    order = np.lexsort((keys, -values))
    return [int(keys[i]) for i in order if values[i] > 0][: Ranked().length]


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_pass_from_one_item_to_another_are_ranked_as_their_items(seed: int) -> None:
    popularity = Popularity(half_lives_s=(6 * 3_600, 4 * 86_400))
    events = stream(6_000, seed=seed, n_items=4_000)
    state = new_state([popularity], bounds=MANY_AT_ONCE)
    n_looked, cuts = 0, np.random.default_rng(seed)
    start, n_events = 0, len(events)
    while start < n_events:
        end = min(start + int(cuts.integers(1, 60)), n_events)
        changes = learned(events, state, [popularity], start=start, end=end)
        evicted = any(len(change.ids[ITEM].removed) for change in changes if ITEM in change.ids)
        start = end
        tops = state.shared.tops(popularity.decayed.spec)
        for counter, rows in enumerate(tops.rows):
            found = state.shared.ids[ITEM].keys[rows[rows >= 0]].tolist()
            assert found == _expected(state, popularity, counter)
            n_looked += len(found) if evicted else 0
    assert n_looked > 20_000
