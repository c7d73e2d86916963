"""What users met before each event is what their rings would say just before it."""

from __future__ import annotations

import numpy as np

from streamer.testing.streams import LARGE, SMALL, made_up, new_state
from streamer_models.counters.history import UserHistory
from streamer_models.counters.recent import Recent, recent_items
from streamer_models.state.ingest import admit
from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model, learn
from streamer_models.state.partition import Bounds

LENGTH = 3


def _looked_up(bounds: Bounds, cuts: list[int]) -> list[Recent]:
    """Look-ups of a stream that is learned in pieces."""
    stream = made_up(500, seed=1).feedback
    models: list[Model] = [UserHistory(length=5)]
    state = new_state(models, bounds=bounds)
    found, start = [], 0
    for end in [*cuts, len(stream)]:
        part = stream.slice(start, end)
        to = int(part.offsets[-1]) + 1
        for segment in admit(part, state, from_offset=int(part.offsets[0]), to_offset=to):
            found.append(recent_items(segment.batch, state, LENGTH))
            learn(models, Inputs(feedback=segment.batch), state)
        start = end
    return found


def test_where_a_step_ends_changes_nothing() -> None:
    for bounds in (LARGE, SMALL):
        one_by_one = _looked_up(bounds, list(range(1, len(made_up(500, seed=1).feedback))))
        for cuts in ([], [7, 40, 41, 300]):
            whole = _looked_up(bounds, cuts)
            for column in ("keys", "slots", "ts_ms", "n_before"):
                expected = np.concatenate([getattr(each, column) for each in one_by_one])
                actual = np.concatenate([getattr(each, column) for each in whole])
                np.testing.assert_array_equal(actual, expected)


def test_the_newest_comes_first() -> None:
    stream = made_up(300, seed=2).feedback
    state = new_state([UserHistory(length=5)], bounds=LARGE)
    (segment,) = admit(stream, state, from_offset=0, to_offset=int(stream.offsets[-1]) + 1)
    found = recent_items(segment.batch, state, LENGTH)
    before: dict[str, list[int]] = {}
    for i, user in enumerate(stream.user_ids):
        met = before.setdefault(user, [])
        assert found.n_before[i] == len(met)
        expected = [stream.item_ids[j] for j in met[::-1][:LENGTH]]
        slots = [state.items.find(item_id) for item_id in expected]
        assert found.slots[i].tolist() == slots + [-1] * (LENGTH - len(slots))
        times = [int(stream.ts_ms[j]) for j in met[::-1][:LENGTH]]
        assert found.ts_ms[i].tolist() == times + [0] * (LENGTH - len(times))
        met.append(i)
