"""Whatever happens to its learners, what a store holds is what its schedule says."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.simulation.live import LiveSystem
from streamer.store.memory import MemoryStore
from streamer_models.state.partition import CURSOR
from tests.lives import Life
from tests.verified_store import verified_store


@pytest.mark.parametrize("seed", [0, 14, 15, 31])
def test_any_life_of_its_learners_is_confirmed_by_the_schedule(seed: int) -> None:
    life = Life(seed, **{"join.feedback_max": 20})
    life.live_through(80)
    assert life.problems() == []
    assert life.n_deaths + life.n_fenced > 0


@pytest.mark.parametrize("seed", [0, 3])
def test_so_is_one_in_which_settings_change(seed: int) -> None:
    life = Life(seed, changes=0.1)
    life.live_through(80)
    assert life.problems() == []
    layout = life.live.store.layout()
    assert layout is not None
    assert len(layout.generations) > 1


@pytest.mark.parametrize("seed", [4])
def test_a_store_that_goes_back_is_followed_as_it_is(seed: int) -> None:
    life = Life(seed, returns=0.08)
    life.live_through(60)
    assert life.problems() == []
    assert life.n_returns > 0


@pytest.mark.parametrize(("further", "n_problems"), [(1, 1), (0, 0), (-1, 0)])
def test_what_open_slates_need_may_be_read_again_from_before_it_and_not_from_behind(
    further: int, n_problems: int
) -> None:
    life = Life(3)
    life.live_through(40)
    life.checkpoint()
    stored = memory_of(life.live)._partitions[0].rows[CURSOR.name]
    cursor = np.frombuffer(stored[0], dtype=np.int64)
    assert (cursor > 0).all()
    stored[0] = (cursor + further).tobytes()
    assert len(verified_store(life.live).problems) == n_problems


def memory_of(live: LiveSystem) -> MemoryStore:
    assert isinstance(live.store, MemoryStore)
    return live.store
